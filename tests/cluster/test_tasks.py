import pytest
import ray

from qaclims_ray.cluster.tasks import on_all_cpus, together
from qaclims_ray.run.publish import publish
from tests.run.finished import failed_row, image_row, published_files, target_at, write_blocks


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


def test_rows_are_published_by_tasks_to_the_same_bytes(local_ray, tmp_path):
    rows = [image_row(f"{number * 7 % 40:02d}", 90 + number) for number in range(40)]
    blocks = [[*rows[i::5], failed_row(f"{i}x")] for i in range(5)]
    here, there = (write_blocks(target_at(tmp_path / name), blocks) for name in ("a", "b"))
    wanted = {"shard_megabytes": 0.001, "max_errors": 5, "expected": 45}

    def run_tasks(work, calls, label):
        return together(work, calls, **on_all_cpus(), label=label)

    assert publish(here, **wanted) == (40, 5)
    assert publish(there, **wanted, part_rows=16, run_tasks=run_tasks) == (40, 5)
    assert published_files(here) == published_files(there)
    assert len(published_files(here)) == 6
