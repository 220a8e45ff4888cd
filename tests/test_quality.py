"""Lint, format, types and import contracts: part of the test command."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["pyright", "--pythonpath", sys.executable],
    "imports": ["lint-imports"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_quality(name: str) -> None:
    tool, *arguments = CHECKS[name]
    command = [str(Path(sys.executable).parent / tool), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_tests_that_security_md_names_are_there():
    text = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"(?:tests/[\w/]*)?(test_\w+\.py)", text))
    there = {path.name for path in Path(__file__).parent.rglob("test_*.py")}
    assert len(named) > 20
    assert named <= there
