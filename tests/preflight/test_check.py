from pathlib import Path

import pytest

from qaclims_ray.preflight.check import artifacts_until, check
from qaclims_ray.run.artifact import own_artifact
from tests.build import write_artifact


def test_what_is_complete_needs_no_check(demo_run, monkeypatch):
    monkeypatch.setattr("qaclims_ray.preflight.check.start", lambda _: pytest.fail("Ray started"))
    assert check(demo_run, "images", "corpus", "cams", "scores") == []


def test_a_run_that_can_end_well_is_estimated(local_ray, make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run", {"segment.refine": "crf"})
    lines = check(experiment, *artifacts_until("", experiment))
    assert lines[0] == "Ray: 1 x 4 CPUs"
    named = [line.split(":")[0] for line in lines[1:]]
    assert named == artifacts_until("", experiment)
    assert list((tmp_path / "run").iterdir()) == []


def test_all_problems_are_said_at_once(local_ray, make_experiment, tmp_path):
    wrong = {
        "compute.corpus.num_actors": 40,
        "compute.cams.num_gpus": 1,
        "compute.train": {"num_workers": 9},
        "model.clip.model": "ViT-nix",
        "train.segmenter.net": "smp:Unet/nix",
        "model.backbone_weights": "/nowhere/resnet.pth",
    }
    experiment = make_experiment(tmp_path / "run").with_overrides(wrong)
    with pytest.raises(ValueError, match="would not end well") as caught:
        check(experiment, *artifacts_until("", experiment))
    *lines, fits = str(caught.value).splitlines()[1:]
    assert [line.strip().split(":")[0] for line in lines] == [
        "train.segmenter.net",
        "model.clip.model",
        "compute.cams",
        "compute.corpus",
        "compute.train",
        "model.backbone_weights",
        "classifier",
        "cam_net",
        "irn",
        "segmenter",
    ]
    assert "8 images are fewer than the 72 of one step" in str(caught.value)
    assert "model.backbone_weights: /nowhere/resnet.pth is not there on" in str(caught.value)
    assert fits == (
        "All of it fits with compute.cams.num_gpus=0 compute.corpus.num_actors=2 "
        "compute.train.num_workers=4"
    )


def test_inputs_that_are_not_made_are_named_with_their_job(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run")
    with pytest.raises(ValueError, match=r"images is not complete: run qaclims ingest first"):
        check(experiment, "corpus")
    with pytest.raises(ValueError, match=r"qaclims ingest first\n.*qaclims train-classifier first"):
        check(experiment, "baseline_cams")


@pytest.mark.parametrize("stream", [False, True])
def test_clip_cams_that_a_network_learns_must_be_there(make_experiment, tmp_path, stream):
    own = {"train.ritc.loss.clip_cams": 1.0, "evaluate.stream": stream}
    experiment = make_experiment(tmp_path / "run", own)
    for name in ("images", "pairs", "texts"):
        write_artifact(own_artifact(experiment, name), facts={"num_images": 0, "num_masks": 0})
    with pytest.raises(ValueError, match=r"clip_cams is not .* run qaclims cams --clip first"):
        check(experiment, "cam_net")


def test_scores_are_not_wanted_without_ground_truth(local_ray, make_experiment, tmp_path):
    from qaclims_ray.run.make import make
    from qaclims_ray.run.manifest import Built

    experiment = make_experiment(tmp_path / "run")
    facts = {"num_masks": 0, "num_images": 0}
    make(experiment, "images", lambda _: Built(0, 0, facts), False)
    assert check(experiment, "scores") == []


def test_cams_that_are_scored_as_they_are_made_need_not_be_there(
    local_ray, demo_run, make_experiment, tmp_path
):
    for name in ("images", "classifier", "cam_net"):
        Path(tmp_path, name).symlink_to(Path(demo_run.run, name))
    experiment = demo_run.with_overrides({"run": str(tmp_path)})
    with pytest.raises(ValueError, match=r"cams is not complete: run qaclims cams first"):
        check(experiment, "scores")
    streamed = experiment.with_overrides({"evaluate.stream": True})
    assert check(streamed, "scores")[1].startswith("scores:")
    assert check(streamed, "baseline_scores")
    fresh = make_experiment(tmp_path / "fresh", {"evaluate.stream": True})
    assert check(fresh, *artifacts_until("scores", fresh))[-1].startswith("scores:")


@pytest.mark.parametrize(
    ("last", "made"),
    [
        ("images", ["images"]),
        ("texts", ["images", "corpus", "pairs", "texts"]),
        ("cams", ["images", "corpus", "pairs", "texts", "classifier", "cam_net"]),
    ],
)
def test_a_run_makes_artifacts_in_order(make_experiment, tmp_path, last, made):
    experiment = make_experiment(tmp_path, {"evaluate.stream": last == "cams"})
    assert artifacts_until(last, experiment) == made


def test_a_cache_of_answers_that_cannot_be_written_is_said_before_anything_is_asked(
    local_ray, demo_run, tmp_path
):
    Path(tmp_path, "images").symlink_to(Path(demo_run.run, "images"))
    (tmp_path / "file").touch()
    cache = tmp_path / "cache"
    own = {"run": str(tmp_path), "corpus.cache": str(cache)}
    assert check(demo_run.with_overrides(own), "corpus")
    assert not list(cache.iterdir())
    wrong = demo_run.with_overrides({**own, "corpus.cache": f"{tmp_path}/file/cache"})
    with pytest.raises(ValueError, match=r"corpus\.cache: .*/file/cache cannot be written"):
        check(wrong, "corpus")
    assert check(wrong, "images") == []
