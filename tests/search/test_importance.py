import numpy as np
import pytest

from qaclims_ray.search.importance import importance


def test_what_makes_the_score_is_important(rows, space):
    shares = importance(rows, space)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["train.ritc.loss.foreground"] > 0.8
    assert importance(rows[:5], space) is None


def test_importance_is_of_the_last_epoch_that_all_trials_reached(rows, space):
    rng = np.random.default_rng(0)
    for row in rows[:-1]:
        row["scores"] = [row["score"], rng.random()]
    stopped = [{**row, "epochs": 1, "scores": row["scores"][:1]} for row in rows[:1]]
    shares = importance([*stopped, *rows[1:]], space)
    assert shares["train.ritc.loss.foreground"] > 0.8
