import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.run.artifact import COMPLETE, Artifact
from qaclims_ray.run.contents import list_contents
from qaclims_ray.run.tables import (
    NameIndex,
    frequent_reasons,
    look_up,
    publish,
    read_table,
    work_schema,
)
from qaclims_ray.storage.files import write_bytes, write_json
from tests.build import manifest


def _image(name: str, size: int = 10, mask: bytes | None = None) -> dict:
    return {
        "name": name,
        "image": bytes(size),
        "height": 2,
        "width": 3,
        "labels": [size % 3],
        "mask": mask,
        "error": None,
    }


def _failed(name: str, reason: str = "broken") -> dict:
    return {"name": name, "error": reason}


def _target(folder: object, name: str = "images") -> Artifact:
    return Artifact(name, f"{folder}/{name}", {})


def _write(target: Artifact, blocks: Sequence[Sequence[dict]]) -> Artifact:
    """Unfinished blocks, as a map leaves them."""
    for number, rows in enumerate(blocks):
        path = Path(target.work) / "rows" / f"{random.random()}-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema=work_schema(target.name)), path)
    return target


def _files(target: Artifact) -> dict[str, bytes]:
    folder = Path(target.uri)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
        if "_work" not in path.parts
    }


def _names(target: Artifact) -> list[str]:
    return read_table(target, ["name"])["name"].to_pylist()


class TestPublish:
    def test_rows_are_sorted_by_name_whatever_the_blocks(self, tmp_path):
        blocks = [[_image("d"), _image("a")], [_image("c")], [], [_image("b")]]
        target = _write(_target(tmp_path), blocks)
        assert publish(target, shard_megabytes=1.0, max_errors=0) == (4, 0)
        assert _names(target) == ["a", "b", "c", "d"]
        assert [Path(shard).name for shard in target.shards()] == ["part-00000.parquet"]

    def test_no_rows_are_one_empty_shard(self, tmp_path):
        target = _write(_target(tmp_path), [[]])
        assert publish(target, shard_megabytes=1.0, max_errors=0) == (0, 0)
        assert read_table(target).schema.names == work_schema("images").names[:-1]

    def test_shards_have_about_equal_bytes(self, tmp_path):
        sizes = random.Random(0).choices(range(500, 3000), k=200)
        rows = [_image(f"{i:03d}", size) for i, size in enumerate(sizes)]
        target = _write(_target(tmp_path), [rows[:70], rows[70:]])
        publish(target, shard_megabytes=0.05, max_errors=0)
        shards = [pq.read_table(shard) for shard in _files_of(target)]
        assert len(shards) == -(-sum(sizes) // 50_000) == 8
        bytes_of = [sum(map(len, shard["image"].to_pylist())) for shard in shards]
        assert max(bytes_of) - min(bytes_of) < 2 * max(sizes)
        assert _names(target) == [row["name"] for row in rows]

    def test_a_row_larger_than_a_shard_has_one_of_its_own(self, tmp_path):
        rows = [_image("a", 10), _image("b", 5000), _image("c", 10)]
        target = _write(_target(tmp_path), [rows])
        publish(target, shard_megabytes=0.001, max_errors=0)
        assert _names(target) == ["a", "b", "c"]

    def test_failed_rows_go_to_errors_with_their_reason(self, tmp_path):
        blocks = [[_failed("c", "torn"), _image("b")], [_failed("a", "empty")]]
        target = _write(_target(tmp_path), blocks)
        assert publish(target, shard_megabytes=1.0, max_errors=2, expected=3) == (1, 2)
        assert _names(target) == ["b"]
        errors = pq.read_table(f"{target.uri}/_errors/part-00000.parquet")
        assert errors.to_pylist() == [
            {"name": "a", "reason": "empty"},
            {"name": "c", "reason": "torn"},
        ]

    def test_too_many_failed_rows_stop_it_with_the_first_reasons(self, tmp_path):
        rows = [_failed(f"x{number}", f"reason {number}") for number in range(9)]
        target = _write(_target(tmp_path), [rows[::-1]])
        with pytest.raises(ValueError, match=r"9 rows failed, data\.max_errors is 8") as caught:
            publish(target, shard_megabytes=1.0, max_errors=8)
        lines = [line.strip() for line in str(caught.value).splitlines()]
        assert lines[1:6] == [f"x{number}: reason {number}" for number in range(5)]
        assert "data.max_errors" in lines[6]
        assert target.shards() == []

    def test_reasons_that_differ_in_their_row_only_are_counted_together(self):
        cut = "OSError: /x/{}.jpg: cut off"
        rows = [("a", cut.format("a")), ("b", "no mask"), ("c", cut.format("c"))]
        rows.append(("c__c", cut.format("c/c")))
        errors = pa.table({"key": [key for key, _ in rows], "error": [why for _, why in rows]})
        most = ["3 rows, as a: OSError: /x/a.jpg: cut off", "b: no mask"]
        assert frequent_reasons(errors) == most

    def test_an_artifact_without_a_good_row_is_none(self, tmp_path):
        target = _write(_target(tmp_path), [[_failed("a"), _failed("b", "no engine")]])
        with pytest.raises(ValueError, match="b: no engine"):
            publish(target, shard_megabytes=1.0, max_errors=8)

    @pytest.mark.parametrize("blocks", [[[_image("a")]], [[_image("a")], [_image("a")]]])
    def test_a_missing_row_and_one_computed_twice_are_errors(self, tmp_path, blocks):
        target = _write(_target(tmp_path), blocks)
        with pytest.raises(ValueError, match=r"1 different ones, 2 are wanted.*--overwrite"):
            publish(target, shard_megabytes=1.0, max_errors=0, expected=2)

    def test_what_an_interrupted_one_left_is_gone(self, tmp_path):
        rows = [_image(f"{i:03d}", 100) for i in range(50)] + [_failed("x")]
        target = _write(_target(tmp_path), [rows])
        publish(target, shard_megabytes=0.001, max_errors=1)
        assert len(target.shards()) > 1
        (block,) = Path(target.work, "rows").iterdir()
        block.unlink()
        publish(_write(target, [rows[:-1]]), shard_megabytes=1.0, max_errors=0)
        assert list(_files(target)) == ["part-00000.parquet"]


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
    rows = [_image("good")]  # of failed rows alone nothing is published
    for number, size in enumerate(sizes):
        if draw(st.integers(0, 9)) == 0:
            rows.append(_failed(f"{number:02d}", f"size {size}"))
        else:
            mask = draw(st.sampled_from([None, b"", b"mask"]))
            rows.append(_image(f"{number:02d}", size, mask))
    return [_cut(draw, draw(st.permutations(rows))) for _ in range(2)]


def _cut(draw, rows):
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


def _published(name, blocks, megabytes) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        target = _write(_target(folder, name), blocks)
        publish(target, shard_megabytes=megabytes, max_errors=100)
        return _files(target)


@settings(max_examples=60, deadline=None)
@given(_two_layouts(), st.integers(20, 200))
def test_the_published_bytes_do_not_depend_on_the_blocks(layouts, shard_bytes):
    one, other = (_published("images", blocks, shard_bytes / 1e6) for blocks in layouts)
    assert one == other


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_nested_rows_are_published_to_the_same_bytes_too(data):
    answers = data.draw(st.lists(_answers, min_size=1, max_size=12))
    rows = [
        {"name": f"{number:02d}", "answers": row, "error": None}
        for number, row in enumerate(answers)
    ]
    layouts = [_cut(data.draw, data.draw(st.permutations(rows))) for _ in range(2)]
    megabytes = data.draw(st.integers(20, 300)) / 1e6
    one, other = (_published("corpus", blocks, megabytes) for blocks in layouts)
    assert one == other


def _files_of(target: Artifact) -> list[Path]:
    return sorted(Path(target.uri).glob("part-*.parquet"))


def test_big_images_are_published_to_the_same_bytes_too(tmp_path):
    """Parquet cuts columns above 1 MB into pages, which must not follow the blocks."""
    noise = random.Random(0)
    rows = [{**_image(f"{number:02d}"), "image": noise.randbytes(100_000)} for number in range(40)]
    one = _write(_target(tmp_path / "one"), [rows])
    other = _write(_target(tmp_path / "other"), [rows[i::7] for i in range(7)])
    for target in (one, other):
        publish(target, shard_megabytes=3.0, max_errors=0)
    assert _files(one) == _files(other)
    assert len(_files(one)) == 2


class TestReading:
    @pytest.fixture
    def target(self, tmp_path):
        target = _write(_target(tmp_path), [[_image(f"{i:03d}", 100 + i) for i in range(150)]])
        publish(target, shard_megabytes=0.01, max_errors=0)
        assert len(target.shards()) > 1
        return target

    def test_all_rows_in_order_and_only_the_columns_wanted(self, target):
        table = read_table(target, ["name", "labels"])
        assert table.schema.names == ["name", "labels"]
        assert table["name"].to_pylist() == [f"{i:03d}" for i in range(150)]
        assert read_table(target).num_columns == 6

    def test_rows_are_looked_up_by_name_in_order(self, target):
        table = look_up(target, ["149", "003", "absent", "070"], ["name", "image"])
        assert table["name"].to_pylist() == ["003", "070", "149"]
        assert [len(image) for image in table["image"].to_pylist()] == [103, 170, 249]
        assert look_up(target, [], ["name"]).num_rows == 0

    def test_a_look_up_opens_no_shard_that_cannot_hold_a_name(self, target):
        files = list_contents(target.uri)
        write_json(f"{target.uri}/{COMPLETE}", manifest(target.name, files=files))
        index, last = NameIndex(target), target.shards()[-1]
        size = Path(last).stat().st_size
        Path(last).write_bytes(bytes(size))
        found = index.look_up({"000", "absent", "002"}, ["name"])
        assert found["name"].to_pylist() == ["000", "002"]
        assert index.look_up(["zebra", ""], ["name", "labels"]).schema.names == ["name", "labels"]
        with pytest.raises(ValueError, match="magic bytes"):
            index.look_up(["149"], ["name"])

    def test_files_beside_the_shards_are_not_read(self, target):
        write_bytes(f"{target.uri}/_errors/part-00000.parquet", b"no rows of this artifact")
        assert read_table(target, ["name"]).num_rows == 150
