import pytest

from qaclims_ray.train.faults import DivergedError, failure, note_fault, noted_faults

DEATH = {"worker 1": RuntimeError("connection closed by peer")}


def test_what_was_noted_comes_before_what_followed_from_it(tmp_path):
    for rank in range(2):
        note_fault(str(tmp_path), rank, DivergedError("step 7: the loss is not finite"))
    assert len(noted_faults(str(tmp_path))) == 2
    assert str(failure(str(tmp_path), DEATH)) == "step 7: the loss is not finite"


def test_different_faults_are_all_told(tmp_path):
    for rank, message in enumerate(["no space", "no memory", "no space"]):
        note_fault(str(tmp_path), rank, ValueError(message))
    assert str(failure(str(tmp_path), {})) == "no space\nno memory"


@pytest.mark.parametrize(("diverged", "kind"), [(True, DivergedError), (False, ValueError)])
def test_a_training_that_diverged_in_a_worker_is_known_from_others(tmp_path, diverged, kind):
    note_fault(str(tmp_path), 0, ValueError("no more"))
    note_fault(str(tmp_path), 1, DivergedError("no more") if diverged else ValueError("no more"))
    error = failure(str(tmp_path), {})
    assert (type(error), str(error)) == (kind, "no more")


def test_without_a_note_the_last_words_of_each_worker_are_told_once(tmp_path):
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: out of memory'
    deaths = {"worker 0": OSError("no space\n" + 200 * "more\n")}
    deaths |= {f"worker {rank}": Exception(trace) for rank in (1, 2)}
    error = failure(str(tmp_path), deaths)
    assert type(error) is ValueError
    assert str(error).splitlines()[1:-1] == [
        "  worker 0: OSError: no space",
        "  worker 2: RuntimeError: out of memory",
    ]
    assert str(error).endswith("the same command goes on from the last checkpoint.")
