"""Work in a thread while a body runs."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Generator[None]:
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
