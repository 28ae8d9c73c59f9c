"""What a process waits for before it is ready for the first time, and what it says of it meanwhile.

It is alive, and is not restarted for what it waits for: the schema of this build, or a database that it can
use. Once it has been ready, a database that is away is not waited for (`probes.py`).
"""

import asyncio
import contextlib
import fcntl
import json
import os
import tempfile
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

from service.platform.database import schema
from service.platform.database.connections import cause_of
from service.platform.telemetry import repeats

log = structlog.get_logger(__name__)

#: How often the schema is asked for, and whether the listener is there.
POLL_SECONDS: Final = 1.0
LISTENER_POLL_SECONDS: Final = 0.1
#: How long the start of a process waits for the first check: with its schema there, it serves as ready.
START_SECONDS: Final = 1.0
#: The listener makes its connection anew within this time of the migration. Longer is worth a line.
LISTEN_SECONDS: Final = 5.0

#: Of the record. There are a few causes.
MOST_BYTES: Final = 1 << 20

HeldUp = Literal["service.held_up", "worker.held_up"]


class StartupRecord:
    """What the processes of one service know together: whether one of them has been ready, and which causes
    were logged, so that several workers write one line. It is made before they are forked.

    `ready` is called once, by the first of them that is ready.
    """

    def __init__(self, ready: Callable[[], None] | None = None) -> None:
        self._ready = ready
        self._file, path = tempfile.mkstemp(prefix="tradepost-")
        os.unlink(path)  # noqa: PTH108 - the processes have it open
        # It takes its room now. On a disk that is full later, a write that fails would end the start-up.
        os.pwrite(self._file, b"0", 0)
        weakref.finalize(self, os.close, self._file)

    @property
    def completed(self) -> bool:
        return os.pread(self._file, 1, 0) == b"1"

    def complete(self) -> bool:
        """Note that the service has been ready. False where that was known."""
        with self._locked():
            if self.completed:
                return False
            try:
                if self._ready is not None:
                    self._ready()
            finally:
                os.pwrite(self._file, b"1", 0)
        return True

    def is_due(self, cause: str) -> bool:
        """Whether to log the cause now: it was not logged yet, or some minutes ago."""
        now = time.monotonic()
        with self._locked():
            logged: dict[str, float] = json.loads(os.pread(self._file, MOST_BYTES, 1) or "{}")
            due = repeats.is_due(logged, cause, now)
            if due:
                written = os.pwrite(self._file, json.dumps(logged | {cause: now}).encode(), 1)
                os.ftruncate(self._file, 1 + written)
        return due

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A lock of the process, which ends with it.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


@dataclass(frozen=True)
class Listener:
    """What receives changes: whether it does, and if not, why, where that is known. `setting` has its
    address.
    """

    setting: str
    listens: Callable[[], bool]
    cause: Callable[[], str] = str


class Startup:
    """`setting` has the address over which `revision` asks for the schema's revision."""

    def __init__(
        self,
        held_up: HeldUp,
        revision: Callable[[], Awaitable[str | None]],
        setting: str,
        listener: Listener,
        record: StartupRecord,
    ) -> None:
        self._held_up, self._ask, self._setting = held_up, revision, setting
        self._listener, self._record = listener, record
        self._began = time.monotonic()
        self._schema_since: float | None = None
        self._checked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: As they were found last.
        self.revision: str | None = None
        self.cause = "the database has not answered yet"

    @property
    def completed(self) -> bool:
        return self._record.completed

    @property
    def has_schema(self) -> bool:
        """Whether the schema has once been that of this build or a newer one."""
        return self._schema_since is not None

    @property
    def listens(self) -> bool:
        return self._listener.listens()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="start-up")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._checked.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                self.cause = await self._check()
            except Exception as fault:  # noqa: BLE001 - without this task it would never be ready
                self.revision, self.cause = None, f"{self._setting}: {cause_of(fault)}"
            if self.has_schema and (not self.cause or self.completed):
                break
            self._checked.set()
            if not self.completed and not self._is_about_to_listen():
                self._log()
            await asyncio.sleep(LISTENER_POLL_SECONDS if self.has_schema else POLL_SECONDS)
        if self._record.complete():
            log.info("startup.completed", **self._found())
        self._checked.set()

    async def _check(self) -> str:
        """What keeps it from being ready, or ""."""
        if not self.has_schema:
            self.revision = await self._ask()
        if not schema.is_usable(self.revision):
            needed, _ = schema.required_revision()
            found = f"schema is at {self.revision}" if self.revision else "database has no schema yet"
            advice = "wait for the migration, or run tradepost migrate"
            return f"the {found}, and this build needs {needed}: {advice}"
        self._schema_since = self._schema_since or time.monotonic()
        if self.listens:
            return ""
        return f"{self._listener.setting}: {self._listener.cause() or 'the listener has no connection yet'}"

    def _is_about_to_listen(self) -> bool:
        return self._schema_since is not None and time.monotonic() - self._schema_since < LISTEN_SECONDS

    def _log(self) -> None:
        event = self._held_up
        if self._record.is_due(self.cause):
            log.warning(event, cause=self.cause, **self._found())

    def _found(self) -> dict[str, Any]:
        needed, _ = schema.required_revision()
        seconds = round(time.monotonic() - self._began, 1)
        return {"schema_revision": self.revision, "required_revision": needed, "seconds": seconds}
