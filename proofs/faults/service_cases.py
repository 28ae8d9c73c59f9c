"""Cases in which it is not the database that fails: upstreams, clocks, processes, their limits, names."""

from typing import Final

from proofs.cases import Case
from proofs.faults import clock, limits, names, processes, upstreams

CASES: Final = (
    Case(
        "redis",
        "Redis is gone, hangs, is slow, answers rubbish",
        upstreams.redis,
        ("redis-server", "redis-cli"),
    ),
    Case("mail", "the mail server is gone, answers rubbish, hangs", upstreams.mail),
    Case("weather", "the weather is gone, hangs, is slow, answers rubbish", upstreams.weather),
    Case("collector", "the collector is gone, hangs, is slow, answers rubbish", upstreams.collector),
    Case(
        "clock",
        "the processes' clock is stepped an hour forwards, and backwards; a pod's is an hour ahead",
        clock.stepped,
        clock.NEEDS,
        short=True,
    ),
    Case("workers", "an API worker is killed every second", processes.workers_killed),
    Case("master", "Gunicorn's master is killed three times", processes.master_killed),
    Case("job-worker", "the job worker is killed five times", processes.job_worker_killed),
    Case("stalled", "an API worker is stopped for 5 s, then the job worker", processes.stopped),
    Case("memory", "the API's memory limit is hit", limits.memory, ("root", "memory-cgroup")),
    Case(
        "descriptors", "idle connections take an API worker's last descriptors", limits.descriptors, ("root",)
    ),
    Case("folders", "/tmp and the folder of metrics are full", limits.full_folders, ("root",)),
    Case("names", "the name server refuses, knows nothing, fails, is silent", names.failing, names.NEEDS),
)
