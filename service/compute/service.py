"""A CPU load, to rehearse autoscaling and alerts on a slow event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

MAX_CONCURRENCY: Final = 2


class Squares:
    """Adds squares in threads of its own, MAX_CONCURRENCY in each process. Further requests wait."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_CONCURRENCY, thread_name_prefix="squares")

    async def add(self, n: int) -> int:
        """The sum of the squares of 0 to n-1."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, sum_of_squares, n)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def sum_of_squares(n: int) -> int:
    return sum(i * i for i in range(n))
