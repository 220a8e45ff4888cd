from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from qaclims_ray.cams import stage
from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.evaluate import stream
from qaclims_ray.images.cams import unpack_cams
from qaclims_ray.images.decode import decode
from qaclims_ray.model.clip_cams import clip_cams, image_texts, resize_cams
from qaclims_ray.model.clip_files import load_clip, save_clip
from qaclims_ray.model.clip_words import BACKGROUND_WORDS
from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.model.predictor import CamPredictor, load_cam_net
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.run.graph import inputs_of
from qaclims_ray.run.recipe import recipe
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_json
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from tests.build import write_artifact

COLUMNS = ["name", "image", "height", "width", "labels"]
UNASKED = "train_000003"
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 96, "layers": 3, "width": 32, "head_width": 16, "patch_size": 12},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
}


@pytest.mark.parametrize(
    ("name", "network"), [("cams", "cam_net"), ("baseline_cams", "classifier")]
)
def test_cams_are_those_of_the_network(demo_run, name, network):
    images = read_table(artifact(demo_run, "images"), COLUMNS).to_pylist()
    model = f"{artifact(demo_run, network).uri}/model.safetensors"
    net = load_cam_net(model, demo_run.model.backbone, len(CLASSES)).cpu()
    made = read_table(artifact(demo_run, name)).to_pylist()
    # Ray Data hands images over in batches of its own; convolutions may round otherwise there.
    expected = CamPredictor(net, **demo_run.cams.fusion(), max_images=32).predict_rows(
        images, 100_000
    )
    assert [row["name"] for row in made] == [row["name"] for row in images]
    for row, other in zip(made, expected, strict=True):
        assert {**row, "cam": None} == {**other, "cam": None}
        assert _close(row["cam"], other["cam"])


def _close(one, other):
    return np.allclose(np.frombuffer(one, np.float16), np.frombuffer(other, np.float16), atol=2e-3)


def test_empty_maps_are_counted(make_experiment, tmp_path):
    cams = own_artifact(make_experiment(tmp_path), "cams")
    maps = np.zeros((3, 2, 2), np.float16)
    maps[1, 0, 1] = 1e-6
    row = {"name": "a", "height": 8, "width": 8, "cam_height": 2, "cam_width": 2}
    rows = [
        {**row, "classes": [0, 1, 2], "cam": maps.tobytes()},
        {**row, "name": "b", "classes": [], "cam": b""},
    ]
    write_artifact(cams, rows)
    assert stage.count_empty(cams) == {"num_maps": 3, "num_empty_maps": 2}


def test_baseline_and_qa_clims_differ(demo_run):
    one, other = (read_table(artifact(demo_run, name)) for name in ("cams", "baseline_cams"))
    assert one["name"] == other["name"]
    assert one["cam"] != other["cam"]


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "map_actor", None)
    assert stage.run(demo_run).startswith("cams: complete already, 8 rows")
    line = stage.run(demo_run, "baseline_cams")
    assert line.startswith("baseline_cams: complete already, 8 rows")


def test_without_a_network_the_job_that_trains_it_is_named(demo_run, tmp_path):
    fresh = demo_run.with_overrides(
        {"run": str(tmp_path), "base": [demo_run.run], "train.seed": 77}
    )
    with pytest.raises(ValueError, match=r"cam_net is not complete: run qaclims train-ritc first"):
        stage.run(fresh)
    with pytest.raises(ValueError, match=r"run qaclims train-classifier first"):
        stage.run(fresh, "baseline_cams")


@pytest.fixture(scope="module")
def clip_run(demo_run, tmp_path_factory):
    """A run whose CAMs are a frozen CLIP's, with one image that nothing was answered about."""
    run, folder = tmp_path_factory.mktemp("clip"), tmp_path_factory.mktemp("models") / "tiny"
    own = {"run": str(run), "base": [demo_run.run], "cams.kind": "clip"}
    # Alone, an image's CAMs do not depend on which others Ray Data hands over with it.
    options = {
        "cams.clip.model": str(folder),
        "cams.clip.flip": True,
        "cams.clip.affinity": True,
        "compute.cams.batch_size": 1,
    }
    experiment = demo_run.with_overrides({**own, **options})
    pairs = artifact(experiment, "pairs")
    rows = read_table(pairs).to_pylist()
    write_artifact(
        own_artifact(experiment, "pairs"),
        [{**row, "pairs": []} if row["name"] == UNASKED else row for row in rows],
    )
    texts = read_parquet(f"{pairs.uri}/texts.parquet", pa.schema([("text", pa.string())]))
    write_parquet(texts, f"{experiment.run}/pairs/texts.parquet")
    torch.manual_seed(0)
    words = (*texts["text"].to_pylist(), *BACKGROUND_WORDS)
    save_clip(new_clip(TINY, texts=[f"a photo of {word}." for word in words]), folder)
    assert corpus_stage.run_texts(experiment).count("cam_texts: ") == 1
    return experiment


@pytest.fixture(scope="module")
def clip_line(clip_run):
    """What the stage says when it has made the CAMs."""
    return stage.run(clip_run)


def test_clip_cams_are_those_of_the_library(clip_run, clip_line):
    """By the plain functions, image after image, with texts embedded anew."""
    section = clip_run.cams.clip
    clip = load_clip(resolve(section.model), section.pretrained)
    images = read_table(artifact(clip_run, "images"), COLUMNS).to_pylist()
    pairs = {
        row["name"]: row["pairs"] for row in read_table(artifact(clip_run, "pairs")).to_pylist()
    }
    made = {row["name"]: row for row in read_table(artifact(clip_run, "cams")).to_pylist()}
    assert sorted(made) == sorted(row["name"] for row in images)
    for row in images:
        names = [CLASSES[label] for label in row["labels"]]
        backgrounds = {text for pair in pairs[row["name"]] for text in pair["background"]}
        backgrounds = [text for text in sorted(backgrounds) if text not in names]
        backgrounds = backgrounds or [word for word in BACKGROUND_WORDS if word not in CLASSES]
        prompts = {pair["label"]: pair["foreground"] for pair in pairs[row["name"]]}
        classes = [
            (own + clip.encode_texts(prompts.get(label) or [name], section.template).mean(dim=0))
            / 2
            for label, name in zip(row["labels"], names, strict=True)
            for own in clip.encode_texts([name], section.template)
        ]
        texts = image_texts(
            [torch.stack(classes)], [clip.encode_texts(backgrounds, section.template)]
        )
        maps = clip_cams(
            clip, [decode(row["image"], max_pixels=100_000)], texts, flip=True, num_maps=2
        )
        expected = resize_cams(maps.refined, 24, 24).numpy()
        found = unpack_cams(made[row["name"]])
        assert found.max() > 0.5
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_images_without_answers_are_counted_and_said(clip_run, clip_line):
    assert artifact(clip_run, "cams").require()["facts"]["num_fallbacks"] == 1
    note = " · 1 images without background answers, with the fixed words instead"
    assert clip_line.endswith(note)
    assert stage.run(clip_run).endswith(note)


def test_clip_cams_that_ritc_learns_are_the_same(clip_run, clip_line):
    learns = {"cams.kind": "network", "train.ritc.loss.clip_cams": 1.0}
    experiment = clip_run.with_overrides(learns)
    assert stage.run(experiment, "clip_cams").startswith("clip_cams: 8 rows, 0 errors")
    expected = read_table(artifact(clip_run, "cams"))
    assert read_table(artifact(experiment, "clip_cams")).equals(expected)


def test_streamed_scores_of_clip_cams_are_those_of_the_two_stages(clip_run, clip_line, tmp_path):
    streamed = clip_run.with_overrides({"run": str(tmp_path), "evaluate.stream": True})
    for name in ("pairs", "cam_texts"):
        (tmp_path / name).symlink_to(Path(clip_run.run, name))
    assert stream.run(clip_run).startswith("scores: 8 rows, 0 errors")
    line = stream.run(streamed)
    assert line.startswith("scores: 8 rows, 0 errors")
    assert line.endswith("with the fixed words instead")
    whole, at_once = (artifact(one, "scores") for one in (clip_run, streamed))
    assert whole.uri != at_once.uri
    found = read_json(f"{whole.uri}/scores.json")
    assert found == read_json(f"{at_once.uri}/scores.json")
    assert found["settings"]["network"] == "frozen CLIP tiny (its own weights)"
    assert found["settings"]["refinement"] == "attention affinity"
    assert at_once.require()["facts"]["num_fallbacks"] == 1


def test_the_network_of_clip_cams_is_no_input(clip_run):
    assert "cam_net" not in inputs_of(clip_run, "cams")
    assert not any(key.startswith("train.") for key in recipe(clip_run, "cams"))
    for name in ("classifier", "cam_net"):
        assert not Path(clip_run.run, name).exists()
