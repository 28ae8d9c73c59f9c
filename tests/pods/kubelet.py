"""Asks a container's probes as a kubelet does, by the periods and thresholds that are rendered."""

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.pods.sandbox import Pod, Running


@dataclass
class Kubelet:
    """`restarts` has each probe for which it would have killed the container."""

    pod: Pod
    running: Running
    started: bool = False
    ready: bool = False
    restarts: list[str] = field(default_factory=list)
    #: How often each probe was asked, and has failed since it passed.
    asked: Counter[str] = field(default_factory=Counter)
    _failures: Counter[str] = field(default_factory=Counter)
    _due: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Ask what is due. Liveness and readiness are none of its business before the start-up."""
        for kind in ("livenessProbe", "readinessProbe") if self.started else ("startupProbe",):
            if time.monotonic() >= self._due.get(kind, 0.0):
                self._due[kind] = time.monotonic() + self.pod.container.probes[kind].period
                self._ask(kind)

    def _ask(self, kind: str) -> None:
        assert self.running.process.poll() is None, self.running.stdout + self.running.stderr
        passed = 200 <= self.pod.probed(kind) < 400
        self.asked[kind] += 1
        self._failures[kind] = 0 if passed else self._failures[kind] + 1
        failed = self._failures[kind] >= self.pod.container.probes[kind].failures
        if kind == "readinessProbe":
            self.ready = passed or (self.ready and not failed)
        elif failed:
            self.restarts.append(kind)
        elif kind == "startupProbe":
            self.started = passed
