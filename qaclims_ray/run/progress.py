"""Progress of work that goes on in other processes, as a bar on the user's screen."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tqdm import tqdm

_SHARE_SPENT_COUNTING = 0.1


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
    with tqdm(
        total=total, initial=first, desc=label, unit=unit, leave=False, dynamic_ncols=True
    ) as bar:

        def follow(done: threading.Event) -> None:
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
