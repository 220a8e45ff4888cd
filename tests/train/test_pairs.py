import re

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.train.pairs import PairCounts, PairReader, count_part
from qaclims_ray.types import SCHEMAS

CLASSES = ("cat", "dog", "boat")
TEXTS = [*CLASSES, "sea", "sky", "kitten cat", "grass"]
ROWS_OF = {text: row for row, text in enumerate(TEXTS)}
CPU = torch.device("cpu")
_words = st.lists(st.sampled_from(TEXTS), max_size=4)
_pairs = st.lists(
    st.builds(dict, label=st.integers(0, 2), foreground=_words, background=_words),
    max_size=3,
    unique_by=lambda pair: pair["label"],
)
_tables = st.lists(_pairs, min_size=1, max_size=6)


def _plain_loop(rows, index):
    """The texts of the pairs of some images, one after the other."""
    pairs = [pair for i in index for pair in sorted(rows[i], key=lambda pair: pair["label"])]
    return [
        (
            ROWS_OF[CLASSES[pair["label"]]],
            [ROWS_OF[text] for text in pair["foreground"]],
            [ROWS_OF[text] for text in pair["background"]],
        )
        for pair in pairs
    ]


def _unpadded(rows):
    return [[value for value in row if value >= 0] for row in rows.tolist()]


def _tables_of(rows, labels=None):
    """Rows of `pairs`, and name and labels of the same images."""
    names = [f"{number:03d}" for number in range(len(rows))]
    labels = labels or [[pair["label"] for pair in reversed(own)] for own in rows]
    images = pa.table({"name": names, "labels": pa.array(labels, pa.list_(pa.int32()))})
    return pa.table({"name": names, "pairs": rows}, SCHEMAS["pairs"]), images


@settings(deadline=None)
@given(_tables, st.data())
def test_the_pairs_of_a_batch_are_those_of_a_plain_loop(rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    pairs = count_part(*_tables_of(rows), ROWS_OF)
    read = PairReader(ROWS_OF, CLASSES)
    texts = pairs.texts([read({"pairs": rows[image]}) for image in index], CPU)
    assert all(tensor.dtype == torch.int64 for tensor in texts)
    found = zip(
        texts.label.tolist(),
        _unpadded(texts.foreground),
        _unpadded(texts.background),
        strict=True,
    )
    assert list(found) == _plain_loop(rows, index)
    counted = sum(bool(pair["background"]) for i in index for pair in rows[i])
    assert pairs.num_counted(torch.tensor(index)) == counted
    flat = [pair for own in rows for pair in own]
    widths = [max((len(p[kind]) for p in flat), default=0) for kind in ("foreground", "background")]
    assert [texts.foreground.shape[1], texts.background.shape[1]] == widths


def test_an_image_costs_two_bytes_before_the_training_starts():
    pair = {"label": 0, "foreground": ["sea"], "background": ["sky"]}
    assert count_part(*_tables_of([[pair]] * 10), ROWS_OF).counted.nbytes == 20


def test_numbers_of_many_images_add_up():
    pairs = PairCounts(torch.full((1000,), 2**14, dtype=torch.int16), 1, 1)
    assert pairs.num_counted(torch.arange(1000)) == 1000 * 2**14


def test_pairs_of_other_classes_than_the_labels_are_refused():
    rows = [[{"label": label, "foreground": [], "background": []} for label in (2, 0)]] * 2
    count_part(*_tables_of(rows, [[0, 2], [2, 0]]), ROWS_OF)
    for labels in ([1], [0], [0, 2, 2], []):
        said = f"001: pairs are of the classes [0, 2], labels name {labels}: make"
        with pytest.raises(ValueError, match=re.escape(said)):
            count_part(*_tables_of(rows, [[0, 2], labels]), ROWS_OF)


def test_a_text_without_a_feature_is_named():
    rows = [[{"label": 0, "foreground": ["sea"], "background": ["moon"]}]]
    with pytest.raises(ValueError, match=r"1 texts of pairs have no feature, such as 'moon'"):
        count_part(*_tables_of(rows), ROWS_OF)
