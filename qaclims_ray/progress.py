"""Progress of work that goes on in other processes, as a bar on the user's screen."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def watch(
    label: str, count: Callable[[], int], total: int, *, unit: str = "image", seconds: float = 1.0
) -> Generator[None]:
    """Show a bar with rate and remaining time while the body runs, asking `count` how far it is.

    Args:
        label: Name of the work.
        count: Number of units done; asked every `seconds`, from another thread.
        total: Number of units in all.
        unit: What is counted.
        seconds: Between two questions.
    """
    done = threading.Event()
    with tqdm(total=total, desc=label, unit=unit, leave=False, dynamic_ncols=True) as bar:

        def follow() -> None:
            while not done.wait(seconds):
                bar.update(count() - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
