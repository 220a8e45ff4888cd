"""The examples of docs/ run as they are written, on the small demo run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray import Run
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def at_home(demo_run, tmp_path, monkeypatch):
    """A folder with the demo's run, as the examples name it, and a photograph."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(demo_run.run)
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    pil.fromarray(pixels).save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "runs" / "small").mkdir()  # what `make` finds there, it does not make anew
    (tmp_path / "runs" / "small" / "images").symlink_to(Path(demo_run.run, "images"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def test_the_page_of_examples_runs(at_home, capsys):
    names = {}
    assert len(BLOCKS) == 6
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["num_pixels"] == 8 * 96 * 96
    assert names["label_maps"][1].shape == names["cams"].shape == (60, 80)
    assert names["maps"].shape == (2, 60, 80)
    assert names["classes"].index.size == 9
    told = capsys.readouterr().out
    assert "images: complete already, 8 rows, 0 errors" in told
    assert told.endswith("\n8\n")


@pytest.mark.slow
def test_make_makes(at_home, local_ray, capsys):
    (at_home / "runs" / "small" / "images").unlink()
    exec(compile(BLOCKS[4], "docs/python.md", "exec"), {"Run": Run})
    assert capsys.readouterr().out.startswith("images: 8 rows, 0 errors, ")


def test_the_notebook_goes_from_images_to_overlays(at_home):
    cells = json.loads((ROOT / "docs" / "examples" / "own_images.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "own_images.ipynb", "exec"), names)
    made = pil.open(at_home / "overlays" / "a.png")
    assert made.size == (80, 60)
    assert [label_map.shape for label_map in names["label_maps"]] == [(60, 80)]
    assert Path("overlays").is_dir()
