"""The process that renders invoices, one for all processes of a pod that serve requests.

    process = RendererProcess()       # in Gunicorn's master, before it forks
    connection = process.submit()     # in a worker: on it goes a document, and back comes a file

It is started when there is something to render, and ends when there has been nothing for a while. A request
is one end of a new pair of sockets, sent over another pair, which forks of the process that has made this
object have too. So there is no name or file by which anything else could reach the renderer, and what waits
while it starts, or is replaced, waits in the kernel.

Only the process that has made this object starts it, for it has to outlive those that ask. They remind that
one by SIGCHLD, upon which Gunicorn's master looks after its children anyway.
"""

import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

import service

log = structlog.get_logger(__name__)

#: The environment variables that it gets: no secret, and no setting of the service.
INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "TZ")
MODULE: Final = "service.invoices.renderer"
#: Between two starts, or one that fails at once would take all the CPU that there is.
RESTART_SECONDS: Final = 1.0
STDERR: Final = 2


@cache
def renderer_digest() -> str:
    """Of all that draws invoices: another build may draw the same document differently."""
    digest = hashlib.sha256(zlib.ZLIB_RUNTIME_VERSION.encode())
    for package in ("reportlab", "uharfbuzz"):
        digest.update(f"{package} {version(package)} ".encode())
    here = Path(__file__).parent
    for file in sorted([*here.glob("*.py"), *here.glob("fonts/*")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


@dataclass
class RendererProcess:
    module: str = MODULE
    #: It kills itself over an invoice that takes longer: after the worker that has asked for it has given up.
    seconds: float = 21.0
    #: It is replaced after so many invoices, so that a leak of memory stays small.
    lifetime: int = 500
    #: With nothing to do for so long it ends, to free its memory. To start it takes a quarter of a second.
    idle_seconds: float = 20.0
    _owner: int = field(default_factory=os.getpid, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _next_start: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._asking, self._asked = socket.socketpair()
        self._asking.setblocking(False)
        self._asked.setblocking(False)
        self._close = weakref.finalize(self, _close, self._asking, self._asked)

    @property
    def is_own(self) -> bool:
        """Whether this process has made it, and has to start and to stop it."""
        return os.getpid() == self._owner

    @property
    def pid(self) -> int | None:
        """While it runs, in the process that has made it."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def submit(self) -> socket.socket:
        """A connection to it. Raises BlockingIOError where the kernel has no room for one more that waits."""
        ours, its = socket.socketpair()
        with its:
            try:
                socket.send_fds(self._asking, [b"?"], [its.fileno()])
            except OSError:
                ours.close()
                raise
        self.remind()
        return ours

    def remind(self) -> None:
        """Have it started if something waits."""
        if self.is_own:
            self.look_after()
            return
        with suppress(ProcessLookupError):
            os.kill(self._owner, signal.SIGCHLD)

    def look_after(self) -> None:
        """Start it if something waits for it and it does not run."""
        if self.pid is None and self._is_asked() and time.monotonic() >= self._next_start:
            self._next_start = time.monotonic() + RESTART_SECONDS
            try:
                self._process = self._started()
            except OSError as fault:
                log.error("invoices.renderer_not_started", reason=fault.strerror)  # noqa: TRY400 - says it all

    def stop(self) -> None:
        """For good: nothing can be submitted any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._close()

    def _is_asked(self) -> bool:
        waiting = select.poll()
        waiting.register(self._asked, select.POLLIN)
        return bool(waiting.poll(0))

    def _started(self) -> subprocess.Popen[bytes]:
        root = str(Path(service.__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
        limits = (self.seconds, self.lifetime, self.idle_seconds)
        command = [sys.executable, "-m", self.module, str(self._owner), *map(str, limits)]
        # What it prints is no line of the log.
        return subprocess.Popen(command, stdin=self._asked.fileno(), stdout=STDERR, env=environment)  # noqa: S603 - this very program


def _close(*pair: socket.socket) -> None:
    for each in pair:
        each.close()
