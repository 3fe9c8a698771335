"""The report of a run that is going on, written anew every few seconds by a thread beside it."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Live"]

SHARE = 0.1
"""Most of a processor's time that pages may take."""


class Live:
    """Calls a function again and again while a block runs, and never lets its failures disturb the block.

    Parameters
    ----------
    write
        What to call.
    every
        Seconds between two calls, at least; longer if calls take long.
    """

    def __init__(self, write: Callable[[], None], every: float = 5.0) -> None:
        self._write, self._every = write, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="live report", daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        # A thread of Python cannot be stopped; one that hangs is left behind, as it is a daemon.
        self._thread.join(timeout=60)

    def _repeat(self) -> None:
        pause = self._every
        while not self._over.wait(pause):
            began = time.thread_time()
            try:
                self._write()
                self.failure = None
            except Exception as error:
                # Draws that are being written while they are read, most likely: the next call finds them whole.
                self.failure = error
            pause = max(self._every, (time.thread_time() - began) / SHARE)
