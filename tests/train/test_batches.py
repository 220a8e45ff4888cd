import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.sections import Augment
from qaclims_ray.train.batches import (
    PairTable,
    TrainingImages,
    batches,
    epoch_rows,
    label_matrix,
    steps_per_epoch,
)

_deals = st.tuples(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5))


@given(_deals, st.integers(0, 5), st.integers(0, 3))
def test_every_image_is_dealt_at_most_once_per_epoch(deal, seed, epoch):
    num_images, num_workers, images_per_worker = deal
    workers = [
        epoch_rows(
            num_images,
            seed=seed,
            epoch=epoch,
            worker=worker,
            num_workers=num_workers,
            images_per_worker=images_per_worker,
        )
        for worker in range(num_workers)
    ]
    steps = steps_per_epoch(num_images, num_workers, images_per_worker)
    assert all(rows.shape == (steps, images_per_worker) for rows in workers)
    dealt = np.concatenate([rows.ravel() for rows in workers])
    assert set(dealt) <= set(range(num_images))
    if num_images >= num_workers * images_per_worker:
        assert len(set(dealt)) == len(dealt)
        assert len(dealt) > num_images - num_workers * images_per_worker
    else:
        assert set(dealt) == set(range(num_images))


def _order(seed, epoch):
    rows = epoch_rows(50, seed=seed, epoch=epoch, worker=0, num_workers=1, images_per_worker=5)
    return rows.ravel().tolist()


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    assert _order(1, 2) == _order(1, 2)
    assert len({tuple(_order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_order_of_all_workers_together_is_that_of_one_alone():
    alone = epoch_rows(40, seed=0, epoch=0, worker=0, num_workers=1, images_per_worker=8)
    halves = [
        epoch_rows(40, seed=0, epoch=0, worker=worker, num_workers=2, images_per_worker=4)
        for worker in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), alone)


def test_labels_become_rows_of_zeros_and_ones():
    table = pa.table({"labels": pa.array([[0, 2], [], [1]], pa.list_(pa.int32()))})
    expected = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    torch.testing.assert_close(label_matrix(table, 4), expected)


@pytest.fixture(scope="module")
def table(png):
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3), np.uint8)
    rows = [
        {"name": f"i{number}", "image": png(image), "labels": [number % 3]}
        for number, image in enumerate(noise)
    ]
    return pa.Table.from_pylist(rows)


def _load(table, epoch=0, processes=0, seed=0):
    images = TrainingImages(table, Augment(resize_long=(30, 50), crop=24), seed, 10_000)
    images.epoch = epoch
    rows = np.array([[4, 1, 0], [2, 5, 3]])
    return list(batches(images, label_matrix(table, 3), rows, processes))


def test_a_batch_holds_the_rows_asked_for(table):
    first, second = _load(table)
    assert first.names == ["i4", "i1", "i0"]
    assert first.rows.tolist() == [4, 1, 0]
    assert first.images.shape == (3, 3, 24, 24)
    assert first.labels.argmax(dim=1).tolist() == [1, 1, 0]
    assert second.names == ["i2", "i5", "i3"]


def test_a_view_depends_on_seed_epoch_and_name_alone(table):
    shuffled = table.take([5, 4, 3, 2, 1, 0])
    one = _load(table)[0].images
    torch.testing.assert_close(_load(table)[0].images, one, rtol=0, atol=0)
    other = TrainingImages(shuffled, Augment(resize_long=(30, 50), crop=24), 0, 10_000)
    np.testing.assert_array_equal(other[1][1], one[0])
    assert not torch.equal(_load(table, epoch=1)[0].images, one)
    assert not torch.equal(_load(table, seed=1)[0].images, one)


def test_loading_ahead_in_processes_changes_nothing(table):
    here, there = _load(table, epoch=3), _load(table, epoch=3, processes=1)
    for one, other in zip(here, there, strict=True):
        assert one.names == other.names
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)


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
    table = PairTable(
        [{"name": str(i), "pairs": pairs} for i, pairs in enumerate(rows)],
        ROWS_OF,
        CLASSES,
        torch.device("cpu"),
    )
    texts = table.of(torch.tensor(index))
    assert all(tensor.dtype == torch.int64 for tensor in texts)
    found = zip(
        texts.label.tolist(),
        _unpadded(texts.foreground),
        _unpadded(texts.background),
        strict=True,
    )
    assert list(found) == _plain_loop(rows, index)
