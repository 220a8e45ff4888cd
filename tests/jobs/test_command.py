"""The console command `qaclims`: its table, its hints, what it imports, and the wheel that has it."""

import argparse
import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from qaclims_ray.jobs.command import COMMANDS, main

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "ray", "transformers", "open_clip", "pandas", "matplotlib"]


@pytest.fixture
def qaclims(monkeypatch, capsys):
    """Runs the command in this process; gives its exit status, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/qaclims", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_every_job_is_a_command_and_a_script():
    jobs = [command.job for command in COMMANDS]
    assert sorted(jobs) == sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))
    assert len({command.name for command in COMMANDS}) == len(jobs)
    for job in jobs:
        script = ast.unparse(ast.parse((ROOT / "jobs" / f"{job}.py").read_text()))
        assert f"from qaclims_ray.jobs.{job} import main" in script
        assert callable(import_module(f"qaclims_ray.jobs.{job}").main)


def test_help_has_a_line_for_each_command_and_names_the_configurations(qaclims):
    for arguments in ((), ("--help",), ("-h",)):
        code, shown, _ = qaclims(*arguments)
        assert code == 0
        for command in COMMANDS:
            assert re.search(rf"^  {command.name} +{re.escape(command.help)}$", shown, re.MULTILINE)
        assert all(len(line) <= 80 for line in shown.splitlines() if line.startswith("  "))
        assert "demo, " in shown.split("configurations by name:")[1]


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_help_of_a_command_shows_it_and_each_option_has_a_text(command, qaclims, monkeypatch):
    parsers = []
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda self: parsers.append(self))
    assert qaclims(command.name, "--help")[0] == 0
    (parser,) = parsers
    shown = parser.format_help()
    assert shown.startswith(f"usage: qaclims {command.name} ")
    assert f"\n    qaclims {command.name} --" in shown or f"\nqaclims {command.name} --" in shown
    assert [action.dest for action in parser._actions if not action.help] == []


def test_a_command_is_found_by_the_name_of_its_script_too(qaclims):
    assert qaclims("run_all", "--help")[1] == qaclims("run", "--help")[1]


@pytest.mark.parametrize(
    ("asked", "hint"), [("cmas", "; did you mean 'cams'?"), ("zzzz", " (qaclims --help lists")]
)
def test_an_unknown_command_gets_a_hint(qaclims, asked, hint):
    code, _, told = qaclims(asked)
    assert code == 2
    assert f"no command {asked!r}{hint}" in told


def test_a_configuration_is_given_by_name(qaclims):
    code, shown, _ = qaclims("show-config", "--config", "demo", "train.seed=3")
    assert code == 0
    assert shown.startswith("name: demo\n")
    assert "\n  seed: 3\n" in shown


_WALK = """
import sys
from qaclims_ray.jobs.command import COMMANDS, main

for command in COMMANDS:
    for arguments in (["--help"], ["--config", "nix"], ["--config", "demo", "train.sed=3"]):
        needed = {"export-masks": ["--of", "seeds", "--to", "x"], "export-segmenter": ["--to", "x"]}
        sys.argv = ["qaclims", command.name, *arguments, *needed.get(command.name, [])]
        try:
            main()
            raise AssertionError(sys.argv)
        except SystemExit as end:
            found = [name for name in HEAVY if name in sys.modules]
            sys.stderr.write(f"{command.name}|{arguments[-1]}|{found}|{end.code!r}\\n")
"""


def test_help_and_mistakes_import_nothing_heavy():
    """Modules are counted, not seconds: with these a job takes 7 of them before its first word."""
    done = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {HEAVY!r}\n{_WALK}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.count("|") >= 3]
    assert len(lines) == 3 * len(COMMANDS)
    for line in lines:
        _, asked, found, code = line.split("|", 3)
        assert found == "[]", line
        assert (code == "0") == (asked == "--help")
    typos = [line for line in lines if "|train.sed=3|" in line]
    assert (
        sum("did you mean" in line for line in typos) == len(COMMANDS) - 3
    )  # three have no config


def test_a_wheel_has_the_command_the_configurations_and_the_marker_of_types(tmp_path):
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("qaclims_ray", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", ".", *options, "-w", "wheels"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "qaclims = qaclims_ray.jobs.command:main" in archive.read(entry).decode()
    shipped = {f"qaclims_ray/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    assert shipped | {"qaclims_ray/py.typed", "qaclims_ray/report/templates/page.html"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"qaclims_ray"}
    code = "import json; from qaclims_ray.config.shipped import shipped_configs as found; "
    code += "print(json.dumps({name: str(path) for name, path in found().items()}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/", env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, check=True,
    )  # fmt: skip
    folder = tmp_path / "site" / "qaclims_ray" / "configs"
    assert json.loads(found.stdout)["demo"] == str(folder / "demo.yaml")
