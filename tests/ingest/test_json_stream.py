import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.ingest import json_stream
from qaclims_ray.ingest.json_stream import json_members

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def expected(content):
    for key, value in content.items():
        yield from ((key, one) for one in value) if isinstance(value, list) else [(key, value)]


@settings(max_examples=60, deadline=None)
@given(
    content=st.dictionaries(st.text(), values, max_size=5),
    chunk=st.integers(1, 50),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_members_are_those_of_the_whole_file_whatever_is_read_at_once(
    content, chunk, indent, is_ascii, tmp_path_factory
):
    path = tmp_path_factory.getbasetemp() / "any.json"
    text = json.dumps(content, indent=indent, ensure_ascii=is_ascii)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        members = list(json_members(str(path)))
    assert [(key, value) for key, value, _, _ in members] == list(expected(content))
    whole = path.read_bytes()
    for _, value, offset, size in members:
        assert json.loads(whole[offset : offset + size]) == value


@pytest.mark.parametrize("text", ["", "[]", "3", '{"a"', '{"a": [1, 2', '{"a": [1, 2}', '{"a": x}'])
def test_a_broken_file_names_itself_and_the_place(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: broken JSON at byte \d+: "):
        list(json_members(str(path)))


def test_brackets_without_end_are_no_crash(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1, "b": ' + '{"c":' * 200_000)
    with pytest.raises(ValueError, match="too many brackets"):
        list(json_members(str(path)))


def test_a_value_without_end_is_not_searched_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_LONGEST", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 100)
    path = tmp_path / "a.json"
    path.write_text('{"a": "' + "x" * 100_000)
    with pytest.raises(ValueError, match="Unterminated string"):
        list(json_members(str(path)))
