"""Blocks of rows on all cores; results in the order of the blocks, so that sums do not depend on the timing."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def over_blocks(function: Callable[[int, int], Result], rows: int, block: int) -> Iterator[Result]:
    """Yield ``function(start, stop)`` for consecutive blocks of rows.

    Parameters
    ----------
    function
        Releases the interpreter lock while it works. At most twice as many results as cores wait to be taken.
    rows, block
        Number of rows, and of rows in a block.
    """
    starts = list(range(0, rows, block))
    workers = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(starts)
    )
    if workers <= 1:
        for start in starts:
            yield function(start, min(start + block, rows))
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        for start in starts:
            waiting.append(pool.submit(function, start, min(start + block, rows)))
            if len(waiting) >= 2 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
