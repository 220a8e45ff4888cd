"""Every job runs on the demo, and its --help teaches."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qaclims_ray.config import Experiment, dump

ROOT = Path(__file__).parents[1]
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))
STAGES = {
    "ingest": ("images",),
    "build_corpus": ("corpus",),
    "embed_texts": ("pairs", "texts"),
    "train_classifier": ("classifier",),
    "train_ritc": ("cam_net",),
    "make_cams --baseline": ("baseline_cams",),
    "make_cams": ("cams",),
    "evaluate --baseline": ("baseline_scores",),
    "evaluate": ("scores",),
}
"""What each stage's job makes."""


@pytest.fixture
def job(monkeypatch, capsys):
    """Runs a job in this process, with its shared Ray; gives what it prints."""

    def run(name, *arguments):
        path = ROOT / "jobs" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"job_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def config(demo_run, tmp_path):
    """The demo run as a file."""
    path = tmp_path / "demo.yaml"
    path.write_text(dump(demo_run))
    return path


@pytest.mark.parametrize("name", JOBS)
def test_help_says_what_a_job_does_and_how_it_is_run(name, capsys, monkeypatch):
    path = ROOT / "jobs" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    source = compile(path.read_text(), str(path), "exec")
    with pytest.raises(SystemExit) as caught:
        exec(source, {"__name__": "__main__", "__doc__": None})
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"python jobs/{name}.py --" in shown
    assert "--out" in shown if name == "pretrain_demo" else "--config" in shown


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_thin(name):
    lines = (ROOT / "jobs" / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 36


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_job_finds_what_is_complete(stage, job, config):
    name, *switches = stage.split()
    lines = job(name, "--config", config, *switches).splitlines()
    assert [line.split(":")[0] for line in lines] == list(STAGES[stage])
    assert all("complete already" in line for line in lines)


def test_a_job_takes_overrides(job, config, demo_run, tmp_path):
    """The last stage anew, in a run that has all else from another."""
    out = job(
        "evaluate",
        "--config",
        config,
        "--baseline",
        f"run={tmp_path}",
        f"base=[{demo_run.run}]",
        "evaluate.threshold=0.5",
    )
    assert out.startswith("baseline_scores: 8 rows, 0 errors")
    assert (tmp_path / "baseline_scores" / "scores.json").is_file()


def test_overwrite_makes_an_artifact_anew(job, config, demo_run, tmp_path):
    shutil.copytree(demo_run.run, tmp_path / "run")
    marker = tmp_path / "run" / "pairs" / "_COMPLETE.json"
    before = marker.stat().st_mtime_ns
    lines = job("embed_texts", "--config", config, f"run={tmp_path / 'run'}", "--overwrite")
    assert "complete already" not in lines
    assert marker.stat().st_mtime_ns > before


def test_show_config_prints_the_resolved_tree(job, config, demo_run):
    shown = job("show_config", "--config", config, "train.seed=5")
    tree = yaml.safe_load(shown)
    assert Experiment.model_validate(tree) == demo_run.with_overrides({"train.seed": 5})
    assert "# " in shown


def test_run_all_skips_what_is_complete_and_ends_with_scores_and_report(job, config, demo_run):
    out = job("run_all", "--config", config)
    assert out.count("complete already") == 10
    assert "QA-CLIMS" in out
    assert "report.html" in out.splitlines()[-1]
    assert Path(demo_run.run, "report.html").is_file()


def test_a_mistake_is_one_line_without_traceback(config):
    done = _subprocess("ingest", config, "data.num_image=3")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "data.num_image: unknown key; did you mean 'data.num_images'" in done.stderr


def _subprocess(name, config, *overrides):
    command = [sys.executable, f"jobs/{name}.py", "--config", str(config), *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_one_command_runs_all(tmp_path, small, demo_config):
    """As a user types it: a Ray of its own, two training workers, nothing but our lines shown."""
    overrides = [f"{key}={value}" for key, value in small.items() if "num_workers" not in key]
    done = _subprocess("run_all", demo_config, f"run={tmp_path}", *overrides)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    made = [line.split(":")[0] for line in lines if " rows, " in line]
    assert made == [
        "images",
        "corpus",
        "pairs",
        "texts",
        "classifier",
        "cam_net",
        "baseline_cams",
        "cams",
        "baseline_scores",
        "scores",
    ]
    assert lines[-1].endswith("report.html")
    assert (tmp_path / "report.html").is_file()
    # Our own warning says which classes so few images lack.
    shown = done.stderr.replace("WARNING: no image is labelled", "")
    for noise in ("ray::", "WARNING", "INFO", "Warning"):
        assert noise not in shown
    again = _subprocess("run_all", demo_config, f"run={tmp_path}", *overrides)
    assert again.stdout.count("complete already") == 10
