import pytest

from qaclims_ray.preflight.estimate import Counts, count, estimate
from qaclims_ray.preflight.networks import sizes

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
    own["class_names"] = ["cat", "dog"]
    assert count(make_experiment(tmp_path, {"data": own})).classes == 2
    coco = {"kind": "coco14", "root": "x"}
    known = count(make_experiment(tmp_path, {"data": coco}))
    assert (known.images, known.classes) == (82_081, 80)
    coco["annotations"] = "own.json"
    assert count(make_experiment(tmp_path, {"data": coco})) == Counts(None, None, 0)


def test_after_ingest_all_is_known(demo_run):
    counts = count(demo_run)
    assert counts.images == 8
    assert counts.pairs >= 8
    assert (counts.height, counts.width, counts.classes) == (96, 96, 8)
    assert counts.num_bytes > 10_000


def test_questions_are_pairs_times_templates(experiment):
    work = estimate(experiment, "corpus", KNOWN)
    asked = "corpus: 1,000 images, 24,000 questions for blip blip"
    assert work.line == f"{asked}, 2,048 question tokens at once"
    about = {"corpus.questions": {"about": "image", "background": ["what is seen?"]}}
    work = estimate(experiment.with_overrides(about), "corpus", KNOWN)
    assert "1,000 questions" in work.line


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"corpus.engine.token_budget": 512, "compute.corpus.num_gpus": 1}, "512"),
        (
            {"compute.corpus.num_gpus": 0.25},
            "as many question tokens at once as half of the free memory of 0.25 of a GPU allows",
        ),
        ({"corpus.engine": {"kind": "chat", "model": "a/b"}}, "questions for chat b"),
    ],
)
def test_question_tokens_at_once_are_told_where_they_are_known(experiment, overrides, expected):
    line = estimate(experiment.with_overrides(overrides), "corpus", KNOWN).line
    assert line.removesuffix(" question tokens at once").endswith(expected)


def test_steps_are_those_of_the_training(experiment):
    fit = {"train.ritc.epochs": 3, "train.ritc.batch_size_per_worker": 4}
    experiment = experiment.with_overrides({**fit, "compute.train.num_workers": 2})
    work = estimate(experiment, "cam_net", KNOWN)
    assert work.line == "cam_net: 3 epochs, 375 steps of 8 images"


SGD, ADAMW = 1, 2
"""Numbers that an optimiser keeps of each one that it trains."""


@pytest.mark.parametrize(
    ("name", "overrides", "model", "trained", "kept"),
    [
        # Millions of parameters; 20 classes. Those of a ResNet-50 without its classifier are 23.5.
        ("cam_net", {"model.backbone": "resnet50"}, 23.5, 23.5, ADAMW),
        (
            "classifier",
            {"model.backbone": "resnet50", "train.classifier.optimiser.kind": "sgd"},
            *(23.5, 23.5, SGD),
        ),
        # The branches upon a backbone that is fixed.
        ("irn", {"train.irn.backbone": "resnet50"}, 24.9, 1.4, ADAMW),
        (
            "segmenter",
            {"train.segmenter": {"net": "deeplabv2_resnet101", "weights": None}},
            *(44.0, 44.0, SGD),
        ),
        # SegFormer-B0, 3.7 as published.
        ("segmenter", {"train.segmenter.net": {"model_type": "segformer"}}, 3.7, 3.7, ADAMW),
    ],
)
def test_a_training_writes_what_its_own_network_takes(
    experiment, name, overrides, model, trained, kept
):
    # The model is there twice, beside three checkpoints with the moments of the optimiser.
    wanted = 4e6 * (2 * model + 3 * (model + kept * trained))
    work = estimate(experiment.with_overrides(overrides), name, KNOWN)
    assert work.num_bytes == pytest.approx(wanted, rel=0.05)


def test_an_average_of_the_weights_is_in_each_checkpoint(experiment):
    averaged = experiment.with_overrides({"train.segmenter.ema_decay": 0.99})
    model = sizes(experiment, "segmenter", 20).model
    before, after = (estimate(one, "segmenter", KNOWN).num_bytes for one in (experiment, averaged))
    assert after - before == 3 * model


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
