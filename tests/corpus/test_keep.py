from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Barrier

import pyarrow as pa

from qaclims_ray.corpus.cache import AnswerCache, CachedFile, reply_row
from qaclims_ray.corpus.keep import keep
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import write_parquet
from qaclims_ray.types import NOTES

RUNS = 4


def _key(image):
    return f"{image * (2**32 // 64):08x}{image:024x}"


def _block(folder, number, images):
    rows = [
        {"key": _key(image), "asked": [reply_row("q", f"answer {image}")], "taken": 1}
        for image in images
    ]
    uri = f"{folder}/{number}.parquet"
    write_parquet(pa.Table.from_pylist(rows, schema=pa.schema(NOTES["corpus"])), uri)
    return uri


def _here(work, calls):
    return [work(*call) for call in calls]


def test_runs_that_keep_at_the_same_time_lose_nothing_and_wait_for_nobody(tmp_path):
    """Four runs, whose images overlap, write into one cache at once; a fifth looks up meanwhile."""
    cache, barrier = f"{tmp_path}/cache", Barrier(RUNS + 1)
    images = [range(8 * run, 8 * run + 16) for run in range(RUNS)]
    blocks = [
        [_block(tmp_path / f"run{run}", number, own[number::4]) for number in range(4)]
        for run, own in enumerate(images)
    ]

    def write(run):
        barrier.wait()
        return keep(blocks[run], 2**14, cache, f"{tmp_path}/run{run}/scratch", _here)

    def listed():
        names = [(uri, uri.rpartition("/")[2]) for uri in find(f"{cache}/*.parquet")]
        return [CachedFile(name[:8], name[9:17], uri) for uri, name in names]

    def look_up(keys):
        return AnswerCache("", listed(), f"{tmp_path}/complaints").look_up(keys)

    expected = {_key(image): {"q": f"answer {image}"} for own in images for image in own}
    keys = expected.keys()
    with ThreadPoolExecutor(RUNS) as pool:
        written = [pool.submit(write, run) for run in range(RUNS)]
        barrier.wait()
        for _ in as_completed(written):
            assert look_up(keys).items() <= expected.items()
    assert [one.result() for one in written] == [16] * RUNS
    assert look_up(keys) == expected
    assert not find(f"{tmp_path}/complaints/*")
