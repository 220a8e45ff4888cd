import pytest

from qaclims_ray.preflight.estimate import Counts, count, estimate

KNOWN = Counts(images=1000, pairs=1500, num_bytes=10**8, height=376, width=500, classes=20)


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(tmp_path / "run", {"cams.scales": [1.0, 0.5]})


def test_before_ingest_only_what_is_given_or_published_is_known(make_experiment, tmp_path):
    assert count(make_experiment(tmp_path)) == Counts(8, None, 0)
    assert count(make_experiment(tmp_path, {"data.limit": 3})) == Counts(3, None, 0)
    voc = {"data": {"kind": "voc12", "root": "x"}}
    assert count(make_experiment(tmp_path, {"data": voc["data"]}))[:2] == (10_582, 16_458)
    own = {"kind": "folder", "root": "x"}
    assert count(make_experiment(tmp_path, {"data": own}))[:2] == (None, None)


def test_after_ingest_all_is_known(demo_run):
    counts = count(demo_run)
    assert counts.images == 8
    assert counts.pairs >= 8
    assert (counts.height, counts.width, counts.classes) == (96, 96, 8)
    assert counts.num_bytes > 10_000


def test_questions_are_pairs_times_templates(experiment):
    work = estimate(experiment, "corpus", KNOWN)
    assert work.line == "corpus: 1,000 images, 24,000 questions for blip blip"
    about = {"corpus.questions": {"about": "image", "background": ["what is seen?"]}}
    work = estimate(experiment.with_overrides(about), "corpus", KNOWN)
    assert "1,000 questions" in work.line


def test_steps_are_those_of_the_training(experiment):
    fit = {"train.ritc.epochs": 3, "train.ritc.batch_size_per_worker": 4}
    experiment = experiment.with_overrides({**fit, "compute.train.num_workers": 2})
    work = estimate(experiment, "cam_net", KNOWN)
    assert work.line == "cam_net: 3 epochs, 375 steps of 8 images"
    resnet = experiment.with_overrides({"model.backbone": "resnet50"})
    # 23.5 million parameters of 4 bytes; checkpoints hold them and their momentum.
    weights = 4 * 23.5e6
    assert estimate(resnet, "cam_net", KNOWN).num_bytes == pytest.approx(8 * weights, rel=0.05)


def test_cams_are_maps_of_pairs(experiment):
    work = estimate(experiment, "cams", KNOWN)
    assert work.line == "cams: 1,000 images, each seen 4 times"
    assert work.num_bytes == 2 * 2 * 1500 * 94 * 125
    full = experiment.with_overrides({"cams.resolution": "full"})
    assert estimate(full, "cams", KNOWN).num_bytes == 2 * 2 * 1500 * 376 * 500


def test_cams_of_a_clip_are_named_after_it(experiment):
    by_clip = experiment.with_overrides({"cams.kind": "clip", "cams.clip.model": "a/ViT-B-16"})
    line = "cams: 1,000 images, each seen once by CLIP ViT-B-16"
    assert estimate(by_clip, "cams", KNOWN) == (line, 2 * 2 * 1500 * 94 * 125)
    more = by_clip.with_overrides({"cams.clip.flip": True, "cams.clip.scales": [1, 1.5]})
    assert "each seen 4 times by CLIP" in estimate(more, "cams", KNOWN).line
    assert estimate(more, "baseline_cams", KNOWN).line.endswith("each seen 4 times")
    assert estimate(by_clip, "cam_texts", KNOWN).line.endswith("answers, through CLIP ViT-B-16")


@pytest.mark.parametrize("name", ["images", "pairs", "texts", "scores", "baseline_scores"])
def test_each_artifact_has_a_line_even_if_nothing_is_known(experiment, name):
    unknown = Counts(None, None, 0)
    assert estimate(experiment, name, unknown).line.startswith(f"{name}: ")
