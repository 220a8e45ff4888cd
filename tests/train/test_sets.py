"""Sets larger than the cache, read from real artifacts on disk and on an S3 server."""

import multiprocessing

import numpy as np
import pytest

from qaclims_ray.config.train import Augment
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.train.batches import BatchLoader, TrainingImages
from qaclims_ray.train.groups import survey
from qaclims_ray.train.rows import Rows, Source
from qaclims_ray.train.sets import BufferedSet, least_buffer, window_bytes
from qaclims_ray.train.targets import LabelMapTargets, LabelTargets
from tests.build import make_bucket, png, s3_server, write_artifact
from tests.train.disk import held_bytes

SHARDS, GROUPS, ROWS = 8, 12, 4
NUM_IMAGES = SHARDS * GROUPS * ROWS
CLASSES = ("cat", "dog", "boat")
AUGMENT = Augment(resize_long=None, crop=24)


def write_images(uri, with_maps=False):
    """Rows of a training: 384 images of 12 kB, of which some have no labels, or no label map."""
    images, rng = Artifact("images", f"{uri}/images", {}), np.random.default_rng(0)
    rows = [
        {
            "name": f"i{number:03d}",
            "image": png(rng.integers(0, 256, (64, 64, 3), np.uint8)),
            "height": 64,
            "width": 64,
            "labels": None if number % 50 == 7 else [number % 3],
        }
        for number in range(NUM_IMAGES)
    ]
    size = GROUPS * ROWS
    write_artifact(images, *(rows[i * size :][:size] for i in range(SHARDS)), row_group_size=ROWS)
    if not with_maps:
        return Rows(images)
    seeds = Artifact("seeds", f"{uri}/seeds", {})
    maps = [
        {
            "name": row["name"],
            "label_map": None if number % 50 == 9 else png(np.full((64, 64), number % 3, np.uint8)),
        }
        for number, row in enumerate(rows)
    ]
    write_artifact(seeds, maps[:100], maps[100:], row_group_size=7)
    return Rows(images, (Source(seeds, ("label_map",)),))


@pytest.fixture(scope="module", params=["disk", "s3"])
def rows(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    if request.param == "disk":
        yield write_images(folder)
        return
    with s3_server(folder) as environment, pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        yield write_images(make_bucket())


def _buffered(rows, folder, buffer_bytes=None, num_lanes=4):
    found = survey(rows)
    least = least_buffer(int(found.groups.sizes.max()), num_lanes)
    buffer_bytes = buffer_bytes or max(least, found.num_bytes // 10)
    return BufferedSet(rows, found.groups, CLASSES, buffer_bytes=buffer_bytes, folder=str(folder))


def _loader(data, *, num_loaders=0, rank=0, world_size=1, split=(2, 2), target=None):
    return BatchLoader(
        TrainingImages(data, target or LabelTargets(3), AUGMENT, seed=5, max_pixels=10_000),
        seed=5,
        num_batches=split[0],
        images_per_batch=split[1],
        rank=rank,
        world_size=world_size,
        num_workers=num_loaders,
    )


def _names(steps):
    return [[name for batch in step for name in batch.names] for step in steps]


def test_an_epoch_sees_each_labelled_image_once_with_a_tenth_of_them_on_disk(rows, tmp_path):
    data = _buffered(rows, tmp_path)
    assert len(data) == sum(number % 50 != 7 for number in range(NUM_IMAGES))
    seen, most = [], 0
    for number, step in enumerate(_loader(data, num_loaders=1).steps(0)):
        if number % 3 == 0:
            loaders = [process.pid for process in multiprocessing.active_children()]
            most = max(most, held_bytes(tmp_path, loaders))
        for batch in step:
            for name, target in zip(batch.names, batch.targets, strict=True):
                assert target.argmax() == int(name[1:]) % 3
            assert set(batch.rows.tolist()) <= set(batch.step_rows.tolist())
            seen += batch.names
    assert data.buffer_bytes / 2 < most <= data.buffer_bytes
    assert len(set(seen)) == len(seen) > len(data) - 4
    assert held_bytes(tmp_path) == 0


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The rows on disk, with label maps."""
    return write_images(tmp_path_factory.mktemp("here"), with_maps=True)


@pytest.mark.parametrize("num_batches", [4, 3])
def test_however_many_workers_there_are_they_take_the_same_steps(here, tmp_path, num_batches):
    data = _buffered(here, tmp_path, num_lanes=num_batches * 2)
    alone = [*_loader(data, split=(num_batches, 2)).steps(0)]
    for world_size in (2, 3):
        own = [
            _loader(data, rank=rank, world_size=world_size, split=(num_batches, 2))
            for rank in range(world_size)
        ]
        for whole, *parts in zip(alone, *(one.steps(0) for one in own), strict=True):
            counted = [batch for part in parts for batch in part if batch.weight > 0]
            assert sorted(_names([[batch] for batch in counted])) == sorted(
                _names([[batch] for batch in whole])
            )
            assert all(one.step_rows.equal(whole[0].step_rows) for one in counted)
        assert held_bytes(tmp_path) == 0


def test_smaller_batches_of_more_workers_make_the_same_steps(here, tmp_path):
    data = _buffered(here, tmp_path, num_lanes=8)
    one, four = (_names(_loader(data, split=split).steps(2)) for split in [(1, 8), (4, 2)])
    assert one == four


@pytest.mark.parametrize("num_loaders", [0, 2])
def test_an_epoch_goes_on_from_the_middle_of_it(here, tmp_path, num_loaders):
    data = _buffered(here, tmp_path)
    whole = [*_loader(data).steps(3)]
    first = len(whole) // 2 + 1
    rest = [*_loader(data, num_loaders=num_loaders).steps(3, first)]
    assert _names(rest) == _names(whole[first:])
    for one, other in zip(rest, whole[first:], strict=True):
        assert all((a.images == b.images).all() for a, b in zip(one, other, strict=True))


def test_the_order_depends_on_seed_epoch_and_buffer(here, tmp_path):
    data = _buffered(here, tmp_path)
    orders = {str(_names(_loader(data).steps(epoch))) for epoch in range(3)}
    larger = _buffered(here, tmp_path, 2 * data.buffer_bytes)
    assert len(orders | {str(_names(_loader(larger).steps(0)))}) == 4


def test_label_maps_come_with_their_images(here, tmp_path):
    data = _buffered(here, tmp_path)
    assert len(data) == sum(number % 50 not in (7, 9) for number in range(NUM_IMAGES))
    for step in _loader(data, target=LabelMapTargets()).steps(0):
        for batch in step:
            for name, label_map in zip(batch.names, batch.targets, strict=True):
                assert (label_map == int(name[1:]) % 3).all()


def test_rows_are_numbered_in_the_order_of_names(here, tmp_path):
    data = _buffered(here, tmp_path)
    names = [name for table in data.labels() for name in table["name"].to_pylist()]
    assert names == sorted(names)
    assert [row["name"] for row in data.rows(range(len(data)))] == names
    assert [row["name"] for row in data.rows([0, 5, 6, 300])] == [names[i] for i in (0, 5, 6, 300)]
    (step,) = [*_loader(data).steps(0)][:1]
    assert step[0].names == [names[row] for row in step[0].rows]


def test_the_least_buffer_holds_the_largest_row_group_in_each_window():
    assert window_bytes(least_buffer(1000, 6), 6) == 1000
