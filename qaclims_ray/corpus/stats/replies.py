"""Count the questions of a corpus that have no answer, by what is wrong."""

from collections import Counter
from collections.abc import Iterable
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

MOST = 0.2
"""Share of questions without an answer above which model or options are to be looked at."""


class ReplyCounts(TypedDict):
    """Numbers of replies to all questions about images that did not fail."""

    answers: int
    unanswered: int
    """Questions that are left out, as the model chats and wrote no answer."""
    cut: int
    empty: int
    """The empty answers of engines that do not chat among them, which count as answers too."""
    refused: int


def count_replies(batches: Iterable[pa.RecordBatch]) -> ReplyCounts:
    """Count the replies in rows of the artifact `corpus` (columns answers and unanswered)."""
    num_answers = num_empty = 0
    faults: Counter[str] = Counter()
    for batch in batches:
        answers = batch["answers"].flatten().field("answer")
        num_answers += len(answers)
        num_empty += pc.call_function("equal", [answers, ""]).true_count
        faults.update(batch["unanswered"].flatten().field("fault").to_pylist())
    return ReplyCounts(
        answers=num_answers,
        unanswered=faults.total(),
        cut=faults["cut"],
        empty=faults["empty"] + num_empty,
        refused=faults["refused"],
    )


def shares(counts: ReplyCounts) -> str | None:
    """Show the shares of all replies that are no answers; None where there is none."""
    num_asked = counts["answers"] + counts["unanswered"]
    missing = {"cut": counts["cut"], "empty": counts["empty"], "refused": counts["refused"]}
    if not any(missing.values()):
        return None
    shown = ", ".join(f"{100 * number / num_asked:.1f}% {one}" for one, number in missing.items())
    return f"{sum(missing.values()):,} of {num_asked:,} questions have no answer ({shown})"


def warning(counts: ReplyCounts) -> str | None:
    """Say that more than `MOST` of the questions have no answer, and what to do; None otherwise."""
    missing = counts["cut"] + counts["empty"] + counts["refused"]
    if missing <= MOST * (counts["answers"] + counts["unanswered"]):
        return None
    cut = "raise corpus.engine.max_new_tokens, or switch the model's thinking off"
    other = "try another corpus.engine.model, or other corpus.questions"
    mend = cut if 2 * counts["cut"] > missing else other
    return f"{shares(counts)}, so that little is left to learn from: {mend}"
