import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.config.experiment import load
from qaclims_ray.search.space import check, draw, most_epochs, sample

FOREGROUND = {"train.ritc.loss.foreground": {"log_uniform": [1, 30]}}


@pytest.fixture
def search(demo_config):
    """A search on the demo with a space and further overrides."""

    def make(space, overrides=None):
        return load(demo_config, {"tune.space": space, **(overrides or {})})

    return make


def test_a_legal_space_passes(search):
    check(
        search(
            {
                **FOREGROUND,
                "train.ritc.loss.area": {"uniform": [0, 2]},
                "train.ritc.epochs": {"int": [2, 8]},
                "train.ritc.loss.per_pair": {"choice": [True, False]},
                "model.clip.normalisation": {"choice": ["imagenet", "clip"]},
                "cams.scales": {"choice": [[1.0], [1.0, 1.5]]},
            }
        )
    )


@pytest.mark.parametrize("name", ["tune_demo", "tune_voc12"])
def test_the_searches_that_are_shipped_can_be_carried_out(demo_config, name):
    experiment = load(demo_config.with_name(f"{name}.yaml"))
    check(experiment)
    assert len(sample(experiment.tune)) == experiment.tune.num_trials


@pytest.mark.parametrize(
    ("key", "domain", "message"),
    [
        ("train.ritc.loss.foregroud", {"uniform": [1, 2]}, "mean 'train.ritc.loss.foreground'"),
        ("train.ritc.alpha", {"uniform": [0.1, 1.5]}, "less than or equal to 1 .got 1.5."),
        ("train.ritc.epochs", {"uniform": [2, 4]}, "valid integer"),
        ("train.ritc.temperature", {"log_uniform": [0, 1]}, "numbers above 0"),
        ("train.ritc.temperature", {"uniform": [1, 0.5]}, "low < high .got .1, 0.5.."),
        ("train.ritc.epochs", {"int": [2, 3.5]}, "two whole numbers"),
        ("train.ritc.alpha", {"choice": []}, "at least one value"),
        ("train.ritc.alpha", {"choice": [0.1], "grid": [0.1]}, "one kind of domain"),
        ("model.clip.normalisation", {"choice": ["clip", "none"]}, "got 'none'"),
        ("train.classifier.epochs", {"int": [1, 3]}, "decides the artifact 'classifier'"),
        ("corpus.texts.template", {"choice": ["{}"]}, "decides the artifact 'texts'"),
        ("data.limit", {"int": [1, 3]}, "decides the artifact 'images'"),
        ("train.seed", {"int": [0, 3]}, "tune.seeds"),
        ("evaluate.threshold", {"uniform": [0, 1]}, "all evaluate.thresholds at once"),
        ("compute.cams.batch_size", {"int": [1, 3]}, "changes no score"),
    ],
)
def test_what_cannot_be_searched_is_said_with_its_key(search, key, domain, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(search({key: domain}))
    assert f"tune.space: {key}: " in str(caught.value)


def test_all_problems_are_said_at_once(search):
    with pytest.raises(ValueError, match="the search cannot be run") as caught:
        check(search({"train.seed": {"int": [0, 3]}, "run": {"choice": ["a"]}}))
    assert str(caught.value).count("\n") == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tune.space": {}}, "tune.space: empty"),
        ({"train.ritc.keep": "best", "train.ritc.validate_every": 1}, "keep: last"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(search, overrides, message):
    with pytest.raises(ValueError, match=message):
        check(search(FOREGROUND, overrides))


def test_cams_of_a_clip_are_not_searched(search):
    space = {"cams.clip.box_threshold": {"uniform": [0.3, 0.7]}}
    with pytest.raises(ValueError, match=r"cams\.kind: a search trains networks"):
        check(search(space, {"cams.kind": "clip"}))


def test_population_based_training_is_refused_with_what_to_choose(search):
    with pytest.raises(ValueError, match=r"tune\.scheduler: .*set scheduler: asha"):
        search(FOREGROUND, {"tune.scheduler": "pbt"})


def test_a_grid_needs_as_many_trials_as_it_has_combinations(search):
    grid = {
        "train.ritc.alpha": {"grid": [0.1, 0.2, 0.3]},
        "cams.activation": {"grid": ["relu", "sigmoid"]},
    }
    with pytest.raises(ValueError, match="6 combinations, 8 is no multiple"):
        check(search(grid, {"tune.num_trials": 8}))
    with pytest.raises(ValueError, match="write choice instead of grid"):
        check(search(grid, {"tune.num_trials": 6, "tune.searcher": "optuna"}))
    found = search({**grid, **FOREGROUND}, {"tune.num_trials": 12})
    check(found)
    drawn = sample(found.tune)
    pairs = [(one["train.ritc.alpha"], one["cams.activation"]) for one in drawn]
    assert len(set(pairs[:6])) == 6
    assert pairs[:6] == pairs[6:]
    assert len({one["train.ritc.loss.foreground"] for one in drawn}) == 12


def test_a_missing_searcher_names_the_extra(search, monkeypatch):
    monkeypatch.setattr("qaclims_ray.search.space.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"qaclims_ray\[tune\]"):
        check(search(FOREGROUND, {"tune.searcher": "optuna"}))


def test_the_same_seed_draws_the_same_trials(search):
    first, again, other = (
        sample(search(FOREGROUND, {"tune.seed": seed}).tune) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(first) == 20


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 10), st.floats(1.01, 100), st.integers(0, 100))
def test_draws_stay_within_their_range(low, factor, seed):
    rng = np.random.default_rng(seed)
    high = low * factor
    space = {
        "a": {"uniform": (low, high)},
        "b": {"log_uniform": (low, high)},
        "c": {"int": (1, 4)},
        "d": {"choice": ("x", "y")},
    }
    for _ in range(5):
        values = {key: draw(domain, rng) for key, domain in space.items()}
        assert low <= values["a"] <= high
        assert low * (1 - 1e-9) <= values["b"] <= high
        assert values["c"] in (1, 2, 3, 4)
        assert values["d"] in ("x", "y")


def test_a_logarithmic_domain_is_drawn_evenly_over_its_orders_of_magnitude():
    rng = np.random.default_rng(0)
    drawn = [math.log10(draw({"log_uniform": (0.01, 100)}, rng)) for _ in range(2000)]
    assert np.histogram(drawn, bins=4, range=(-2, 2))[0].min() > 400


def test_the_longest_trial_may_be_one_of_the_space(search):
    assert most_epochs(search(FOREGROUND)) == 8
    assert most_epochs(search({"train.ritc.epochs": {"int": [2, 12]}})) == 12
