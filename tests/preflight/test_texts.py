import numpy as np
import pytest
import torch
import torch.nn.functional as F

from qaclims_ray.config.experiment import resolve
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.demo.world import make_example
from qaclims_ray.images.transforms import normalise
from qaclims_ray.model.clip_files import load_clip
from qaclims_ray.model.text_check import region_features
from qaclims_ray.preflight import texts
from qaclims_ray.preflight.text_findings import advice, text
from qaclims_ray.preflight.texts import Seen, check_classes, choose_rows
from qaclims_ray.run.artifact import artifact
from qaclims_ray.storage.files import read_json

SEEN = [
    Seen(0, [0.9, 0.1, 0.0], True, 0.4),
    Seen(0, [0.8, 0.3, 0.0], True, 0.6),
    Seen(1, [0.1, 0.2, 0.0], False, 0.5),
    Seen(1, [0.1, 0.0, 0.0], None, None),
]
NAMES = ("cat", "lesion", "unseen")


def test_figures_by_hand():
    cat, lesion = check_classes(SEEN, NAMES)
    assert cat == {"name": "cat", "images": 2, "known": 1.0, "told": 1.0, "apart": 0.5}
    assert lesion == {"name": "lesion", "images": 2, "known": 0.25, "told": 0.0, "apart": 0.5}


def test_advice_names_the_classes_and_the_keys():
    cat, lesion = check_classes(SEEN, NAMES)
    (line,) = advice([cat, lesion])
    assert line.startswith("CLIP does not know lesion by name")
    (line,) = advice([{**lesion, "known": 0.9}])
    assert line.startswith("the texts of lesion do not tell object from background")
    (line,) = advice([cat])
    assert line.startswith("CLIP tells all of these classes")
    assert "n/a       100    0.50" in text([{**cat, "known": None}])


def test_a_sole_class_without_background_texts_has_no_figures():
    (check,) = check_classes([Seen(0, [0.3], None, None)], ("cat",))
    assert check == {"name": "cat", "images": 1, "known": None, "told": None, "apart": None}
    assert len(advice([check])) == 1


@pytest.fixture(scope="module")
def regions():
    """The demo's CLIP, and features of true regions of objects, of any class in any scene."""
    clip = load_clip(resolve("package:demo/weights/clip"), mask_prompt_depth=3)
    labels, features = [], []
    for index in range(40):
        example = make_example(7, index, biased=False)
        image = torch.from_numpy(normalise(example.image))[None]
        values = [value for value in np.unique(example.label_map) if value not in (0, 255)]
        maps = np.stack([example.label_map == value for value in values]).astype(np.float32)
        made = region_features(clip, image, torch.from_numpy(maps), alpha=0.1)
        labels += [int(value) - 1 for value in values]
        features.append(made.inside)
    return clip, labels, torch.cat(features)


def test_a_class_that_the_clip_knows_and_one_that_it_does_not(regions):
    clip, labels, features = regions
    names = ["lesion", *CLASSES[1:]]
    scores = (features @ F.normalize(clip.encode_texts(names), dim=-1).mT).tolist()
    seen = [Seen(label, own, None, None) for label, own in zip(labels, scores, strict=True)]
    known = {one["name"]: one["known"] for one in check_classes(seen, names)}
    assert min(known[name] for name in CLASSES[1:]) > 0.9
    assert known["lesion"] < 0.6
    (line,) = advice(check_classes(seen, names))
    assert line.startswith("CLIP does not know lesion by name")


def test_a_run_is_looked_at_and_every_class_has_its_turn(demo_run, tmp_path):
    own = demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run]})
    shown = texts.run(own, num_images=8)
    found = read_json(f"{tmp_path}/check_texts/check_texts.json")
    assert found["images"] == 8
    rows = choose_rows(artifact(own, "images"), 8)
    labels = [label for row in rows for label in row["labels"]]
    assert [one["name"] for one in found["classes"]] == [CLASSES[i] for i in sorted(set(labels))]
    assert sum(one["images"] for one in found["classes"]) == len(labels)
    assert all(0 <= one["told"] <= 1 and 0 < one["apart"] < 2 for one in found["classes"])
    assert shown.splitlines()[-1].startswith("check_texts: 8 images · ")
    few = choose_rows(artifact(own, "images"), 3)
    assert len({label for row in few for label in row["labels"]}) >= 3
    assert [row["name"] for row in few] == sorted(row["name"] for row in few)


def test_without_cams_the_jobs_are_named(demo_run, tmp_path):
    for name in ("images", "pairs", "texts"):
        (tmp_path / name).symlink_to(f"{demo_run.run}/{name}")
    with pytest.raises(ValueError, match=r"run qaclims train-classifier and qaclims cams"):
        texts.run(demo_run.with_overrides({"run": str(tmp_path)}))
