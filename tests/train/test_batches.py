import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.config.train import Augment
from qaclims_ray.train.batches import BatchLoader, TrainingImages
from qaclims_ray.train.deal import epoch_rows, shard, steps_per_epoch
from qaclims_ray.train.sets import WholeSet
from qaclims_ray.train.targets import (
    CamTargets,
    LabelMapTargets,
    LabelTargets,
    ViewOptions,
    label_matrix,
    named_by,
)
from qaclims_ray.types import IGNORE

_deals = st.tuples(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5))


@given(_deals, st.integers(0, 5), st.integers(0, 3))
def test_every_image_is_dealt_at_most_once_per_epoch(deal, seed, epoch):
    num_images, num_batches, images_per_batch = deal
    rows = epoch_rows(
        num_images,
        seed=seed,
        epoch=epoch,
        num_batches=num_batches,
        images_per_batch=images_per_batch,
    )
    steps = steps_per_epoch(num_images, num_batches, images_per_batch)
    assert rows.shape == (steps, num_batches, images_per_batch)
    dealt = rows.ravel()
    assert set(dealt) <= set(range(num_images))
    assert len(set(dealt)) == len(dealt)
    assert len(dealt) > num_images - num_batches * images_per_batch


def _order(seed, epoch):
    rows = epoch_rows(50, seed=seed, epoch=epoch, num_batches=1, images_per_batch=5)
    return rows.ravel().tolist()


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    assert _order(1, 2) == _order(1, 2)
    assert len({tuple(_order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_smaller_batches_of_more_workers_make_the_same_steps():
    one = epoch_rows(40, seed=0, epoch=0, num_batches=1, images_per_batch=8)
    four = epoch_rows(40, seed=0, epoch=0, num_batches=4, images_per_batch=2)
    np.testing.assert_array_equal(four.reshape(one.shape), one)


@given(st.integers(1, 12), st.integers(1, 8))
def test_however_many_workers_share_a_step_each_batch_counts_once(num_batches, num_workers):
    """The gradient is the sum of weight times gradient, divided by the number of workers."""
    num_workers = min(num_workers, num_batches)
    shards = [shard(num_batches, rank, num_workers) for rank in range(num_workers)]
    assert len({len(places) for places, _ in shards}) == 1
    counted = np.zeros(num_batches)
    for places, weights in shards:
        assert weights[0] > 0
        np.add.at(counted, places, np.array(weights) / num_workers)
    np.testing.assert_allclose(counted, 1 / num_batches)


def test_labels_become_rows_of_zeros_and_ones():
    table = pa.table({"labels": pa.array([[0, 2], [], [1]], pa.list_(pa.int32()))})
    expected = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    torch.testing.assert_close(label_matrix(table, 4), expected)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 5), min_size=2, max_size=20),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_with_shares_each_image_comes_as_often_as_it_is_due(shares, seed, epoch):
    shares, deal = np.float32(shares), {"seed": seed, "epoch": epoch, "num_batches": 1}
    rows = epoch_rows(len(shares), **deal, images_per_batch=1, shares=shares).ravel()
    due = len(shares) * shares / shares.sum()
    assert len(rows) == len(shares)
    assert np.all(np.abs(np.bincount(rows, minlength=len(shares)) - due) < 1 + 1e-4)


def test_equal_shares_are_a_permutation():
    rows = epoch_rows(
        9, seed=0, epoch=0, num_batches=1, images_per_batch=3, shares=np.ones(9, np.float32)
    )
    assert sorted(rows.ravel()) == [*range(9)]


@pytest.fixture(scope="module")
def table(png):
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3), np.uint8)
    rows = [
        {"name": f"i{number}", "image": png(image), "labels": [number % 3]}
        for number, image in enumerate(noise)
    ]
    return pa.Table.from_pylist(rows)


CLASSES = ("cat", "dog", "boat")
AUGMENT = Augment(resize_long=(30, 50), crop=24)


def _images(table, targets, augment, **options):
    return TrainingImages(WholeSet(table, CLASSES), targets, augment, **options)


def _loader(table, num_workers=0, seed=0, rank=0, world_size=1):
    return BatchLoader(
        TrainingImages(
            WholeSet(table, CLASSES), LabelTargets(3), AUGMENT, seed=seed, max_pixels=10_000
        ),
        seed=seed,
        num_batches=2,
        images_per_batch=1,
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
    )


def _batches(table, epoch=0, **options):
    return [batch for step in _loader(table, **options).steps(epoch) for batch in step]


def test_a_batch_holds_the_rows_of_the_epochs_order(table):
    rows = epoch_rows(6, seed=0, epoch=1, num_batches=2, images_per_batch=1)
    steps = list(_loader(table).steps(1))
    assert [[batch.rows.item() for batch in step] for step in steps] == rows[..., 0].tolist()
    for step, whole in zip(steps, rows, strict=True):
        for batch in step:
            row = batch.rows.item()
            assert batch.names == [f"i{row}"]
            assert batch.images.shape == (1, 3, 24, 24)
            assert batch.targets.argmax() == row % 3
            assert batch.step_rows.tolist() == whole.ravel().tolist()
            assert batch.weight == 0.5


def test_two_workers_have_the_batches_that_one_has_alone(table):
    alone = list(_loader(table).steps(0))
    for rank in range(2):
        steps = list(_loader(table, rank=rank, world_size=2).steps(0))
        assert [len(step) for step in steps] == [1, 1, 1]
        assert [step[0].weight for step in steps] == [1.0, 1.0, 1.0]
        for step, both in zip(steps, alone, strict=True):
            assert step[0].names == both[rank].names
            torch.testing.assert_close(step[0].images, both[rank].images, rtol=0, atol=0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_goes_on_from_any_step(table, num_workers):
    whole = [step[0].names for step in _loader(table).steps(2)]
    rest = [step[0].names for step in _loader(table, num_workers).steps(2, first=2)]
    assert rest == whole[2:]
    assert list(_loader(table).steps(2, first=3)) == []


def _view(table, name, **options):
    return next(batch.images for batch in _batches(table, **options) if batch.names == [name])


def test_a_view_depends_on_seed_epoch_and_name_alone(table):
    shuffled = table.take([5, 4, 3, 2, 1, 0])
    one = _view(table, "i4")
    torch.testing.assert_close(_view(shuffled, "i4"), one, rtol=0, atol=0)
    assert not torch.equal(_view(table, "i4", epoch=1), one)
    assert not torch.equal(_view(table, "i4", seed=1), one)


def test_loading_ahead_in_processes_changes_nothing(table):
    here, there = _batches(table, epoch=3), _batches(table, epoch=3, num_workers=1)
    for one, other in zip(here, there, strict=True):
        assert one.names == other.names
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)


def test_labels_are_targets_whatever_the_view(table):
    images = TrainingImages(
        WholeSet(table, CLASSES), LabelTargets(3), AUGMENT, seed=0, max_pixels=10_000
    )
    assert images[4].target.tolist() == [0, 1, 0]
    images.epoch = 7
    assert images[4].target.tolist() == [0, 1, 0]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_label_map_is_seen_as_its_image_is(png, num_workers):
    """White squares on black are class 1: wherever a view is white, its label is 1."""
    rows = []
    for number in range(4):
        label_map = np.zeros((32, 40), np.uint8)
        label_map[8:24, 4 + 4 * number : 20 + 4 * number] = 1
        image = np.repeat(255 * label_map[..., None], 3, axis=2)
        rows.append({"name": f"{number}", "image": png(image), "label_map": png(label_map)})
    table = pa.Table.from_pylist(rows)
    augment = Augment(resize_long=None, crop=36)
    images = TrainingImages(
        WholeSet(table, CLASSES), LabelMapTargets(), augment, seed=0, max_pixels=10_000
    )
    sizes = {"num_batches": 1, "images_per_batch": 2, "rank": 0, "world_size": 1}
    loader = BatchLoader(images, seed=0, num_workers=num_workers, **sizes)
    seen = []
    for epoch in range(3):
        for (batch,) in loader.steps(epoch):
            assert batch.targets.shape == (2, 36, 36)
            assert batch.targets.dtype == torch.uint8
            outside = (batch.images == 0).all(dim=1)
            assert torch.equal(batch.targets == IGNORE, outside)
            assert torch.equal(batch.targets == 1, (batch.images > 1).all(dim=1))
            seen.extend(view.numpy().tobytes() for view in batch.targets)
    assert len(set(seen)) > 8


def test_label_maps_are_reduced_as_their_images_were(png):
    label_map = np.kron(np.eye(3, 5), np.ones((9, 9))).astype(np.uint8)
    targets = LabelMapTargets(max_side=15)
    view = ViewOptions(
        seed=0, epoch=0, name="a", resize_long=None, scale=None, crop=None, flip=False
    )
    assert np.array_equal(targets({"label_map": png(label_map)}, view), label_map[1::3, 1::3])


def test_cams_are_seen_as_their_image_is(png):
    """White squares on black have a CAM of 1: a cell has the share of it that is white."""
    rows = []
    for number in range(4):
        cam = np.zeros((1, 32, 40), np.float16)
        cam[:, 8:24, 4 + 4 * number : 20 + 4 * number] = 1
        image = np.repeat((255 * cam[0]).astype(np.uint8)[..., None], 3, axis=2)
        own = {"classes": [2], "cam": cam.tobytes(), "cam_height": 32, "cam_width": 40}
        rows.append({"name": f"{number}", "image": png(image), "height": 32, "width": 40, **own})
    table = pa.Table.from_pylist(rows)
    augment = Augment(resize_long=None, crop=36)
    images = TrainingImages(
        WholeSet(table, CLASSES), CamTargets(3), augment, seed=0, max_pixels=10_000
    )
    seen = set()
    for images.epoch in range(3):
        for view in map(images.__getitem__, range(4)):
            white = torch.from_numpy(view.pixels > 1).all(dim=0)[None].float()
            expected = torch.nn.functional.adaptive_avg_pool2d(white, 5)[0]
            torch.testing.assert_close(view.target[2], expected)
            assert (view.target[:2] == -1).all()
            seen.add(view.target.numpy().tobytes())
    assert len(seen) > 8


def test_cams_grow_and_shrink_with_their_image(png):
    """The left half of the image is class 0, whatever its size; beside the image is nothing."""
    cam = np.zeros((1, 16, 16), np.float16)
    cam[..., :8] = 1
    own = {"classes": [0], "cam": cam.tobytes(), "cam_height": 16, "cam_width": 16}
    row = {"name": "a", "image": png(np.zeros((64, 64, 3), np.uint8)), "height": 64, "width": 64}
    table = pa.Table.from_pylist([{**row, **own}])
    augment = Augment(resize_long=(32, 32), crop=48, flip=False)
    (target,) = TrainingImages(
        WholeSet(table, CLASSES), CamTargets(1), augment, seed=0, max_pixels=10_000
    )[0].target
    assert target.sum().item() * 64 == pytest.approx(16 * 32, rel=0.02)


def test_an_image_without_classes_has_no_map(png):
    own = {"classes": [], "cam": b"", "cam_height": 4, "cam_width": 4}
    row = {"name": "a", "image": png(np.zeros((16, 16, 3), np.uint8)), "height": 16, "width": 16}
    table = pa.Table.from_pylist([{**row, **own}])
    table = table.set_column(4, "classes", pa.array([[]], pa.list_(pa.int32())))
    images = TrainingImages(
        WholeSet(table, CLASSES), CamTargets(2), AUGMENT, seed=0, max_pixels=10_000
    )
    assert images[0].target.shape == (2, 3, 3)
    assert (images[0].target == -1).all()


def test_the_classes_of_target_cams_are_the_labels():
    targets = torch.full((2, 3, 2, 2), -1.0)
    targets[0, 1] = 0
    targets[1, 2] = 0.5
    assert named_by(targets).tolist() == [[0, 1, 0], [0, 0, 1]]
