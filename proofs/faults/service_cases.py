"""Cases in which it is not the database that fails: upstreams, clocks, processes, their limits, names."""

from typing import Final

from proofs.cases import Case
from proofs.faults import clock, limits, names, processes, upstreams

CASES: Final = (
    Case(
        "upstreams",
        "Redis, the mail server, the weather and the collector: all gone, slow, answer rubbish, hang",
        upstreams.failing,
        ("redis-server", "redis-cli"),
    ),
    Case(
        "clock",
        "the processes' clock is stepped an hour forwards, and backwards; a pod's is an hour ahead",
        clock.stepped,
        clock.NEEDS,
        short=True,
    ),
    Case("workers", "an API worker is killed every second", processes.workers_killed),
    Case("master", "Gunicorn's master is killed twice", processes.master_killed),
    Case(
        "stalled",
        "an API worker is stopped for 5 s, then the job worker, which is then killed five times",
        processes.stalled,
    ),
    Case("memory", "the API's memory limit is hit", limits.memory, ("root", "memory-cgroup")),
    Case(
        "exhausted",
        "/tmp and the folder of metrics are full; then idle connections take the last descriptors",
        limits.exhausted,
        ("root",),
    ),
    Case("names", "the name server refuses, knows nothing, fails, is silent", names.failing, names.NEEDS),
)
