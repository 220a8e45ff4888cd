import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.train.pairs import PairTable

CLASSES = ("cat", "dog", "boat")
TEXTS = [*CLASSES, "sea", "sky", "kitten cat", "grass"]
ROWS_OF = {text: row for row, text in enumerate(TEXTS)}
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


@settings(deadline=None)
@given(_tables, st.data())
def test_the_pairs_of_a_batch_are_those_of_a_plain_loop(rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    images = [{"name": str(i), "pairs": pairs} for i, pairs in enumerate(rows)]
    split = data.draw(st.integers(0, len(rows)))
    table = PairTable(
        [images[:split], images[split:]],
        ROWS_OF,
        CLASSES,
        torch.device("cpu"),
    )
    texts = table.texts_of(torch.tensor(index))
    assert all(tensor.dtype == torch.int64 for tensor in texts)
    found = zip(
        texts.label.tolist(),
        _unpadded(texts.foreground),
        _unpadded(texts.background),
        strict=True,
    )
    assert list(found) == _plain_loop(rows, index)
    counted = sum(bool(pair["background"]) for i in index for pair in rows[i])
    assert table.num_counted(torch.tensor(index)) == counted
