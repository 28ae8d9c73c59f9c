"""CPU time that the kernel has counted: of a service, and of PostgreSQL for the service's database."""

import time
from contextlib import suppress
from pathlib import Path

import psutil


def of_process(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


class Spent:
    """The CPU of a service with all its processes, and of PostgreSQL for its database.

    PostgreSQL's processes for the database count, and those that serve all (the writer of its log, the
    checkpointer and so on), because only one service is asked at a time. Those of other databases do not.
    What has ended counts with what it had when it was last looked at.
    """

    def __init__(self, service: int, postmaster: int, database: str) -> None:
        self._service, self._postmaster, self._database = service, postmaster, database
        self._seen: dict[str, dict[int, int]] = {"service": {}, "postgres": {}}

    def now(self) -> tuple[int, int]:
        service = [psutil.Process(self._service)]
        service += service[0].children(recursive=True)
        backends = [each for each in psutil.Process(self._postmaster).children() if self._counts(each.pid)]
        for name, processes in (("service", service), ("postgres", backends)):
            for each in processes:
                with suppress(FileNotFoundError, ProcessLookupError):
                    self._seen[name][each.pid] = of_process(each.pid)
        return sum(self._seen["service"].values()), sum(self._seen["postgres"].values())

    def _counts(self, pid: int) -> bool:
        """By the title: `postgres: USER DATABASE HOST(PORT) STATE`, or the name of a process for all."""
        with suppress(FileNotFoundError, ProcessLookupError):
            title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode().split()
            return "(" not in " ".join(title[3:4]) or title[2] == self._database
        return False


class Meter:
    """What a stretch of work costs, a request."""

    def __init__(self, spent: Spent) -> None:
        self._spent, self._before = spent, spent.now()
        self.began = time.perf_counter()

    def each(self, count: float) -> tuple[float, float]:
        """Microseconds of the service and of PostgreSQL."""
        service, postgres = self._spent.now()
        return (service - self._before[0]) / count / 1_000, (postgres - self._before[1]) / count / 1_000
