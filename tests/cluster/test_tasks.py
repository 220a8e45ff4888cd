import pytest
import ray

from qaclims_ray.cluster.tasks import together


def test_tasks_give_results_in_order_and_take_what_they_are_given(local_ray):
    def taken(number):
        assigned = ray.get_runtime_context().get_assigned_resources()
        return number, assigned["CPU"]

    found = together(taken, [(1,), (2,), (3,)], {"CPU": 0.5, "GPU": 0.0}, 2, "numbers")
    assert found == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_a_task_that_fails_stops_no_other(local_ray, tmp_path):
    def write(number):
        if number == 0:
            raise ValueError("no")
        (tmp_path / str(number)).touch()

    with pytest.raises(ValueError, match="no"):
        together(write, [(0,), (1,), (2,)], {"CPU": 1.0, "GPU": 0.0}, 1, "files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
