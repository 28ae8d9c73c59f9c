"""`tradepost profile`: a flame graph of running processes, without a restart."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from service.platform.server.profiling import place
from tests.helpers.waiting import wait_until
from tests.server.process import (
    PASSWORD,
    Service,
    environment,
    free_port,
    started,
    tradepost,
)

pytestmark = pytest.mark.slow

ADMIN = "ada@shop.example"
WORKERS = 2
#: A function and its file, or where a stack begins. No line has anything else.
FRAME = re.compile(r"event loop|thread [a-zA-Z ]+|[\w.<>]+ \(<?[\w./ -]+>?\)")


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("profile")
    with started(
        folder,
        DATABASE_URL=database,
        WEB_CONCURRENCY=WORKERS,
        ADMIN_EMAIL=ADMIN,
        ADMIN_PASSWORD=PASSWORD,
    ) as service:
        service.wait_until_up()
        wait_until(lambda: len(service.workers()) == WORKERS)
        yield service


@contextmanager
def busy(service: Service) -> Iterator[None]:
    """Squares are added all the time."""
    token = service.sign_in(ADMIN).json()["access_token"]
    ended = threading.Event()

    def ask() -> None:
        with service.client(token) as client:
            while not ended.is_set():
                assert client.get("/compute", params={"n": 300_000}).status_code == 200

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def profile(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    return tradepost(service.folder, "profile", *arguments, PORT=service.port)


@contextmanager
def being_profiled(
    service: Service, seconds: int, processes: int = WORKERS
) -> Iterator[subprocess.Popen[str]]:
    """By another command, which goes on meanwhile."""
    before = len(service.events("profile.started"))
    command = [sys.executable, "-m", "service", "profile", "--seconds", str(seconds), "--format", "folded"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(service.folder, PORT=service.port),
    ) as running:
        try:
            service.wait_for("profile.started", before + processes)
            yield running
        finally:
            running.kill()


class TestDocuments:
    def test_a_busy_handler_is_seen_in_the_folded_stacks(self, service: Service) -> None:
        with busy(service):
            done = profile(service, "--seconds", "2", "--format", "folded")
        assert done.returncode == 0, done.stderr
        stacks = {
            stack: int(spent)
            for stack, _, spent in (line.rpartition(" ") for line in done.stdout.splitlines())
        }
        squares = [
            spent for stack, spent in stacks.items() if "sum_of_squares (service/compute/service.py)" in stack
        ]
        assert all(stack.startswith("thread squares;") for stack in stacks if "sum_of_squares (" in stack)
        assert sum(squares) > sum(stacks.values()) / 4
        requests = [stack for stack in stacks if stack.startswith("event loop;")]
        assert any("(service/platform/" in stack for stack in requests)
        # How the process was started is in none.
        assert not any("gunicorn/arbiter.py" in stack for stack in requests)
        for worker in service.workers():
            assert f"process {worker}: profiled for 2 s" in done.stderr
        assert f"CPU time in 2 s of {WORKERS} processes (api): " in done.stderr

    def test_there_are_names_and_no_values(self, service: Service) -> None:
        with busy(service):
            done = profile(service, "--seconds", "1", "--format", "folded")
        frames = {frame for line in done.stdout.splitlines() for frame in line.rpartition(" ")[0].split(";")}
        assert [frame for frame in frames if not FRAME.fullmatch(frame)] == []
        assert [frame for frame in frames if str(Path(sys.prefix)) in frame] == []

    def test_a_picture_is_one_document(self, service: Service) -> None:
        with busy(service):
            done = profile(service, "--seconds", "1")
        root = ET.fromstring(done.stdout)  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        titles = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
        assert "all (100.0%)" in titles
        assert any(title.startswith("sum_of_squares (service/compute/service.py) (") for title in titles)
        assert "href" not in done.stdout
        assert "<script" not in done.stdout

    def test_speedscope_has_the_same(self, service: Service) -> None:
        with busy(service):
            done = profile(service, "--seconds", "1", "--format", "speedscope")
        document = json.loads(done.stdout)
        frames, [found] = document["shared"]["frames"], document["profiles"]
        assert (found["type"], found["unit"], found["startValue"]) == ("sampled", "microseconds", 0)
        assert found["endValue"] == sum(found["weights"]) > 0
        assert len(found["samples"]) == len(found["weights"])
        assert {number for sample in found["samples"] for number in sample} == set(range(len(frames)))
        assert {"name": "thread squares"} in frames

    def test_one_process_can_be_chosen(self, service: Service) -> None:
        worker = str(min(service.workers()))
        done = profile(service, "--seconds", "1", "--worker", worker)
        assert done.returncode == 0
        assert re.findall(r"process (\d+):", done.stderr) == [worker]
        assert "of 1 process (api)" in done.stderr


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--seconds", "0"), "--seconds is 1 to 300"),
            (("--seconds", "301"), "--seconds is 1 to 300"),
            (("--seconds", "1.5"), "--seconds is a number"),
            (("--format", "png"), "--format is svg, folded, speedscope"),
            ((), "No process with PORT {port} is there to be profiled."),
        ],
    )
    def test_the_message_says_what_to_do(self, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
        port = free_port()
        done = tradepost(tmp_path, "profile", *arguments, PORT=port)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"tradepost profile: {said.format(port=port)}" in done.stderr

    def test_another_process_is_not_profiled(self, service: Service) -> None:
        done = profile(service, "--worker", "1")
        assert (done.returncode, done.stdout) == (1, "")
        listed = ", ".join(map(str, sorted(service.workers())))
        assert f"There is no process 1 to be profiled; there are: {listed}" in done.stderr

    def test_there_is_one_at_a_time(self, service: Service) -> None:
        with being_profiled(service, 60) as first:
            done = profile(service)
            assert (done.returncode, done.stdout) == (1, "")
            assert "another profile is being taken; wait until it has ended" in done.stderr
            assert first.poll() is None
            ended = len(service.events("profile.ended"))
        # It was killed: the processes notice, and can be asked again.
        for event in service.wait_for("profile.ended", ended + WORKERS)[ended:]:
            assert event["client_left"] is True
        assert profile(service, "--seconds", "1").returncode == 0

    def test_a_signal_that_comes_late_ends_no_process(self, service: Service) -> None:
        workers = service.workers()
        assert profile(service, "--seconds", "1").returncode == 0
        for worker in workers:
            os.kill(worker, signal.SIGPROF)
        assert service.answers()
        assert service.workers() == workers


class TestSockets:
    def test_they_are_this_users_alone(self, service: Service) -> None:
        folder = place.folder(service.port)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        found = {int(path.stem): stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert found == dict.fromkeys(service.workers(), 0o600)

    def test_a_folder_of_another_is_not_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        place.folder(8000).mkdir(mode=0o755)
        with pytest.raises(PermissionError, match="not a folder of this user's alone"):
            place.bound(8000, 1)

    @pytest.mark.parametrize("made", ["open to others", "a link"])
    def test_the_command_asks_nothing_that_another_user_may_have_put_there(
        self, tmp_path: Path, made: str
    ) -> None:
        port, elsewhere = free_port(), tmp_path / "elsewhere"
        folder = place.folder(port)
        (folder if made == "open to others" else elsewhere).mkdir(mode=0o755)
        if made == "a link":
            elsewhere.chmod(0o700)
            folder.symlink_to(elsewhere)
        try:
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(folder / "1.sock"))
                other.listen()
                other.setblocking(False)
                done = tradepost(tmp_path, "profile", PORT=port)
                assert (done.returncode, done.stdout) == (1, "")
                assert f"{folder} is not a folder of this user's alone" in done.stderr
                with pytest.raises(BlockingIOError):
                    other.accept()
            place.remove(port, 1)
            assert (folder / "1.sock").exists()
        finally:
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)

    @pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGKILL])
    def test_they_come_and_go_with_their_processes(
        self, database: str, tmp_path: Path, ending: signal.Signals
    ) -> None:
        with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=WORKERS) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == WORKERS)
            before = service.workers()
            if ending is signal.SIGHUP:
                service.send(ending)
            else:
                for worker in before:
                    os.kill(worker, ending)
            wait_until(lambda: len(service.workers() - before) == WORKERS)
            wait_until(lambda: place.places(service.port).keys() == service.workers() - before)
            assert service.stop() == 0
            assert not place.folder(service.port).exists()

    def test_without_a_place_the_service_runs_without(self, database: str, tmp_path: Path) -> None:
        port = free_port()
        place.folder(port).write_text("in the way")
        try:
            with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=1, PORT=port) as service:
                service.wait_until_up()
                assert len(service.events("profile.not_served")) == 1
        finally:
            place.folder(port).unlink()


class TestEnd:
    def test_a_drain_ends_it_with_what_there_is(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=WORKERS) as service:
            service.wait_until_up()
            wait_until(lambda: len(service.workers()) == WORKERS)
            with being_profiled(service, 300) as running:
                for _ in range(200):
                    assert service.answers("/api/v1/items")
                assert service.stop() == 0
                stdout, stderr = running.communicate(timeout=30)
            assert running.returncode == 0, stderr
            [seconds] = re.findall(rf"CPU time in (\d+) s of {WORKERS} processes \(api\)", stderr)
            assert int(seconds) < 300
            assert "event loop;" in stdout
            assert [event["client_left"] for event in service.events("profile.ended")] == [False] * WORKERS

    def test_a_process_that_is_killed_is_named(self, database: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=database, WEB_CONCURRENCY=1) as service:
            service.wait_until_up()
            [worker] = service.workers()
            with being_profiled(service, 300, processes=1) as running:
                os.kill(worker, signal.SIGKILL)
                stdout, stderr = running.communicate(timeout=30)
            assert (running.returncode, stdout) == (1, "")
            assert f"process {worker}: ended without an answer" in stderr
            assert "No process has answered: all have ended." in stderr


def test_a_worker_of_jobs_can_be_profiled(database: str, tmp_path: Path) -> None:
    with started(tmp_path, module=("service", "worker"), DATABASE_URL=database) as worker:
        worker.wait_until_up()
        done = profile(worker, "--seconds", "1")
        assert done.returncode == 0, done.stderr
        assert "of 1 process (worker)" in done.stderr
        assert worker.stop() == 0
        assert not place.folder(worker.port).exists()
