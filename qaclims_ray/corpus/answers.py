"""Read the answer in what a chat model wrote, or say why there is none.

A model that thinks first, refuses, or is cut off writes text all the same. Taken for an answer it
would be the foreground or background of an image.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias
from unicodedata import category

Fault = Literal["cut", "empty", "refused"]
"""cut: the model was at its token limit, or still thinking; empty: it wrote nothing but maybe
thoughts; refused: it said that it can't or won't answer."""

_SHOWN = 200
"""Characters of a text that is no answer which are kept."""


class NoAnswer(NamedTuple):
    """What a model wrote to a question instead of an answer."""

    fault: Fault
    text: str
    """Its last words before it was cut, its refusal, or nothing."""


Reply: TypeAlias = str | NoAnswer

_THOUGHTS = "think|thinking|thought|thoughts|reasoning"
_OPEN = re.compile(rf"<(?:{_THOUGHTS})>|\[THINK\]|◁think▷", re.IGNORECASE)
_CLOSE = re.compile(rf"</(?:{_THOUGHTS})>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_MARKUP = (
    (re.compile(r"<\|[^|<>]*\|>|</?[a-z]\w*/?>", re.IGNORECASE), ""),  # <|im_end|>, <answer>
    (re.compile(r"\\boxed\{([^{}]*)\}|!?\[([^\[\]]*)\]\([^()]*\)"), r"\1\2"),  # [text](link)
    (re.compile(r"[*`]|~~|__"), ""),
    (re.compile(r"(?<!\w)_(.+?)_(?!\w)"), r"\1"),
)
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
_BEFORE = re.compile(
    rf"\s+|[{_QUOTES}]+|[#>]+\s*|[-+\u2022\u2013\u2014]\s+"
    r"|\(?\d{1,2}[.)]\s*(?=[^\W\d])"
    r"|(?:the |my |final )*answer(?: is)?\s*:",
    re.IGNORECASE,
)
_AFTER = re.compile(rf"[\s{_QUOTES}.]+$")
_REFUSAL = re.compile(
    r"(?:(?:oh|well|unfortunately|apologies|i apologi[sz]e)\b[,.!]? ?(?:but )?)?"
    r"(?:i'?m (?:so |very |really )?sorry|i am (?:so |very )?sorry|sorry[,.!]? (?:but|i)\b|sorry,"
    r"|i apologi[sz]e|my apologies|as an ai\b|(?:i(?:'m| am)|we(?:'re| are)) (?:not able|unable)"
    r"|i (?:can'?t|can ?not|could ?n[o']t|do(?:n't| not) know|won'?t|will not|must decline)\b"
    r"|unable to\b|cannot (?:answer|assist|determine|help|identify|see|tell)\b)"
)
_PLAIN = {"Cc": " ", "Cf": "", "Cs": ""}
"""What stands for characters of these categories of Unicode."""


def read_answer(text: str, *, is_cut: bool = False) -> Reply:
    """Cut a chat model's text down to an answer: a few words in lower case.

    The answer is the first line behind the thoughts that says something, without Markdown,
    numbering, quotes and full stop, and without characters that no table or terminal should get
    (controls, marks of direction, halves of surrogate pairs).

    Args:
        text: What the model wrote, its thoughts included.
        is_cut: Whether it reached its token limit before its end.
    """
    said = _CLOSE.split(text)[-1]
    lines = [line for line in said.split("\n") if not line.lstrip().startswith("```")]
    answer = next(filter(None, map(_plain, lines)), "")
    if is_cut or _OPEN.search(said):
        return NoAnswer("cut", _plain(text.replace("\n", " "))[-_SHOWN:])
    if not answer:
        return NoAnswer("empty", "")
    if _REFUSAL.match(answer.replace("\u2019", "'")):
        return NoAnswer("refused", answer[:_SHOWN])
    return answer


def _plain(line: str) -> str:
    line = "".join(_PLAIN.get(category(one), one) for one in line)
    for markup, instead in _MARKUP:
        line = markup.sub(instead, line)
    while begins := _BEFORE.match(line):
        line = line[begins.end() :]
    return _AFTER.sub("", line).lower()


def require_some(replies: Sequence[Reply]) -> Sequence[Reply]:
    """Return the replies to all questions about an image.

    Raises:
        ValueError: there are some, but no answer among them.
    """
    missing = [one for one in replies if isinstance(one, NoAnswer)]
    if not missing or len(missing) < len(replies):
        return replies
    faults = Counter(one.fault for one in missing)
    shown = next((one.text for one in missing if one.text), "")
    hint = "; raise corpus.engine.max_new_tokens, or switch the model's thinking off"
    raise ValueError(
        f"none of its {len(missing)} questions was answered: "
        f"{', '.join(f'{number} {fault}' for fault, number in faults.most_common())}"
        f"{f' ({shown!r})' if shown else ''}{hint if 'cut' in faults else ''}"
    )
