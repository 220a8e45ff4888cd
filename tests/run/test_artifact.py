import os
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest

from qaclims_ray.config.renamed import RENAMED
from qaclims_ray.run import make as module
from qaclims_ray.run.artifact import COMPLETE, ROWS, Artifact, artifact, own_artifact
from qaclims_ray.run.blocks import PendingBlocks, num_done, work_schema
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lease import OWNER
from qaclims_ray.run.lineage import identities
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.recipe import recipe
from qaclims_ray.storage.files import read_json, write_bytes, write_json


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(tmp_path / "own")


@pytest.fixture
def builder():
    """A stage that writes one file, and counts how often it was asked to."""

    class Builder:
        calls = 0

        def __call__(self, target: Artifact) -> Built:
            self.calls += 1
            write_bytes(f"{target.uri}/part-00000.parquet", str(self.calls).encode())
            return Built(rows=1200, errors=3, facts={"class_names": ["cat"]})

    return Builder()


def test_a_complete_artifact_is_not_made_again(experiment, builder):
    first = make(experiment, "images", builder, overwrite=False)
    second = make(experiment, "images", builder, overwrite=False)
    assert builder.calls == 1
    uri = artifact(experiment, "images").uri
    assert first.startswith("images: 1,200 rows, 3 errors, 0.0 s, ")
    assert first.endswith(f"rows/s · {uri}")
    assert second == f"images: complete already, 1,200 rows, 3 errors · {uri}"


def test_rates_are_of_what_this_attempt_did(experiment, monkeypatch):
    target = own_artifact(experiment, "images")
    rows = pa.Table.from_pylist(
        [{"name": str(n), "error": None} for n in range(300)], schema=work_schema("images")
    )
    target.start(identities(experiment, "images"))
    PendingBlocks(target).put("before", rows)
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module, "lease", lambda _: nullcontext())  # which asks the clock too
    line = make(experiment, "images", lambda _: Built(500, 0, {}), overwrite=False)
    assert ", 10.0 s after 300 rows of an earlier attempt, 20.0 rows/s · " in line
    steps = own_artifact(experiment, "classifier")
    write_json(f"{steps.work}/progress.json", {"step": 6, "dead": 0})
    assert num_done(steps) == 6


def test_the_manifest_says_what_was_made_from_what(experiment, builder):
    make(experiment, "images", builder, overwrite=False)
    manifest = artifact(experiment, "images").require()
    assert manifest["recipe"]["data.kind"] == "demo"
    assert manifest["facts"] == {"class_names": ["cat"]}
    assert (manifest["rows"], manifest["errors"]) == (1200, 3)
    assert manifest["versions"]["ray"] == version("ray")
    assert manifest["versions"]["pillow"] == version("pillow")


def test_an_artifact_of_before_is_complete_under_the_names_of_now(
    experiment, make_experiment, tmp_path, builder
):
    """Its manifest has old names of keys, and a digest of them."""
    make(experiment, "classifier", builder, overwrite=False)
    uri = artifact(experiment, "classifier").uri
    manifest = read_json(f"{uri}/{COMPLETE}")
    old_names = {new: old for old, new in RENAMED.items()}
    old = {old_names.get(key, key): value for key, value in manifest["recipe"].items()}
    assert "train.classifier.images_per_worker" in old
    write_json(f"{uri}/{COMPLETE}", {**manifest, "recipe": old, "digest": "of before"})
    assert "complete already" in make(experiment, "classifier", builder, overwrite=False)
    other = make_experiment(tmp_path / "other").with_overrides({"base": [experiment.run]})
    assert artifact(other, "classifier").uri == uri
    changed = experiment.with_overrides({"train.classifier.batch_size_per_worker": 1})
    with pytest.raises(ValueError, match="another configuration") as caught:
        artifact(changed, "classifier").is_complete()
    differences = str(caught.value).splitlines()[1:-1]
    assert differences == ["  train.classifier.batch_size_per_worker: 8 → 1"]


def test_without_its_marker_an_artifact_is_not_complete(experiment):
    def interrupted(target: Artifact) -> Built:
        write_bytes(f"{target.uri}/part-00000.parquet", b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(experiment, "images", interrupted, overwrite=False)
    target = artifact(experiment, "images")
    assert not target.is_complete()
    with pytest.raises(ValueError, match=r"images is not complete: run qaclims ingest first"):
        target.require()


def test_unfinished_work_is_kept_until_completion(experiment, builder):
    seen = []

    def interrupted(target: Artifact) -> Built:
        write_bytes(f"{target.work}/rows/1.parquet", b"x")
        raise KeyboardInterrupt

    def goes_on(target: Artifact) -> Built:
        seen.append(Path(f"{target.work}/rows/1.parquet").read_bytes())
        return builder(target)

    with pytest.raises(KeyboardInterrupt):
        make(experiment, "images", interrupted, overwrite=False)
    make(experiment, "images", goes_on, overwrite=False)
    assert seen == [b"x"]
    assert not Path(f"{artifact(experiment, 'images').uri}/_work").exists()


@pytest.mark.parametrize(
    ("costly", "patterns"),
    [
        ("rows/1.parquet", ROWS),
        ("train/classifier/step-00000003/state.pt", ("train/*/step-*",)),
        ("tune/trials/x", ("tune/*",)),
    ],
)
def test_unfinished_work_of_another_recipe_is_never_lost_unasked(
    experiment, builder, costly, patterns
):
    def interrupted(target: Artifact) -> Built:
        write_bytes(f"{target.work}/{costly}", b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(experiment, "images", interrupted, overwrite=False)
    kept = Path(artifact(experiment, "images").work, costly)
    changed = experiment.with_overrides({"data.seed": 7})
    with pytest.raises(ValueError, match=r"unfinished work made with another[^?]*seed: 0 → 7"):
        make(changed, "images", builder, overwrite=False, costly=patterns)
    assert kept.exists()
    make(experiment, "images", lambda target: (kept.read_bytes(), builder(target))[1], False)
    assert builder.calls == 1


def test_unfinished_work_of_another_recipe_is_dropped_where_asked(experiment, builder):
    def interrupted(target: Artifact) -> Built:
        write_bytes(f"{target.work}/rows/1.parquet", b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(experiment, "images", interrupted, overwrite=False)
    changed = experiment.with_overrides({"data.seed": 7})
    make(changed, "images", builder, overwrite=True)
    assert not Path(artifact(experiment, "images").work).exists()


def test_a_beginning_of_another_recipe_is_no_obstacle(experiment, builder):
    def failed(target: Artifact) -> Built:
        write_bytes(f"{target.work}/listing/part-00000.parquet", b"x")
        write_bytes(f"{target.uri}/metrics/epoch-009.jsonl", b"x")
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        make(experiment, "images", failed, overwrite=False)
    changed = experiment.with_overrides({"data.seed": 7})
    make(changed, "images", builder, overwrite=False)
    assert not Path(artifact(changed, "images").uri, "metrics").exists()


def test_two_jobs_do_not_make_one_artifact_at_once(experiment, builder):
    def second(target: Artifact) -> Built:
        owner = f"{target.uri}/{OWNER}"
        write_json(owner, {**read_json(owner), "pid": os.getppid()})
        for overwrite in (False, True):
            with pytest.raises(ValueError, match=r"another job works at .*images: process"):
                make(experiment, "images", builder, overwrite)
        return builder(target)

    make(experiment, "images", second, overwrite=False)
    assert builder.calls == 1
    assert not Path(artifact(experiment, "images").uri, OWNER).exists()


def test_another_recipe_is_an_error_that_shows_the_difference(experiment, builder):
    make(experiment, "images", builder, overwrite=False)
    changed = experiment.with_overrides({"data.seed": 7, "data.split": "tune"})
    with pytest.raises(ValueError, match="made with another configuration") as caught:
        make(changed, "images", builder, overwrite=False)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[1:3] == ["data.split: train → tune", "data.seed: 0 → 7"]
    assert "run=" in lines[3]
    assert "--overwrite" in lines[3]
    assert builder.calls == 1


def test_overwrite_makes_anew_whatever_is_there(experiment, builder):
    make(experiment, "images", builder, overwrite=False)
    target = artifact(experiment, "images")
    write_bytes(f"{target.uri}/part-00001.parquet", b"of a larger run")
    changed = experiment.with_overrides({"data.seed": 7})
    make(changed, "images", builder, overwrite=True)
    assert [Path(shard).name for shard in target.shards()] == ["part-00000.parquet"]
    assert artifact(changed, "images").is_complete()


@pytest.mark.parametrize(
    "overrides",
    [
        {"data.max_errors": 7, "data.shard_megabytes": 1.0},
        {"compute.corpus.num_actors": 9, "compute.train.max_failures": 5},
        {"name": "other", "run": "elsewhere", "base": ["a"]},
    ],
)
@pytest.mark.parametrize("name", ARTIFACTS)
def test_some_keys_have_no_effect_on_any_recipe(experiment, name, overrides):
    assert recipe(experiment.with_overrides(overrides), name) == recipe(experiment, name)


AFTER_CAMS = {
    *("seeds", "seed_scores", "irn", "masks", "mask_scores"),
    *("segmenter", "predictions", "prediction_scores"),
    *("new_predictions", "new_prediction_scores"),
}
"""What is made from the CAMs of QA-CLIMS."""
PREDICTION_SCORES = {"prediction_scores", "new_prediction_scores"}
PREDICTED = {"predictions", "new_predictions", *PREDICTION_SCORES}
AFTER_RITC = {"cam_net", "cams", "scores", *AFTER_CAMS}
AFTER_CORPUS = {"pairs", "texts", "cam_texts", "clip_cams", *AFTER_RITC}


@pytest.mark.parametrize(
    ("key", "value", "touched"),
    [
        ("data.limit", 3, set(ARTIFACTS) - {"new_images"}),
        ("new_images.seed", 9, {"new_images", "new_predictions", "new_prediction_scores"}),
        (
            "corpus.engine.num_beams",
            1,
            {"corpus", *AFTER_CORPUS},
        ),
        ("corpus.expected_names.cat", ["kitten"], AFTER_CORPUS),
        ("corpus.texts.backgrounds", ["sky"], AFTER_CORPUS),
        ("corpus.texts.template", "{}", {"texts", *AFTER_RITC}),
        ("model.clip.mask_prompt_depth", 0, AFTER_RITC),
        ("train.ritc.loss.area", 9, AFTER_RITC),
        (
            "train.seed",
            9,
            {"classifier", "baseline_cams", "baseline_scores", *AFTER_RITC},
        ),
        ("cams.scales", [2.0], {"baseline_cams", "cams", "baseline_scores", "scores", *AFTER_CAMS}),
        ("evaluate.threshold", 0.5, {"baseline_scores", "scores"}),
        ("evaluate.unsure", "ignore", {"seed_scores", "mask_scores", *PREDICTION_SCORES}),
        ("refine.seeds.foreground", 0.5, AFTER_CAMS),
        ("refine.masks.background", 0.5, AFTER_CAMS - {"seeds", "seed_scores", "irn"}),
        ("train.irn.radius", 7, AFTER_CAMS - {"seeds", "seed_scores"}),
        ("train.segmenter.balance", "none", {"segmenter", *PREDICTED}),
        ("segment.flip", False, PREDICTED),
    ],
)
def test_a_key_changes_what_depends_on_it_and_nothing_else(experiment, key, value, touched):
    changed = experiment.with_overrides({key: value})
    assert {
        name
        for name in ARTIFACTS
        if own_artifact(changed, name).digest != own_artifact(experiment, name).digest
    } == touched


class TestBase:
    @pytest.fixture
    def base(self, experiment, tmp_path):
        return experiment.with_overrides({"run": str(tmp_path / "base")})

    @pytest.fixture
    def derived(self, experiment, base):
        return experiment.with_overrides({"base": [f"{experiment.run}/nowhere", base.run]})

    def test_its_complete_artifact_is_used_where_the_run_has_none(self, base, derived, builder):
        make(base, "images", builder, overwrite=False)
        line = make(derived, "images", builder, overwrite=False)
        assert builder.calls == 1
        assert line.startswith("images: complete already")
        assert artifact(derived, "images").uri == artifact(base, "images").uri
        assert not Path(derived.run, "images").exists()

    def test_the_runs_own_artifact_comes_first(self, base, derived, builder):
        make(derived, "images", builder, overwrite=False)
        make(base, "images", builder, overwrite=False)
        assert artifact(derived, "images") == own_artifact(derived, "images")

    def test_another_recipe_or_unfinished_work_is_not_used(self, base, derived, builder):
        other = base.with_overrides({"data.seed": 7})
        make(other, "images", builder, overwrite=False)
        assert artifact(derived, "images") == own_artifact(derived, "images")
        make(derived, "images", builder, overwrite=False)
        assert builder.calls == 2
        assert artifact(other, "images").is_complete()

    def test_overwrite_never_clears_it(self, base, derived, builder):
        make(base, "images", builder, overwrite=False)
        make(derived, "images", builder, overwrite=True)
        assert builder.calls == 2
        shards = [artifact(one, "images").shards()[0] for one in (base, derived)]
        assert [Path(shard.removeprefix("file://")).read_bytes() for shard in shards] == [
            b"1",
            b"2",
        ]


def test_class_names_are_those_of_the_complete_images(experiment, builder):
    with pytest.raises(ValueError, match=r"run qaclims ingest first"):
        class_names(artifact(experiment, "images"))
    make(experiment, "images", builder, overwrite=False)
    assert class_names(artifact(experiment, "images")) == ("cat",)


def test_what_was_made_from_a_remade_artifact_is_refused(experiment, builder):
    make(experiment, "images", builder, overwrite=False)
    make(experiment, "corpus", builder, overwrite=False)
    assert "complete already" in make(experiment, "corpus", builder, overwrite=False)
    make(experiment, "images", builder, overwrite=True)
    with pytest.raises(ValueError, match=r"corpus is stale: .*anew since.*\(images\)"):
        make(experiment, "corpus", builder, overwrite=False)
    make(experiment, "corpus", builder, overwrite=True)
    assert "complete already" in make(experiment, "corpus", builder, overwrite=False)


def test_unfinished_work_from_a_remade_artifact_is_dropped(experiment, builder, caplog):
    def interrupted(target: Artifact) -> Built:
        write_bytes(f"{target.work}/rows/1.parquet", b"x")
        raise KeyboardInterrupt

    make(experiment, "images", builder, overwrite=False)
    with pytest.raises(KeyboardInterrupt):
        make(experiment, "corpus", interrupted, overwrite=False)
    make(experiment, "images", builder, overwrite=True)
    found = []
    make(
        experiment,
        "corpus",
        lambda target: (found.extend(Path(target.work).glob("rows/*")), builder(target))[1],
        overwrite=False,
    )
    assert found == []
    assert "inputs were made anew" in caplog.text


def test_training_workers_are_part_of_the_recipe_as_they_make_the_global_batch(experiment):
    workers = [
        recipe(experiment.with_overrides({"compute.train.num_workers": number}), "cam_net")
        for number in (0, 1, 2)
    ]
    assert workers[0] == workers[1] != workers[2]
