"""Progress of work: a bar on the user's terminal, lines in a log."""

import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

_SHARE_SPENT_COUNTING = 0.1
_SECONDS_A_LINE = 60.0

_T = TypeVar("_T")


def progress_bar(label: str, total: int, *, unit: str = "image", initial: int = 0) -> "tqdm[Any]":
    """Return a bar that is gone when closed, or, where errors go to no terminal, `LogLines`.

    Args:
        label: Name of the work.
        total: Number of units in all.
        unit: What is counted, in the singular.
        initial: Units done before, which count for no rate.
    """
    kind = tqdm if sys.stderr.isatty() else LogLines
    return kind(
        total=total, initial=initial, desc=label, unit=unit, leave=False, dynamic_ncols=True
    )


def each(items: Collection[_T], label: str, *, unit: str = "image") -> Iterator[_T]:
    """Yield items one by one, showing how many are done."""
    with progress_bar(label, len(items), unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


class LogLines(tqdm):  # pyright: ignore[reportMissingTypeArgument]  # tqdm takes none
    """Progress for a log: a line at each tenth of the work and once a minute, no bar."""

    def __init__(self, **options: Any) -> None:
        """Take the options of tqdm."""
        self._last_tenth, self._last_time = 0, time.monotonic()
        super().__init__(**options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line if one is due; tqdm calls this as often as it would draw a bar."""
        tenth, now = int(10 * self.n // max(1, self.total)), time.monotonic()
        is_due = tenth > self._last_tenth or now - self._last_time >= _SECONDS_A_LINE
        if msg is None and self.n > self.initial and is_due:
            self._last_tenth, self._last_time = tenth, now
            self.fp.write(f"{self.line()}\n")
            self.fp.flush()

    def line(self) -> str:
        """Return what is done, the rate and the time that is left."""
        facts = self.format_dict
        rate = facts["rate"] or (self.n - self.initial) / max(facts["elapsed"], 1e-9)
        left = self.format_interval((self.total - self.n) / rate) if rate > 0 else "?"
        done = f"{self.n:,} of {self.total:,} {self.unit}s ({100 * self.n // self.total} %)"
        told = [f"{self.desc}: {done}", f"{rate:.3g} a second", f"{left} left"]
        return " · ".join([*told, facts["postfix"]] if facts["postfix"] else told)


@contextmanager
def watch(
    label: str,
    count: Callable[[], int],
    total: int,
    *,
    unit: str = "image",
    seconds: float = 1.0,
    detail: Callable[[float], str] | None = None,
) -> Generator[None]:
    """Show a bar with rate and remaining time while the body runs, asking `count` how far it is.

    Args:
        label: Name of the work.
        count: Number of units done; asked from another thread. What it says at first was done
            before and counts for no rate.
        total: Number of units in all.
        unit: What is counted.
        seconds: Least time between two questions; longer where answering takes long.
        detail: What more to show, given the seconds since the start.
    """
    first = count()
    start = time.monotonic()
    with progress_bar(label, total, unit=unit, initial=first) as bar:

        def follow(done: threading.Event) -> None:
            """Ask until the body has ended."""
            pause = seconds
            while not done.wait(pause):
                asked = time.monotonic()
                bar.update(count() - bar.n)
                if detail is not None:
                    bar.set_postfix_str(detail(asked - start))
                pause = max(seconds, (time.monotonic() - asked) / _SHARE_SPENT_COUNTING)

        with background(follow):
            yield


@contextmanager
def background(work: Callable[[threading.Event], None]) -> Generator[None]:
    """Call `work` in a thread while the body runs, whose end waits for it.

    Args:
        work: Returns soon after the event that it is given is set.
    """
    done = threading.Event()
    thread = threading.Thread(target=work, args=(done,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
