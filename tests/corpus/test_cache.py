import pyarrow as pa
import pytest

from qaclims_ray.corpus.answers import NoAnswer
from qaclims_ray.corpus.cache import SCHEMA, AnswerCache, open_cache, settings_of
from qaclims_ray.corpus.keep import gather_replies, key_ranges
from qaclims_ray.run.recipe import recipe
from qaclims_ray.storage.files import read_json, write_bytes
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import write_parquet

SERVER = {"kind": "server", "url": "http://a/v1", "model": "m"}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"url": "http://b/v1"}, True),
        ({"timeout": 3.0, "num_connections": 2, "key_variable": "KEY"}, True),
        ({"model": "n"}, False),
        ({"instruction": "Be brief."}, False),
        ({"max_new_tokens": 11}, False),
        ({"extra": {"seed": 1}}, False),
    ],
)
def test_settings_are_what_decides_an_answer(make_experiment, tmp_path, changed, same):
    one, other = (
        settings_of(make_experiment(tmp_path, {"corpus.engine": section}))
        for section in (SERVER, {**SERVER, **changed})
    )
    assert (one == other) is same


def test_engines_that_look_answers_up_have_none(make_experiment, tmp_path):
    for section in ({"kind": "table", "answers": {}}, {"kind": "replay", "corpus": "c"}):
        experiment = make_experiment(tmp_path, {"corpus.engine": section})
        assert settings_of(experiment) is None
        assert open_cache(experiment, "") is None


def test_no_artifact_depends_on_where_answers_are_kept(make_experiment, tmp_path):
    one, other = (make_experiment(tmp_path, {"corpus.cache": uri}) for uri in (None, "/shared"))
    assert recipe(one, "cams") == recipe(other, "cams")


def _cache(make_experiment, tmp_path):
    overrides = {"corpus.engine": SERVER, "corpus.cache": f"{tmp_path}/c"}
    found = open_cache(make_experiment(tmp_path, overrides), f"{tmp_path}/complaints")
    assert isinstance(found, AnswerCache)
    return found


def _row(key, question="q", answer=None, fault=None, text=None):
    return dict(zip(SCHEMA.names, (key, question, answer, fault, text), strict=True))


def _put(tmp_path, rows, first="00000000", last="ffffffff"):
    write_parquet(pa.Table.from_pylist(rows, SCHEMA), f"{tmp_path}/run/0.parquet", 2)
    gather_replies(f"{tmp_path}/run", first, last, f"{tmp_path}/c")


def test_replies_come_back_as_they_were(make_experiment, tmp_path):
    key = _cache(make_experiment, tmp_path).key(b"image")
    refused = _row(key, "r", fault="refused", text="i can't")
    _put(
        tmp_path, [_row(key, answer=""), refused, *(_row(f"{n:032x}", "s", "x") for n in range(9))]
    )
    cache = _cache(make_experiment, tmp_path)
    found = cache.look_up({key, cache.key(b"other")})
    assert found == {key: {"q": "", "r": NoAnswer("refused", "i can't")}}


def test_files_that_are_none_of_ours_cost_nothing_but_a_word(make_experiment, tmp_path):
    key = _cache(make_experiment, tmp_path).key(b"image")
    _put(tmp_path, [_row(key, answer="good")])
    hostile = [_row(key, "a", fault="root", text="x"), _row(key, None, "y"), _row(key, "b")]
    _put(tmp_path, hostile)
    other = pa.table({"key": [[1, 2]], "answer": [{"x": 1}]})
    write_parquet(other, f"{tmp_path}/c/00000000-ffffffff-00.parquet")
    write_bytes(f"{tmp_path}/c/00000000-ffffffff-01.parquet", b"PAR1 and no more")
    write_bytes(f"{tmp_path}/c/notes.parquet", b"never opened")
    assert _cache(make_experiment, tmp_path).look_up({key}) == {key: {"q": "good"}}
    said = sorted(read_json(uri) for uri in find(f"{tmp_path}/complaints/*.json"))
    assert len(said) == 2
    assert all("-0" in line and "is damaged, remove it: " in line for line in said)


def test_ranges_hold_each_key_once(make_experiment, tmp_path):
    ranges = key_ranges(7)
    assert (ranges[0][0], ranges[-1][1]) == ("0" * 8, "f" * 8)
    keys = [f"{number * (2**32 // 50):08x}{'f' * 24}" for number in range(50)]
    keys += [f"{border}{'f' * 24}" for _, border in ranges]
    write_parquet(
        pa.Table.from_pylist([_row(k, answer="x") for k in keys], SCHEMA),
        f"{tmp_path}/run/0.parquet",
    )
    for first, last in ranges:
        gather_replies(f"{tmp_path}/run", first, last, f"{tmp_path}/c")
    cache = _cache(make_experiment, tmp_path)
    assert len(cache.files) == 7
    assert cache.look_up(set(keys)).keys() == set(keys)
