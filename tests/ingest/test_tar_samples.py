import random

import pytest

from qaclims_ray.ingest import tar_samples
from qaclims_ray.ingest.tar_samples import TarSamples
from qaclims_ray.storage import sorting
from qaclims_ray.storage.sorting import RowSorter
from tests.build import tar

SUFFIXES = ("cls", "json")


@pytest.fixture
def tars(tmp_path):
    """Two tars whose members of one key lie apart, some without image, twice, or of no use."""
    paths = []
    for number in range(2):
        suffixes = ("jpg", "cls", "mask.png", "txt", "json", "JPG")
        members = [
            (f"{key:03d}.{suffix}", b'["cat"]' if suffix == "json" else b"cat")
            for key in range(60)
            for place, suffix in enumerate(suffixes)
            if (key * (place + 2)) % 7 > 2
        ]
        random.Random(number).shuffle(members)
        paths.append(tar(tmp_path / f"{number}.tar", members))
    return paths


def test_samples_come_in_the_order_of_their_tar_wherever_their_members_lie(tars, monkeypatch):
    wanted = TarSamples(tars, SUFFIXES)
    monkeypatch.setattr(sorting, "_ROWS", 8)
    monkeypatch.setattr(tar_samples, "RowSorter", lambda *both: RowSorter(*both, 100))
    found = TarSamples(tars, SUFFIXES)
    samples = list(found)
    assert samples == list(found) == list(wanted)
    assert len(samples) > 50
    assert found.errors == wanted.errors
    assert len({name for name, _ in found.errors}) == len(found.errors) > 20
    assert (found.labels, found.numbers_of_labels) == ({"cat"}, {1})
    assert found.num_unlabelled == sum(one.labels is None for one in samples) > 0
