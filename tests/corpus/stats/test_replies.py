import pyarrow as pa
import pytest

from qaclims_ray.corpus.stats.replies import ReplyCounts, count_replies, shares, warning
from qaclims_ray.types import SCHEMAS


def _batches(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMAS["corpus"]).to_batches(max_chunksize=2)


def test_replies_are_counted_by_what_is_wrong():
    about = {"label": 0, "kind": "fg", "question": "?"}
    said = [{**about, "answer": one, "lemma": one} for one in ("dog", "", "sea")]
    faults = [{**about, "fault": one, "text": ""} for one in ("cut", "empty", "refused", "cut")]
    rows = [
        {"name": "a", "answers": said},
        {"name": "b", "answers": said[:1], "unanswered": faults},
        {"name": "c", "answers": [], "unanswered": None},
    ]
    counts = count_replies(_batches(rows))
    assert counts == {"answers": 4, "unanswered": 4, "cut": 2, "empty": 2, "refused": 1}
    expected = "5 of 8 questions have no answer (25.0% cut, 25.0% empty, 12.5% refused)"
    assert shares(counts) == expected


@pytest.mark.parametrize(
    ("cut", "refused", "said"),
    [(0, 0, None), (20, 0, None), (21, 0, "max_new_tokens"), (5, 30, "corpus.engine.model")],
)
def test_more_than_a_fifth_without_answers_is_said_with_what_to_do(cut, refused, said):
    counts = ReplyCounts(
        answers=100 - cut - refused, unanswered=cut + refused, cut=cut, empty=0, refused=refused
    )
    line = warning(counts)
    assert line is None if said is None else said in line
