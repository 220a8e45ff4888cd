import pytest

from qaclims_ray.run.progress import background


def test_work_goes_on_while_the_body_runs_and_has_ended_after_it():
    said = []

    def work(done):
        said.append("begins")
        done.wait(60)
        said.append("ends")

    with background(work):
        assert "ends" not in said
    assert said == ["begins", "ends"]


def test_work_ends_also_where_the_body_fails():
    said = []

    def work(done):
        said.append(done.wait(60))

    with pytest.raises(KeyError), background(work):
        raise KeyError
    assert said == [True]
