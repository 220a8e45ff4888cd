import sys

import pytest

from qaclims_ray.preflight import checks
from qaclims_ray.preflight.checks import truth_note
from qaclims_ray.preflight.estimate import Counts
from qaclims_ray.preflight.models import model_problems
from qaclims_ray.run.artifact import own_artifact
from tests.build import write_artifact


def test_storage_that_takes_and_gives_a_file_is_fine(tmp_path):
    probe = f"{tmp_path}/run/.preflight"
    assert checks.storage_problems(f"{tmp_path}/run", probe) == []
    assert checks.sees(probe)
    checks.clean_up(probe)
    checks.clean_up(probe)
    assert not checks.sees(probe)


def test_storage_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (problem,) = checks.storage_problems(f"{tmp_path}/file", f"{tmp_path}/file/.preflight")
    assert problem.startswith(f"run: {tmp_path}/file cannot be written and read: ")


def test_a_submitted_jobs_own_copy_of_its_folder_is_no_place_for_a_run():
    run = "/tmp/ray/session/runtime_resources/working_dir_files/pkg/runs/demo"
    (problem,) = checks.storage_problems(run, f"{run}/.preflight")
    assert "give run= an absolute path on storage that all nodes share, or a URL" in problem


def test_a_path_that_nodes_lack_is_named_with_its_key():
    seen = {"a": {"run": True}, "b": {"run": False}, "c": {"run": False}}
    (problem,) = checks.sharing_problems({"run": "/data/run"}, seen)
    assert problem == (
        "run: /data/run is not there on b, c (2 of 3 nodes): give run= a folder that all nodes "
        "share, or a URL"
    )
    assert checks.sharing_problems({"run": "/data/run"}, {"a": {"run": True}}) == []
    key = "model.clip.pretrained"
    (problem,) = checks.sharing_problems({key: "clip.pt"}, {"a": {key: False}})
    assert problem.endswith("give model.clip.pretrained= a path that all nodes have")


def test_full_disks_are_found(tmp_path):
    assert checks.disk_problems(f"{tmp_path}/new/run", 10**6, {"a": 10**9}, 10**8) == []
    assert checks.disk_problems("memory://run", 10**18, {}, 0) == []
    problems = checks.disk_problems(f"{tmp_path}/new/run", 10**18, {"a": 10**7}, 10**8)
    assert "about 1,000,000,000.0 GB will be written" in problems[0]
    assert problems[1].startswith("a: a training copies 100 MB of images")


def test_an_object_store_too_small_for_decoded_images_is_a_note(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"compute.corpus.batch_size": 10})
    counts = Counts(100, 100, 0, height=1000, width=1000)
    assert checks.store_note(experiment, counts, 90_000_000) == []
    (note,) = checks.store_note(experiment, counts, 89_000_000)
    assert "90 MB of decoded images" in note
    assert "compute.corpus.batch_size" in note
    on_gpu = experiment.with_overrides({"compute.corpus.num_gpus": 1})
    assert "150 MB of decoded images" in checks.store_note(on_gpu, counts, 149_000_000)[0]


def test_the_demos_models_are_paths(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    names = ["images", "corpus", "texts", "classifier", "cam_net"]
    assert model_problems(experiment, names) == []
    paths = checks.local_paths(experiment, names)
    assert set(paths) >= {"corpus.engine.model", "model.clip.model"}
    assert all(checks.sees(path) for path in paths.values())


@pytest.mark.parametrize("root", ["/data/voc", "s3://bucket/voc"])
def test_data_on_a_path_must_be_on_all_nodes(make_experiment, tmp_path, root):
    experiment = make_experiment(tmp_path, {"data": {"kind": "voc12", "root": root}})
    assert checks.local_paths(experiment, ["cams"]) == {}
    expected = {} if "://" in root else {"data.root": root}
    assert checks.local_paths(experiment, ["images"]) == expected


def test_more_classes_than_label_maps_hold_end_a_run_that_makes_some():
    assert checks.class_problems(["images", "cams", "seeds"], 254) == []
    assert checks.class_problems(["images", "corpus", "cams"], 600) == []
    for name in ("seeds", "masks", "predictions"):
        (problem,) = checks.class_problems(["images", name], 255)
        assert problem.startswith("255 classes are more than a label map can hold")


@pytest.mark.parametrize(
    ("overrides", "names", "keys"),
    [
        ({"refine.seeds.kind": "crf"}, ["cams", "seeds", "masks"], ["refine.seeds.kind"]),
        ({"refine.seeds.kind": "crf"}, ["cams", "masks", "predictions"], []),
        ({"segment.refine": "crf"}, ["seeds", "predictions"], ["segment.refine"]),
        ({"segment.refine": "par"}, ["seeds", "predictions"], []),
    ],
)
def test_the_crf_is_looked_at_where_it_will_be_used(
    make_experiment, tmp_path, overrides, names, keys
):
    assert checks.crf_keys(make_experiment(tmp_path, overrides), names) == keys


def test_a_crf_that_is_missing_or_wrong_is_said_with_its_nodes(monkeypatch):
    assert checks.crf_fault() is None
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    fault = checks.crf_fault()
    assert "pip install 'qaclims_ray[crf]'" in fault
    keys, faults = ["refine.seeds.kind", "segment.refine"], {"a": None, "b": fault, "c": fault}
    assert checks.crf_problems(keys, faults) == [
        f"refine.seeds.kind and segment.refine: crf on b, c (2 of 3 nodes): {fault}"
    ]
    assert checks.crf_problems(keys, {"a": None}) == []


class TestTruth:
    SCORES = ("scores", "new_prediction_scores")

    @pytest.mark.parametrize(
        ("data", "folder"),
        [
            ({"kind": "voc12", "split": "train_aug"}, "SegmentationClassAug"),
            ({"kind": "voc12", "split": "val"}, "SegmentationClass"),
            ({"kind": "voc12", "split": "val", "masks": "Mine"}, "Mine"),
            ({"kind": "folder"}, "masks"),
        ],
    )
    def test_that_there_will_be_no_scores_is_said_before_the_start(
        self, make_experiment, tmp_path, data, folder
    ):
        own = {"data": {"max_errors": 9, "root": str(tmp_path), **data}}
        experiment = make_experiment(tmp_path / "run", own)
        (note,) = truth_note(experiment, ("cams", *self.SCORES))
        assert note.startswith(f"no scores (scores): {tmp_path}/{folder} ")
        assert truth_note(experiment, ["cams"]) == []
        (tmp_path / folder).mkdir()
        assert truth_note(experiment, self.SCORES) == []

    def test_complete_images_are_asked(self, make_experiment, tmp_path):
        experiment = make_experiment(tmp_path)
        assert truth_note(experiment, self.SCORES) == []
        write_artifact(own_artifact(experiment, "images"), [], facts={"num_masks": 0})
        (note,) = truth_note(experiment, self.SCORES)
        assert note == "no scores (scores): no image has ground truth"
