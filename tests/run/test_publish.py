import random
import tempfile
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import work_schema
from qaclims_ray.run.contents import check_digests
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.publish import publish
from qaclims_ray.run.tables import ROW_GROUP, read_table
from qaclims_ray.storage.parquet import write_parquet
from tests.run.finished import failed_row, image_row, published_files, target_at, write_blocks


def _names(target: Artifact) -> list[str]:
    return read_table(target, ["name"])["name"].to_pylist()


class TestPublish:
    def test_rows_are_sorted_by_name_whatever_the_blocks(self, tmp_path):
        blocks = [[image_row("d"), image_row("a")], [image_row("c")], [], [image_row("b")]]
        target = write_blocks(target_at(tmp_path), blocks)
        assert publish(target, shard_megabytes=1.0, max_errors=0) == (4, 0)
        assert _names(target) == ["a", "b", "c", "d"]
        assert [Path(shard).name for shard in target.shards()] == ["part-00000.parquet"]

    def test_digests_are_of_what_was_written_not_of_what_lies_there_later(self, tmp_path):
        """So nobody reads all shards once more, and bytes that flip meanwhile are found."""
        target = write_blocks(target_at(tmp_path), [[image_row("a"), image_row("b", 500)]])
        rows, errors = publish(target, shard_megabytes=1.0, max_errors=0)
        (shard,) = map(Path, target.shards())
        written = shard.read_bytes()
        shard.write_bytes(written[:200] + bytes([written[200] ^ 1]) + written[201:])
        (file,) = target.complete(Built(rows, errors, {}), 0.0, {}).get("files", [])
        assert file["digest"] == sha256(written).hexdigest()
        with pytest.raises(ValueError, match=r"part-00000\.parquet has other bytes"):
            check_digests(target.uri, [file])

    def test_no_rows_are_one_empty_shard(self, tmp_path):
        target = write_blocks(target_at(tmp_path), [[]])
        assert publish(target, shard_megabytes=1.0, max_errors=0) == (0, 0)
        assert read_table(target).schema.names == work_schema("images").names[:-1]

    def test_shards_have_about_equal_bytes(self, tmp_path):
        sizes = random.Random(0).choices(range(500, 3000), k=200)
        rows = [image_row(f"{i:03d}", size) for i, size in enumerate(sizes)]
        target = write_blocks(target_at(tmp_path), [rows[:70], rows[70:]])
        publish(target, shard_megabytes=0.05, max_errors=0)
        shards = [pq.read_table(shard) for shard in _files_of(target)]
        assert len(shards) == -(-sum(sizes) // 50_000) == 8
        bytes_of = [sum(map(len, shard["image"].to_pylist())) for shard in shards]
        assert max(bytes_of) - min(bytes_of) < 2 * max(sizes)
        assert _names(target) == [row["name"] for row in rows]

    def test_a_row_larger_than_a_shard_has_one_of_its_own(self, tmp_path):
        rows = [image_row("a", 10), image_row("b", 5000), image_row("c", 10)]
        target = write_blocks(target_at(tmp_path), [rows])
        publish(target, shard_megabytes=0.001, max_errors=0)
        assert _names(target) == ["a", "b", "c"]

    def test_failed_rows_go_to_errors_with_their_reason(self, tmp_path):
        blocks = [[failed_row("c", "torn"), image_row("b")], [failed_row("a", "empty")]]
        target = write_blocks(target_at(tmp_path), blocks)
        assert publish(target, shard_megabytes=1.0, max_errors=2, expected=3) == (1, 2)
        assert _names(target) == ["b"]
        errors = pq.read_table(f"{target.uri}/_errors/part-00000.parquet")
        assert errors.to_pylist() == [
            {"name": "a", "reason": "empty"},
            {"name": "c", "reason": "torn"},
        ]

    def test_too_many_failed_rows_stop_it_with_the_first_reasons(self, tmp_path):
        rows = [failed_row(f"x{number}", f"reason {number}") for number in range(9)]
        target = write_blocks(target_at(tmp_path), [rows[::-1]])
        with pytest.raises(ValueError, match=r"9 rows failed, data\.max_errors is 8") as caught:
            publish(target, shard_megabytes=1.0, max_errors=8)
        lines = [line.strip() for line in str(caught.value).splitlines()]
        assert lines[1:6] == [f"x{number}: reason {number}" for number in range(5)]
        assert "data.max_errors" in lines[6]
        assert target.shards() == []

    def test_an_artifact_without_a_good_row_is_none(self, tmp_path):
        target = write_blocks(
            target_at(tmp_path), [[failed_row("a"), failed_row("b", "no engine")]]
        )
        with pytest.raises(ValueError, match="b: no engine"):
            publish(target, shard_megabytes=1.0, max_errors=8)

    @pytest.mark.parametrize("blocks", [[[image_row("a")]], [[image_row("a")], [image_row("a")]]])
    def test_a_missing_row_and_one_computed_twice_are_errors(self, tmp_path, blocks):
        target = write_blocks(target_at(tmp_path), blocks)
        with pytest.raises(ValueError, match=r"1 different ones, 2 are wanted.*--overwrite"):
            publish(target, shard_megabytes=1.0, max_errors=0, expected=2)

    @pytest.mark.parametrize("part_rows", [1, 2, 3])
    def test_ranges_count_missing_and_double_rows_too(self, tmp_path, part_rows):
        rows = [image_row(name) for name in "abcd"]
        target = write_blocks(target_at(tmp_path), [rows[:2], rows[1:]])
        with pytest.raises(ValueError, match=r"5 rows were computed, 4 different ones, 5 are"):
            publish(target, shard_megabytes=1.0, max_errors=0, expected=5, part_rows=part_rows)
        target = write_blocks(target_at(tmp_path / "fewer"), [rows[:2], rows[3:], []])
        with pytest.raises(ValueError, match=r"3 rows were computed, 3 different ones, 4 are"):
            publish(target, shard_megabytes=1.0, max_errors=0, expected=4, part_rows=part_rows)

    def test_ranges_gather_the_reasons_of_all(self, tmp_path):
        rows = [failed_row(f"x{number}", f"reason {number}") for number in range(9)]
        target = write_blocks(target_at(tmp_path), [rows[5:], rows[:5], [image_row("a")]])
        with pytest.raises(ValueError, match=r"9 rows failed, data\.max_errors is 8.*\n  x0: reas"):
            publish(target, shard_megabytes=1.0, max_errors=8, expected=10, part_rows=2)
        assert publish(target, shard_megabytes=1.0, max_errors=9, expected=10, part_rows=2) == (
            1,
            9,
        )

    @pytest.mark.parametrize("blocks", [[], [[]]])
    def test_no_rows_where_many_are_expected(self, tmp_path, blocks):
        target = write_blocks(target_at(tmp_path), blocks)
        with pytest.raises(ValueError, match=r"0 rows were computed"):
            publish(target, shard_megabytes=1.0, max_errors=0, expected=9, part_rows=2)

    def test_what_an_interrupted_one_left_is_gone(self, tmp_path):
        rows = [image_row(f"{i:03d}", 100) for i in range(50)] + [failed_row("x")]
        target = write_blocks(target_at(tmp_path), [rows])
        publish(target, shard_megabytes=0.001, max_errors=1)
        assert len(target.shards()) > 1
        (block,) = Path(target.work, "rows").iterdir()
        block.unlink()
        publish(write_blocks(target, [rows[:-1]]), shard_megabytes=1.0, max_errors=0)
        assert list(published_files(target)) == ["part-00000.parquet"]


_answers = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.integers(0, 3),
            "kind": st.sampled_from(["fg", "bg"]),
            "question": st.just("what is under the cat?"),
            "answer": st.text("ab ", max_size=9),
            "lemma": st.text("ab", max_size=3),
        }
    ),
    max_size=4,
)


@st.composite
def _two_layouts(draw):
    """The same rows, some failed, some without a mask, in two orders and cuts into blocks."""
    sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=20))
    rows = [image_row("good")]  # of failed rows alone nothing is published
    for number, size in enumerate(sizes):
        if draw(st.integers(0, 9)) == 0:
            rows.append(failed_row(f"{number:02d}", f"size {size}"))
        else:
            mask = draw(st.sampled_from([None, b"", b"mask"]))
            rows.append(image_row(f"{number:02d}", size, mask))
    return [_cut(draw, draw(st.permutations(rows))) for _ in range(2)]


def _cut(draw, rows):
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


def _published(name, blocks, megabytes, part_rows=1000) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        target = write_blocks(target_at(folder, name), blocks)
        wanted, rows = sum(map(len, blocks)), {"part_rows": part_rows}
        publish(target, shard_megabytes=megabytes, max_errors=100, expected=wanted, **rows)
        return published_files(target)


def _written_at_once(name, blocks, megabytes) -> dict[str, bytes]:
    """What is to be published, by a plain sort of all rows in memory."""
    rows = sorted((row for block in blocks for row in block), key=lambda row: row["name"])
    good = [{**row} for row in rows if row["error"] is None]
    failed = [{"name": row["name"], "reason": row["error"]} for row in rows if row["error"]]
    schema = work_schema(name).remove(len(work_schema(name)) - 1)
    ends = np.cumsum([_row_bytes(row, schema) for row in good])
    num_shards = max(1, int(np.ceil(ends[-1] / (megabytes * 1e6))))
    borders = np.searchsorted(ends, np.arange(1, num_shards) * ends[-1] / num_shards)
    with tempfile.TemporaryDirectory() as folder:
        target, table = target_at(folder, name), pa.Table.from_pylist(good, schema)
        cuts = [0, *(int(border) + 1 for border in borders), len(good)]
        for number, (start, stop) in enumerate(pairwise(cuts)):
            uri = f"{target.uri}/part-{number:05d}.parquet"
            write_parquet(table.slice(start, stop - start), uri, ROW_GROUP)
        if failed:
            errors = pa.Table.from_pylist(failed)
            write_parquet(errors, f"{target.uri}/_errors/part-00000.parquet", ROW_GROUP)
        return published_files(target)


def _num_bytes(value) -> int:
    """Bytes of a value as Arrow keeps it; numbers here are int32, and those that lack count too."""
    if isinstance(value, str | bytes):
        return len(value.encode() if isinstance(value, str) else value)
    return sum(map(_num_bytes, value)) if isinstance(value, list) else 4


def _row_bytes(row, schema) -> int:
    """Bytes of a row, and of the answers in it."""
    numbers = [f.name for f in schema if pa.types.is_integer(f.type) and row.get(f.name) is None]
    answers = [text for answer in row.get("answers", ()) for text in answer.values()]
    values = [one for name, one in row.items() if one is not None and name != "answers"]
    return _num_bytes([*(0 for _ in numbers), *values, *answers])


@settings(max_examples=40, deadline=None)
@given(_two_layouts(), st.integers(20, 200), st.integers(1, 12))
def test_the_published_bytes_are_those_of_a_plain_sort(layouts, shard_bytes, part_rows):
    megabytes = shard_bytes / 1e6
    here, in_ranges = layouts
    expected = _written_at_once("images", here, megabytes)
    assert _published("images", here, megabytes) == expected
    assert _published("images", in_ranges, megabytes, part_rows) == expected


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_nested_rows_are_published_to_the_same_bytes_too(data):
    answers = data.draw(st.lists(_answers, min_size=1, max_size=12))
    rows = [
        {"name": f"{number:02d}", "answers": row, "error": None}
        for number, row in enumerate(answers)
    ]
    layouts = [_cut(data.draw, data.draw(st.permutations(rows))) for _ in range(2)]
    megabytes = data.draw(st.integers(20, 300)) / 1e6
    one, other = (
        _published("corpus", blocks, megabytes, part)
        for blocks, part in zip(layouts, (1000, 3), strict=True)
    )
    assert one == other == _written_at_once("corpus", layouts[0], megabytes)


def _files_of(target: Artifact) -> list[Path]:
    return sorted(Path(target.uri).glob("part-*.parquet"))


def test_big_images_are_published_to_the_same_bytes_too(tmp_path):
    """Parquet cuts columns above 1 MB into pages, which must not follow the blocks."""
    noise = random.Random(0)
    rows = [
        {**image_row(f"{number:02d}"), "image": noise.randbytes(100_000)} for number in range(40)
    ]
    one = write_blocks(target_at(tmp_path / "one"), [rows])
    other = write_blocks(target_at(tmp_path / "other"), [rows[i::7] for i in range(7)])
    for target in (one, other):
        publish(target, shard_megabytes=3.0, max_errors=0)
    assert published_files(one) == published_files(other)
    assert len(published_files(one)) == 2
