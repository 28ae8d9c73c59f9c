"""A real Redis for tests."""

import os
import signal
import subprocess
from pathlib import Path

from tests.helpers.waiting import wait_until
from tests.server.process import free_port


class Redis:
    """A redis-server on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
        command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(["redis-server", *command], stdout=log, stderr=log)
        wait_until(lambda: b"PONG" in self.ask("PING"))

    def ask(self, command: str) -> bytes:
        try:
            return subprocess.run(
                ["redis-cli", "-p", str(self.port), command], capture_output=True, timeout=5, check=False
            ).stdout
        except subprocess.TimeoutExpired:
            return b""

    def send(self, signal_: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal_)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
