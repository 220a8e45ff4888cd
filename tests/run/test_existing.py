import pytest

from qaclims_ray.run.existing import require_run


@pytest.fixture
def runs(tmp_path):
    for name in ("demo", "demo_2", "voc12"):
        (tmp_path / name / "images").mkdir(parents=True)
    return tmp_path


def test_a_run_that_is_there_and_one_that_has_a_base_are_well(runs, make_experiment):
    require_run(make_experiment(runs / "demo"))
    require_run(make_experiment(runs / "new", {"base": [str(runs / "demo")]}))


@pytest.mark.parametrize(
    ("asked", "named"),
    [("dmeo", "demo, demo_2"), ("voc", "voc12"), ("zzz", "demo, demo_2, voc12")],
)
def test_one_that_is_not_there_is_an_error_with_the_names_of_others(
    runs, make_experiment, asked, named
):
    with pytest.raises(ValueError, match=rf"nothing in .*/{asked}; beside it are {named}\. Give"):
        require_run(make_experiment(runs / asked))


def test_where_there_is_no_run_none_is_named(tmp_path, make_experiment):
    with pytest.raises(ValueError, match=r"nothing in .*/runs/demo\. Give run="):
        require_run(make_experiment(tmp_path / "runs" / "demo"))


def test_it_may_lie_on_a_store(make_experiment):
    with pytest.raises(ValueError, match=r"nothing in memory://nowhere/demo"):
        require_run(make_experiment("memory://nowhere/demo"))
