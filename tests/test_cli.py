import pytest
import yaml

from qaclims_ray.cli import describe, parse, run_job
from qaclims_ray.config import Experiment, load


def test_overrides_and_switches_come_in_any_order(demo_config):
    argv = ["train.seed=3", "--config", str(demo_config), "--overwrite", "run=elsewhere", "name=x"]
    experiment, arguments = parse("", argv)
    assert (experiment.train.seed, experiment.run, experiment.name) == (3, "elsewhere", "x")
    assert arguments.overwrite
    assert not parse("", ["--config", str(demo_config)])[1].overwrite


def test_further_switches_are_off_unless_given(demo_config):
    argv = ["--config", str(demo_config)]
    assert not parse("", argv, "--baseline")[1].baseline
    assert parse("", [*argv, "--baseline"], "--baseline")[1].baseline


def test_a_config_is_required(capsys):
    with pytest.raises(SystemExit):
        parse("", [])
    assert "--config" in capsys.readouterr().err


def test_help_teaches_precedence_and_where_the_keys_are(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("What the job does.", ["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for part in (
        "What the job does.",
        "--config FILE",
        "--overwrite",
        "key=value",
        "class default < YAML file < key=value",
        "jobs/show_config.py",
    ):
        assert part in shown


def test_a_users_mistake_ends_a_job_with_one_message():
    def main():
        raise ValueError("data.root: required, but not given")

    with pytest.raises(SystemExit) as caught:
        run_job(main)
    assert caught.value.code == "error: data.root: required, but not given"


def test_our_own_mistake_ends_a_job_with_a_traceback():
    def main():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_job(main)


def test_the_description_is_the_resolved_tree_as_yaml(demo_config):
    overrides = {
        "name": "ends in ...",
        "corpus.texts.backgrounds": ["sky", "largest of: all # fields"],
        "corpus.expected_names": {"cat": ["kitten"]},
        "data.split": "val",
    }
    experiment = load(demo_config, overrides)
    tree = yaml.safe_load("\n".join(describe(experiment)))
    assert Experiment.model_validate(tree) == experiment
    assert tree == experiment.plain()


def test_the_description_says_what_each_key_means(demo_config):
    lines = list(describe(load(demo_config)))
    (position,) = (i for i, line in enumerate(lines) if line.startswith("    temperature: "))
    assert lines[position - 1] == "    # Divides the cosine similarities."
    assert all(len(line) <= 100 for line in lines if line.lstrip().startswith("#"))
