"""Check names that people type."""

import difflib
from collections.abc import Iterable

_NUM_NAMES = 5


def check_name(name: str, known: Iterable[str], what: str) -> None:
    """Check that there is something of a name.

    Args:
        name: As it was given.
        known: All names that there are.
        what: What they are names of, for the message.

    Raises:
        ValueError: there is not; names like it are listed, or the first ones.
    """
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, _NUM_NAMES)
        some = f"did you mean {', '.join(near)}?" if near else ", ".join(names[:_NUM_NAMES])
        more = " …" if not near and len(names) > _NUM_NAMES else ""
        raise ValueError(f"there is no {what} {name!r}: {some}{more}")
