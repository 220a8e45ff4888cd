"""The folder is one that Hugging Face `datasets` loads, with a card that the Hub reads."""

import pytest
import yaml

from qaclims_ray.corpus.stats.hub import FILE, card, export_folder
from qaclims_ray.storage.files import exists
from tests.corpus.stats.test_export import CLASSES, EXPECTED, batches

MADE_BY = {"data": "demo", "corpus.engine.kind": "blip"}


def test_the_card_says_what_it_is_and_how_it_was_made():
    text = card("mine", 2000, CLASSES, MADE_BY)
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["size_categories"] == ["1K<n<10K"]
    assert about["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "2,000 answers" in body
    assert "Classes: cat, Straße." in body
    assert "corpus.engine.kind: blip" in body
    assert all(f"| `{column}` |" in body for column in EXPECTED[0])


def test_datasets_loads_the_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    to = tmp_path / "out"
    assert export_folder(batches(), CLASSES, str(to), name="mine", made_by=MADE_BY) == len(EXPECTED)
    found = datasets.load_dataset(str(to), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train"]
    assert found["train"].to_list() == EXPECTED


def test_it_may_lie_on_a_store():
    export_folder(batches(), CLASSES, "memory://hub/mine", name="mine", made_by=MADE_BY)
    assert exists(f"memory://hub/mine/{FILE}")
    assert exists("memory://hub/mine/README.md")
