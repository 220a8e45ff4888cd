"""Every job runs on the demo, and its --help teaches."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.dataset as pads
import pytest
import yaml

from qaclims_ray.config.experiment import Experiment, dump, load
from qaclims_ray.config.overrides import flatten, parse_overrides
from qaclims_ray.demo.voc import write_voc
from qaclims_ray.jobs.command import COMMANDS
from qaclims_ray.preflight.check import artifacts_until
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS

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
    assert re.search(r"^ *qaclims [a-z-]+ --", shown, re.MULTILINE)
    options = {"pretrain_demo": "--out", "benchmark": "--out", "compare": "--to"}
    assert options.get(name, "--config") in shown


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_thin(name):
    lines = (ROOT / "jobs" / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 8


@pytest.mark.parametrize("name", ARTIFACTS)
def test_the_readme_says_which_job_makes_an_artifact(name):
    job = ARTIFACTS[name].job.split()[0]
    rows = [line for line in _readme_rows() if line.startswith(f"| `{job}")]
    assert any(f"`{name}`" in row for row in rows)


def test_the_readme_says_which_script_is_which_command():
    scripts = {command.name: f" | `{command.job}.py` | " for command in COMMANDS}
    named = {row.split("`")[1].split()[0]: row for row in _readme_rows()}
    assert set(scripts) - set(named) <= {
        "run",
        "show-config",
        "status",
        "verify",
        "ablation",
        "pretrain-demo",
    }
    assert all(scripts[name] in row for name, row in named.items())


def _readme_rows():
    """Rows of the table of commands."""
    lines = (ROOT / "README.md").read_text().splitlines()
    first = lines.index("| command | in `jobs/` | writes | what |") + 2
    return lines[first : lines.index("", first)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_job_finds_what_is_complete(stage, job, config):
    name, *switches = stage.split()
    lines = job(name, "--config", config, *switches).splitlines()
    found = [line.split(":")[0] for line in lines if "complete already" in line]
    assert found == list(STAGES[stage])


def test_label_maps_and_the_segmenter_are_exported(job, config, tmp_path):
    masks, to = ("export_masks", "--config", config, "--of", "masks"), tmp_path / "out"
    assert job(*masks, "--to", to).startswith("export_masks: 8 masks as png, 0 without label map")
    assert len(list(to.glob("*.png"))) == 8
    job(*masks, "--to", to, "--format", "coco", "--suffix", ".png")
    assert len(json.loads((to / "masks.json").read_text())["images"]) == 8
    told = job("export_segmenter", "--config", config, "--to", to, "--onnx")
    assert "ONNX differs from torch by at most" in told
    assert {"config.json", "model.safetensors", "model.onnx"} <= set(os.listdir(to))


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


def test_corpus_stats_prints_tables_writes_files_and_exports(job, config, demo_run, tmp_path):
    out = job("corpus_stats", "--config", config, "--top", 2, "--export", tmp_path / "a.jsonl")
    found = json.loads(Path(demo_run.run, "corpus_stats", "corpus_stats.json").read_text())
    assert found["images"] == 8
    assert all(len(row["backgrounds"]) <= 2 for row in found["classes"])
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == found["total"]["answers"]
    assert "most frequent backgrounds" in out
    assert out.splitlines()[-1].startswith("corpus_stats: 8 images, ")


def test_show_config_prints_the_resolved_tree(job, config, demo_run):
    shown = job("show_config", "--config", config, "train.seed=5")
    tree = yaml.safe_load(shown)
    assert Experiment.model_validate(tree) == demo_run.with_overrides({"train.seed": 5})
    assert "# " in shown


def test_run_all_skips_what_is_complete_and_ends_with_scores_and_report(job, config, demo_run):
    out = job("run_all", "--config", config)
    assert out.count("complete already") == len(artifacts_until("", demo_run))
    assert "QA-CLIMS" in out
    assert "report.html" in out.splitlines()[-1]
    assert Path(demo_run.run, "report.html").is_file()


def test_ingest_shows_the_facts(job, config):
    shown = job("ingest", "--config", config).splitlines()
    assert shown[0].startswith("8 images, ")
    assert "height: 96 to 96 pixels, median 96" in shown
    assert "images per class:" in shown
    assert "complete already" in shown[-1]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("evaluate", ("images", "cam_net")),
        ("run_all", ("images", "corpus", "pairs", "texts", "classifier", "cam_net")),
    ],
)
def test_cams_are_scored_as_they_are_made(job, config, demo_run, tmp_path, name, found):
    run = tmp_path / "run"
    run.mkdir()
    for one in found:
        (run / one).symlink_to(Path(demo_run.run, one))
    until = ("--until", "scores") if name == "run_all" else ()
    out = job(name, "--config", config, *until, f"run={run}", "evaluate.stream=true")
    assert "scores: 8 rows, 0 errors" in out
    assert not list(run.glob("*cams"))


def test_run_all_ends_where_it_is_told_to(job, config, demo_run, tmp_path):
    own = (f"run={tmp_path}/run", f"base=[{demo_run.run}]")
    lines = job("run_all", "--config", config, "--until", "texts", *own).splitlines()
    assert [line.split(":")[0] for line in lines] == ["images", "corpus", "pairs", "texts"]
    with pytest.raises(SystemExit):
        job("run_all", "--config", config, "--until", "lunch", *own)


def test_show_writes_a_sheet_of_chosen_images(job, config, demo_run, tmp_path):
    own = (f"run={tmp_path}/run", f"base=[{demo_run.run}]")
    shown = job("show", "--config", config, "--num", 3, *own)
    assert shown == f"show: 3 images · {tmp_path}/run/show/sheet.html\n"
    names = "train_000001,train_000002"
    job("show", "--config", config, "--names", names, "--cams", "--baseline", *own)
    pngs = {str(path.relative_to(tmp_path / "run")) for path in tmp_path.rglob("*.png")}
    assert pngs == {
        f"show/{artifact}/{kind}/{name}.png"
        for artifact in ("cams", "baseline_cams")
        for kind in ("masks", "overlays")
        for name in names.split(",")
    }
    with pytest.raises(ValueError, match="no image 'x'"):
        job("show", "--config", config, "--names", "x", *own)


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
    own = {key: value for key, value in small.items() if "num_workers" not in key}
    for section in ("classifier", "irn", "segmenter"):
        own[f"train.{section}.batch_size_per_worker"] = 4  # a step takes 8 images
    overrides = [f"{key}={json.dumps(value)}" for key, value in own.items()]
    done = _subprocess("run_all", demo_config, f"run={tmp_path}", *overrides)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    made = [line.split(":")[0] for line in lines if " rows, " in line]
    wanted = artifacts_until("", load(demo_config, parse_overrides(overrides)))
    assert made == wanted
    assert lines[-1].endswith("report.html")
    assert (tmp_path / "report.html").is_file()
    # Our own warnings: classes that so few images lack, maps that so few steps leave empty.
    own = ("no image is labelled", "maps are empty, 0 everywhere")
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert all(any(words in line for words in own) for line in warned), warned
    shown = done.stderr.replace("WARNING: ", "")
    for noise in ("ray::", "(raylet", "WARNING", "INFO", "Warning"):
        assert noise not in shown
    again = _subprocess("run_all", demo_config, f"run={tmp_path}", *overrides)
    assert again.stdout.count("complete already") == len(wanted)


@pytest.fixture
def own_images(tmp_path):
    """30 images of a user who has labels and no masks."""
    world = tmp_path / "world"
    write_voc(world, split="train", num_images=30, seed=3, biased=True)
    (tmp_path / "mine").mkdir()
    shutil.copytree(world / "JPEGImages", tmp_path / "mine" / "images")
    lines = ["image,labels"]
    for path in sorted((world / "Annotations").iterdir()):
        names = {node.text for node in ElementTree.parse(path).iterfind("object/name")}
        lines.append(f"{path.stem}.jpg,{';'.join(sorted(names))}")
    (tmp_path / "mine" / "labels.csv").write_text("\n".join(lines))
    shutil.rmtree(world)
    return tmp_path / "mine"


def test_the_walk_through_with_own_images(own_images, tmp_path, demo_config, small, job, local_ray):
    """Three commands from a folder to CAMs; configs/folder.yaml with the demo's tiny models."""
    tiny = {**yaml.safe_load(demo_config.read_text()), "data": {"kind": "folder"}}
    plain = dict(flatten({key: value for key, value in tiny.items() if key != "name"}))
    plain |= {key: value for key, value in small.items() if not key.startswith("data.")}
    plain |= {"compute.train.use_gpu": False, "compute.texts.num_gpus": 0}
    plain |= {"compute.corpus.num_gpus": 0, "compute.cams.num_gpus": 0}
    plain |= {"compute.train.num_loader_workers": 0, "model.clip.normalisation": "imagenet"}
    plain |= {"data.root": str(own_images), "run": str(tmp_path / "run")}
    overrides = [f"{key}={json.dumps(value)}" for key, value in plain.items()]
    config = ROOT / "configs" / "folder.yaml"

    said = job("ingest", "--config", config, *overrides)
    assert said.startswith("30 images, ")
    assert "masks: 0, 30 images have none" in said
    job("show", "--config", config, *overrides)
    assert (tmp_path / "run" / "show" / "sheet.html").is_file()
    said = job("run_all", "--config", config, "--until", "cams", *overrides)
    made = pads.dataset(sorted((tmp_path / "run" / "cams").glob("part-*.parquet"))).to_table()
    assert made.num_rows == 30
    assert said.splitlines()[-1].startswith("cams: 30 rows, 0 errors")

    # Classes in another order: what was made before would mean other classes.
    classes = artifact(load(config, parse_overrides(overrides)), "images").fact("class_names")
    (own_images / "classes.txt").write_text("\n".join(reversed(classes)))
    job("ingest", "--config", config, "--overwrite", *overrides)
    with pytest.raises(ValueError, match="corpus is stale: inputs of it were made anew"):
        job("show", "--config", config, "--cams", *overrides)
