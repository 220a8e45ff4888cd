import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.config.data import Folder
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import (
    differences,
    flatten,
    parse_overrides,
    validate,
    with_overrides,
)
from qaclims_ray.config.renamed import RENAMED, current_keys
from qaclims_ray.config.train import Fit, Optimiser

LEAST = {
    "name": "n",
    "run": "r",
    "data": {"kind": "demo"},
    "corpus": {"engine": {"kind": "blip"}},
}

_keys = st.text("abc", min_size=1, max_size=2)
_leaves = st.one_of(st.integers(), st.booleans(), st.none(), st.text("xyz", max_size=3))
_trees = st.recursive(
    st.dictionaries(_keys, _leaves, max_size=3),
    lambda inner: st.dictionaries(_keys, st.one_of(_leaves, inner), max_size=3),
    max_leaves=8,
)


def test_values_are_read_as_yaml():
    assert parse_overrides(["a.b=1", "c=[sky, grass]", "d=null", "e=x=y", "f="]) == {
        "a.b": 1,
        "c": ["sky", "grass"],
        "d": None,
        "e": "x=y",
        "f": None,
    }


@pytest.mark.parametrize("item", ["train.seed", "=1", ""])
def test_an_item_without_key_or_value_is_an_error(item):
    with pytest.raises(ValueError, match="expected key=value"):
        parse_overrides([item])


def test_an_override_changes_its_key_alone():
    tree = {"a": {"b": 1, "c": 2}, "d": 3}
    assert with_overrides(tree, {"a.b": 9, "e.f": 4}) == {
        "a": {"b": 9, "c": 2},
        "d": 3,
        "e": {"f": 4},
    }
    assert tree == {"a": {"b": 1, "c": 2}, "d": 3}


def test_later_overrides_win():
    assert with_overrides({}, {"a.b": 1, "a": {"b": 2}}) == {"a": {"b": 2}}


def test_walking_through_a_value_is_an_error():
    with pytest.raises(ValueError, match=r"'name\.x': 'name' is a value, not a section"):
        with_overrides({"name": "demo"}, {"name.x": 1})


@given(_trees)
def test_leaves_rebuild_the_tree(tree):
    rebuilt = with_overrides({}, dict(flatten(tree)))
    assert rebuilt == tree


@given(_trees)
def test_equal_trees_have_no_differences(tree):
    assert differences(tree, tree) == []


def test_differences_show_old_and_new_of_every_changed_leaf():
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    new = {"a": {"b": 1, "c": 5}, "e": 4}
    assert differences(old, new) == ["a.c: 2 → 5", "d: 3 → (absent)", "e: (absent) → 4"]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.ritc.loss.foregrund", "train.ritc.loss.foreground"),
        ("corpus.engine.num_beam", "corpus.engine.num_beams"),
        ("compute.corpus.batchsize", "compute.corpus.batch_size"),
        ("data.num_image", "data.num_images"),
        ("trian", "train"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest_legal_key(key, nearest):
    with pytest.raises(ValueError, match="unknown key") as caught:
        validate(Experiment, with_overrides(LEAST, {key: 1}), "demo.yaml")
    assert str(caught.value) == f"demo.yaml:\n  {key}: unknown key; did you mean {nearest!r}?"


def test_a_key_like_no_other_is_an_error_without_a_hint():
    with pytest.raises(ValueError, match=r"\n  zzzzqqqq: unknown key$"):
        validate(Experiment, {**LEAST, "zzzzqqqq": 1}, "demo.yaml")


def test_all_mistakes_are_listed_at_once():
    tree = with_overrides(LEAST, {"train.seed": -1, "cams.scale": [1], "data": {"kind": "folder"}})
    with pytest.raises(ValueError, match="required") as caught:
        validate(Experiment, tree, "my.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "my.yaml:"
    assert sorted(line.split(":")[0] for line in lines[1:]) == [
        "  cams.scale",
        "  data.root",
        "  train.seed",
    ]
    assert "  data.root: required, but not given" in lines
    assert "(got -1)" in str(caught.value)


def test_an_unknown_kind_of_data_names_the_legal_ones():
    with pytest.raises(ValueError, match=r"data: .*'voc12', .*'webdataset', 'images', 'demo'"):
        validate(Experiment, {**LEAST, "data": {"kind": "imagenet"}}, "x")


def test_a_value_that_fits_no_alternative_names_its_plain_path():
    tree = with_overrides(LEAST, {"corpus.texts.backgrounds": 5})
    with pytest.raises(ValueError, match="got 5") as caught:
        validate(Experiment, tree, "x")
    assert {line.split(":")[0] for line in str(caught.value).splitlines()[1:]} == {
        "  corpus.texts.backgrounds"
    }


def test_yamls_scientific_notation_becomes_a_float():
    # YAML 1.1 reads 1e-4, without a point, as a string.
    overrides = parse_overrides(["optimiser.learning_rate=1e-4"])
    assert overrides == {"optimiser.learning_rate": "1e-4"}
    fit = validate(Fit, with_overrides({}, overrides), "x")
    assert math.isclose(fit.optimiser.learning_rate, 1e-4)
    assert fit == Fit(optimiser=Optimiser(learning_rate=1e-4))


def test_an_override_stays_what_it_was():
    pool = {"num_actors": 2}
    assert with_overrides({}, {"a": pool, "a.num_actors": 3}) == {"a": {"num_actors": 3}}
    assert pool == {"num_actors": 2}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_key_that_was_renamed_names_its_new_name(old, new):
    with pytest.raises(ValueError, match="is now") as caught:
        validate(Experiment, with_overrides(LEAST, {old: 1}), "demo.yaml")
    assert str(caught.value) == f"demo.yaml:\n  {old} is now {new}"
    values = {"tune.metric": "recall", "tune.refine.masks": [0.2], "refine.masks.kind": "par"}
    validate(Experiment, with_overrides(LEAST, {new: values.get(new, 1)}), "demo.yaml")


def test_a_recipe_of_before_has_the_keys_of_now():
    before = {"train.seed": 0, "train.ritc.accumulate": 2, "train.ritc.optimiser.head_factor": 1.0}
    assert current_keys(before) == {
        "train.seed": 0,
        "train.ritc.gradient_accumulation": 2,
        "train.ritc.optimiser.head_lr_multiplier": 1.0,
        "train.ritc.batch_norm_statistics": "batch",
    }


def test_a_recipe_from_before_a_key_was_there_means_what_was_done_then():
    before = {"train.ritc.augment.flip": True, "evaluate.threshold": 0.1, "data.kind": "demo"}
    added = {"train.ritc.augment.scale": None, "evaluate.absent_classes": "zero"}
    added |= {
        "data.max_side": None,
        "data.corrections": None,
        "train.ritc.batch_norm_statistics": "batch",
    }
    assert current_keys(before) == before | added
    today = {**before, "train.ritc.augment.scale": [0.5, 2.0], "evaluate.absent_classes": "skip"}
    today |= {
        "data.max_side": 640,
        "data.corrections": "fixed",
        "train.ritc.batch_norm_statistics": "step",
    }
    assert current_keys(today) == today


def test_a_path_may_begin_at_home(monkeypatch):
    """A shell leaves `data.root=~/x` as it is."""
    monkeypatch.setenv("HOME", "/home/me")
    given = {"run": "~/runs/x", "base": ["~/a", "b/~/c"], "data": {"kind": "folder", "root": "~/d"}}
    found = validate(Experiment, {**LEAST, **given}, "x")
    assert (found.run, found.base) == ("/home/me/runs/x", ("/home/me/a", "b/~/c"))
    assert found.data == Folder(kind="folder", root="/home/me/d")
    assert validate(Experiment, {**LEAST, "name": "~"}, "x").name == "~"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("cams.scales", [], "at least 1 item"),
        ("cams.clip.scales", [], "at least 1 item"),
        ("segment.scales", [], "at least 1 item"),
        ("evaluate.thresholds", [], "at least one"),
        ("tune.seeds", [], "at least 1 item"),
        ("corpus.texts.backgrounds", [], "at least 1 item"),
        ("data", {"kind": "folder", "root": "x", "class_names": []}, "at least 1 item"),
        ("data", {"kind": "webdataset", "shards": []}, "at least 1 item"),
        ("cams.scales", [1.0, math.inf], "finite number"),
        ("train.ritc.temperature", math.nan, "finite number"),
        ("train.ritc.augment.resize_long", [640, 320], "the lower bound of a range comes first"),
        ("train.segmenter.augment.scale", [2.0, 0.5], "the lower bound of a range comes first"),
    ],
)
def test_what_would_end_a_run_later_is_no_value(key, value, told):
    with pytest.raises(ValueError, match=told) as caught:
        validate(Experiment, with_overrides(LEAST, {key: value}), "x")
    assert key.partition(".")[0] in str(caught.value).splitlines()[1]


def test_every_list_says_how_many_it_holds_or_may_be_empty():
    """A new list is one or the other on purpose."""
    may_be_empty = {
        *("base", "foreground", "background", "label_suffixes"),
        *("seeds", "masks"),  # of tune.refine: not searched
        "thresholds",  # its order is checked with it
    }
    schema = Experiment.model_json_schema()
    fields = [
        (key, option)
        for section in (schema, *schema["$defs"].values())
        for key, field in section.get("properties", {}).items()
        for option in (field, *field.get("anyOf", []))
        if option.get("type") == "array"
    ]
    assert {key for key, option in fields if "minItems" not in option} == may_be_empty


def test_a_corpus_of_before_has_lemmas_of_lemminflect():
    before = {"corpus.engine.kind": "blip", "corpus.questions.about": "class"}
    assert current_keys(before) == before | {"corpus.wordnet": None}


def test_cams_of_before_were_made_of_the_resized_input():
    before = {"cams.scales": [1.0], "cams.resolution": "strided"}
    assert current_keys(before) == before | {"cams.resize": "normalised"}
    of_clip = {"cams.kind": "clip", "cams.resolution": "strided"}
    assert current_keys(of_clip) == of_clip
