"""A pod of the API, run once by the code of a checkout: what `bench/pod.py` measures, as JSON.

PYTHONPATH=CHECKOUT CHECKOUT/.venv/bin/python bench/pod_once.py [memory]
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from service.dev import embedded
from service.platform.config import generate_key
from tests.pods import rendered, sandbox
from tests.pods.rendered import Container, Probe
from tests.pods.sandbox import Network, Pod, Running

CGROUPS = Path("/sys/fs/cgroup")
GROUP = f"tradepost-bench-{os.getpid()}"
WORKERS = 2
#: Processors' time that the pod may have.
QUOTAS = {"no limit": 0.0, "half a processor": 0.5}
START_WITHIN = 120.0
POLL_SECONDS = 0.02
#: After a start or after requests, until the memory is looked at.
QUIET_SECONDS = 8.0
LATER_SECONDS = 60.0
INVOICES = (20, 180)
LINES = 100
ADMIN, PASSWORD = "ada@shop.example", "bench-of-the-pod-1"
V1 = "/api/v1"
PROBES = {"up": "startupProbe", "ready": "readinessProbe"}
#: What the log says at the end of a step.
STEPS = ("Starting gunicorn", "Started server process", "Application startup complete")


class Group:
    """A cgroup of the pod's processes."""

    def __init__(self, quota: float) -> None:
        self.cpu, self.memory = (CGROUPS / name / GROUP for name in ("cpu", "memory"))
        for folder in (self.cpu, self.memory):
            folder.mkdir()
        if quota:
            period = int((self.cpu / "cpu.cfs_period_us").read_text())
            (self.cpu / "cpu.cfs_quota_us").write_text(str(int(quota * period)))

    def add(self, pid: int) -> None:
        for folder in (self.cpu, self.memory):
            (folder / "cgroup.procs").write_text(str(pid))

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.cpu / "cgroup.procs").read_text().split()]

    def cpu_seconds(self) -> float:
        """Of the processes that are there, and of children that have ended."""
        ticks = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def working_set(self) -> float:
        """MiB, as the kubelet reckons it."""
        used = int((self.memory / "memory.usage_in_bytes").read_text())
        stat = dict(line.split() for line in (self.memory / "memory.stat").read_text().splitlines())
        return (used - int(stat["total_inactive_file"])) / 2**20

    def remove(self) -> None:
        for folder in (self.cpu, self.memory):
            with suppress(OSError):
                folder.rmdir()


@dataclass(frozen=True)
class Start:
    up: float
    ready: float
    seen: float
    cpu: float
    steps: dict[str, float]


def proportional(pid: int) -> float:
    """MiB: a page that n processes share counts as an nth."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.partition("\nPss:")[2].split()[0]) / 1024
    return 0.0


@contextmanager
def place() -> Iterator[tuple[dict[str, Container], Network]]:
    """The rendered containers, and a network with a migrated database."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        server = stack.enter_context(embedded.start(folder / "data", durable=False))
        split = urlsplit(server.url)
        netloc = f"{split.netloc.rpartition('@')[0]}@{sandbox.DATABASE_HOST}:5432"
        url = urlunsplit(split._replace(netloc=netloc))
        administrator = {"adminEmail": ADMIN, "adminPassword": PASSWORD}
        values = {
            "secrets": {"secretKey": generate_key(), "databaseUrl": url, **administrator},
            "api": {"workers": WORKERS, "shutdown": {"drainSeconds": 1}},
            "config": {"RATE_LIMIT_DEFAULT": "1000000/minute", "RATE_LIMIT_SIGN_IN": "1000000/minute"},
        }
        containers = rendered.containers(values, folder)
        network = stack.enter_context(sandbox.network(server.url))
        with sandbox.pod(containers["migrate"], network) as job:
            running = job.run()
            if running.ended():
                sys.exit(running.stdout + running.stderr)
        yield containers, network


def seen(up: float, ready: float, probes: dict[str, Probe]) -> float:
    """When a kubelet knows: it asks at once, then every period; and, where the start-up probe has passed, for
    the readiness at once, then every period.
    """
    started = math.ceil(up / probes["startupProbe"].period) * probes["startupProbe"].period
    period = probes["readinessProbe"].period
    return started + max(0, math.ceil((ready - started) / period)) * period


def times(running: Running, clock: float) -> dict[str, float]:
    """When the log said that a step was at its end, for the first time."""
    found: dict[str, float] = {}
    while len(found) < len(STEPS):
        for line in running.lines():
            for step in STEPS:
                if line["event"].startswith(step):
                    found.setdefault(step, datetime.fromisoformat(line["ts"]).timestamp() - clock)
        time.sleep(POLL_SECONDS)
    return found


def started(pod: Pod, group: Group) -> tuple[Running, Start]:
    began, clock = time.monotonic(), time.time()
    running = pod.run()
    group.add(running.pid)
    found: dict[str, float] = {}
    while len(found) < len(PROBES):
        for name, kind in PROBES.items():
            if name not in found and pod.probed(kind) == 200:
                found[name] = time.monotonic() - began
        if running.process.poll() is not None or time.monotonic() - began > START_WITHIN:
            sys.exit(running.stdout + running.stderr)
        time.sleep(POLL_SECONDS)
    cpu = group.cpu_seconds()
    seconds = seen(found["up"], found["ready"], pod.container.probes)
    return running, Start(found["up"], found["ready"], seconds, cpu, times(running, clock))


def invoices(pod: Pod, count: int, path: str, headers: dict[str, str]) -> None:
    """Over new connections: the kernel deals them out among the workers."""
    while count:
        with pod.client(8000) as client:
            status = client.get(path, headers=headers, timeout=60).status_code
        if status == 200:
            count -= 1
        elif status != 503:
            sys.exit(f"an invoice was answered with {status}")


def order(pod: Pod) -> tuple[str, dict[str, str]]:
    with pod.client(8000) as client:
        form = urlencode({"grant_type": "password", "username": ADMIN, "password": PASSWORD})
        media = {"Content-Type": "application/x-www-form-urlencoded"}
        token = client.post(f"{V1}/auth/token", content=form, headers=media).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        new = [{"name": f"Tea {n}", "price": f"{n}.10", "stock": 9} for n in range(1, LINES + 1)]
        items = client.post(f"{V1}/items/batch", json=new, headers=headers).json()
        body = {"lines": [{"product_id": item["id"], "quantity": 1} for item in items]}
        answer = client.post(f"{V1}/orders", json=body, headers={**headers, "Idempotency-Key": "bench"})
        return f"{V1}/orders/{answer.json()['id']}/invoice.pdf", headers


def memory(group: Group, master: int) -> dict[str, float]:
    each = {pid: proportional(pid) for pid in group.processes()}
    return {"all": sum(each.values()), "master": each[master], "working set": group.working_set()}


def memories(pod: Pod, group: Group, master: int) -> dict[str, dict[str, float]]:
    found = {}
    time.sleep(QUIET_SECONDS)
    found["idle"] = memory(group, master)
    path, headers = order(pod)
    time.sleep(QUIET_SECONDS)
    found["after an order"] = memory(group, master)
    done = 0
    for count in INVOICES:
        invoices(pod, count, path, headers)
        done += count
        found[f"after {done} invoices"] = memory(group, master)
    time.sleep(LATER_SECONDS)
    found["a minute later"] = memory(group, master)
    return found


def main(with_memory: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"starts": {}}
    with place() as (containers, network), sandbox.pod(containers["api"], network) as pod:
        for name, quota in QUOTAS.items():
            group = Group(quota)
            try:
                running, start = started(pod, group)
                found["starts"][name] = asdict(start)
                if with_memory and not quota:
                    found["memory"] = memories(pod, group, running.pid)
                pod.asked_to_stop(running)
                running.ended(60)
            finally:
                pod.end()
                group.remove()
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:] == ["memory"])))
