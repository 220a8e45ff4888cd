import ast
import logging
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ray.data._internal.util import _annotate_exception_with_retry_context
from ray.exceptions import ActorDiedError, RayTaskError, UserCodeException

from qaclims_ray.cli import SWITCHES, describe, explain, parse, run_job, say, tell
from qaclims_ray.config.experiment import Experiment, load
from qaclims_ray.run.faults import StageError


def test_a_jobs_own_options_take_values_and_are_in_its_help(demo_config, capsys):
    until = {"choices": ("images", "cams"), "default": ""}
    argv = ["--config", str(demo_config), "--until", "cams", "train.seed=3"]
    experiment, arguments = parse("", argv, until=until)
    assert (experiment.train.seed, arguments.until) == (3, "cams")
    with pytest.raises(SystemExit):
        parse("", [*argv[:3], "scores"], until=until)
    with pytest.raises(SystemExit):
        parse("", ["--help"], until=until)
    assert "--until {images,cams}" in capsys.readouterr().out


def test_a_job_that_makes_no_artifact_has_nothing_to_overwrite(demo_config):
    with pytest.raises(SystemExit):
        parse("", ["--config", str(demo_config), "--overwrite"], overwrites=False)


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
        "qaclims show-config",
    ):
        assert part in shown


def test_each_option_has_a_help_text(capsys):
    until = {"choices": ("images", "cams"), "help": "last artifact to make"}
    with pytest.raises(SystemExit):
        parse("", ["--help"], *SWITCHES, overwrites=False, until=until)
    shown = capsys.readouterr().out
    for text in (*SWITCHES, *SWITCHES.values(), until["help"], "a YAML file, or by its name"):
        assert text in shown


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("--train.seed=3", "overrides have no dashes: train.seed=3"),
        ("--run=elsewhere", "overrides have no dashes: run=elsewhere"),
        ("--train.seed", "overrides have no dashes: train.seed"),
        ("--unknown", "unrecognized arguments: --unknown\n"),
    ],
)
def test_an_override_with_dashes_gets_a_hint(demo_config, capsys, argument, hint):
    with pytest.raises(SystemExit):
        parse("", ["--config", str(demo_config), argument])
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("spaced", ["train.seed = 3", "train.seed= 3", "name=a b"])
def test_an_override_with_spaces_gets_a_hint(demo_config, spaced):
    with pytest.raises(ValueError, match="without spaces around '='; quote a value that holds"):
        parse("", ["--config", str(demo_config), *spaced.split()])


def test_a_users_mistake_ends_a_job_with_one_message():
    def main():
        raise ValueError("data.root: required, but not given")

    with pytest.raises(SystemExit) as caught:
        run_job(main)
    assert caught.value.code == "error: data.root: required, but not given"


def test_a_full_disk_ends_a_job_with_one_line():
    def main():
        raise OSError(28, "No space left on device")

    with pytest.raises(SystemExit, match=r"^error: OSError: .*No space left on device\n"):
        run_job(main)


def test_an_interrupted_job_says_that_it_goes_on(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_job(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on from here\n"


def _as_ray_raises(error):
    """The error as it comes from a task, and as it comes from an actor that does not start."""
    trace = f"Traceback (most recent call last):\n  File 'x'\n{type(error).__name__}: {error}"
    task = RayTaskError("f", trace, error)
    return task, task.as_instanceof_cause(), ActorDiedError(task)


@pytest.mark.parametrize("way", range(3))
@pytest.mark.parametrize(
    "error", [ValueError("no model\nin 'x'"), OSError("no model\nin 'x'"), StageError("no model")]
)
def test_a_users_mistake_that_ray_wraps_ends_a_job_with_one_message(way, error):
    def main():
        raise _as_ray_raises(error)[way]

    with pytest.raises(SystemExit) as caught:
        run_job(main)
    message = str(caught.value.code)
    assert str(error) in message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 3


def test_a_lost_connection_to_the_hub_is_a_users_to_mend():
    """The errors of its HTTP client are no OSError."""
    own = type("ConnectError", (Exception,), {"__module__": "httpx"})
    told = explain(type("Further", (own,), {"__module__": "huggingface_hub"})("no connection"))
    assert told == "Further: no connection\nMend it, and the same command goes on."


def test_rays_advice_on_retries_is_no_part_of_the_message():
    """Ray Data writes it into the error itself."""

    def main():
        error = StageError("no model\nGet one.")
        raise _annotate_exception_with_retry_context(
            error,
            description="apply UDF transform",
            attempts=1,
            max_attempts=1,
            total_backoff_s=0.0,
            exception_str=str(error),
        )

    with pytest.raises(SystemExit) as caught:
        run_job(main)
    assert caught.value.code == "error: no model\nGet one."


def test_what_user_code_raises_inside_a_task_is_found():
    wrapped = UserCodeException()
    wrapped.__cause__ = ValueError("no labels")
    assert explain(RayTaskError("f", "Traceback", wrapped)) == "no labels"


@pytest.mark.parametrize("way", range(3))
def test_our_own_mistake_that_ray_wraps_keeps_its_traceback(way):
    wrapped = _as_ray_raises(KeyError("x"))[way]
    assert explain(wrapped) is None


def test_no_message_holds_a_secret():
    def main():
        raise ValueError("https://me:PASS@h/a?sig=SIGN: no file")

    with pytest.raises(SystemExit, match=r"^error: https://h/a\?…: no file$"):
        run_job(main)


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


def test_names_and_answers_command_no_terminal(capsys, monkeypatch):
    hostile = "cat\x1b]0;title\x07\r\u202e\u2028\x9b2J"
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])

    def job():
        say(f"result\t{hostile}\n2")
        tell([f"progress {hostile}"])
        logging.getLogger("job").warning("warned %s", hostile)
        raise ValueError(f"failed {hostile}")

    with pytest.raises(SystemExit) as ended:
        run_job(job)
    out, told = capsys.readouterr()
    for text in (out, told, str(ended.value)):
        assert not [one for one in text if not one.isprintable() and one not in "\t\n"]
    assert out == "result\tcat\\x1b]0;title\\x07\\r\\u202e\\u2028\\x9b2J\n2\n"
    assert told.count("cat\\x1b]0;title") == 2
    assert "failed cat\\x1b" in str(ended.value)


def test_jobs_say_all_that_they_print():
    """So that nothing reaches the terminal as it is."""
    for path in Path(import_module("qaclims_ray").__path__[0]).rglob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [one.func for one in ast.walk(tree) if isinstance(one, ast.Call)]
        assert "print" not in {one.id for one in calls if isinstance(one, ast.Name)}, path


STUCK = """
import sys, time
from qaclims_ray import cli

cli._GIVES_UP_AFTER = float(sys.argv[1])
cli.ends_work(lambda: "Ray died. The same command goes on.")

def job():
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            if sys.argv[2] == "gives up":
                raise ValueError("what followed from it")

cli.run_job(job)
"""


@pytest.mark.parametrize(("seconds", "what"), [("30", "gives up"), ("0.1", "is stuck")])
def test_what_ends_all_work_ends_a_job_that_waits(seconds, what):
    """By force, if the interrupt comes in the instant before the job begins to wait."""
    command = [sys.executable, "-c", STUCK, seconds, what]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert ended.returncode == 1
    assert ended.stderr == "error: Ray died. The same command goes on.\n"
