"""Pods that wait: for a schema that comes late, and for what only an operator can put right."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.helpers.not_ready import NO_SCHEMA, NOW
from tests.helpers.waiting import wait_until
from tests.pods.conftest import inside
from tests.pods.kubelet import Kubelet
from tests.pods.rendered import Container
from tests.pods.sandbox import HTTP_PORT, Network, Pod, Running, complaints, network, pod
from tests.server.process import statement

#: Longer than a start may take; and thrice as long.
LATE_SECONDS = [pytest.param(70, marks=pytest.mark.slow), pytest.param(180, marks=pytest.mark.proof)]
#: Long enough for several looks at the database.
FEW_SECONDS = 5
HELD_UP = {"api": "service.held_up", "worker": "worker.held_up"}
SECRETS = Path("/etc/tradepost/secrets")
NO_TLS = 'no pg_hba.conf entry for host "192.0.2.1", user "tradepost", database "shop", no encryption'


def look_for(seconds: float, *kubelets: Kubelet) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for kubelet in kubelets:
            kubelet.look()
        time.sleep(0.1)


def readiness(waiting: Pod) -> tuple[int, dict[str, Any]]:
    with waiting.client(HTTP_PORT) as client:
        answer = client.get("/readyz")
        return answer.status_code, answer.json()


class TestSchema:
    @pytest.mark.parametrize("seconds", LATE_SECONDS)
    def test_pods_outlive_a_schema_that_comes_late(
        self, rendered: dict[str, Container], database: str, seconds: float
    ) -> None:
        """As with migrations.mode `none`, or a Job that takes minutes; then an exec in a pod migrates."""
        with ExitStack() as stack:
            pods = [
                stack.enter_context(pod(rendered[name], stack.enter_context(network(database))))
                for name in HELD_UP
            ]
            kubelets = [Kubelet(each, each.run()) for each in pods]
            look_for(seconds, *kubelets)
            for each, kubelet, event in zip(pods, kubelets, HELD_UP.values(), strict=True):
                assert (kubelet.started, kubelet.ready, kubelet.restarts) == (True, False, [])
                assert kubelet.asked["livenessProbe"] > 2
                status, body = readiness(each)
                assert (status, body["schema_revision"], body["required_revision"]) == (503, None, NOW)
                assert body["cause"] == NO_SCHEMA
                [line] = complaints(kubelet.running)
                assert isinstance(line, dict)
                assert (line["event"], line["cause"]) == (event, NO_SCHEMA)
            migration = pods[0].run("tradepost", "migrate")
            assert migration.ended() == 0, migration.stdout + migration.stderr
            assert complaints(migration) == []

            def all_ready() -> bool:
                look_for(0.1, *kubelets)
                return all(kubelet.ready for kubelet in kubelets)

            wait_until(all_ready)
            for each, kubelet in zip(pods, kubelets, strict=True):
                assert kubelet.restarts == []
                assert len(kubelet.running.events("startup.completed")) == 1
                each.asked_to_stop(kubelet.running)
                assert kubelet.running.ended(each.container.grace_seconds) == 0
                assert len(complaints(kubelet.running)) == 1
        # Empty again, as the other case finds it.
        statement(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """A server that admits no connection without TLS, as PostgreSQL says it; its URL."""
    fields = b"".join(
        code + text.encode() + b"\0" for code, text in ((b"S", "FATAL"), (b"C", "28000"), (b"M", NO_TLS))
    )
    error = b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(1024):
                        connection.sendall(error)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"postgresql://tradepost:s3cret-word@127.0.0.1:{listener.getsockname()[1]}/shop"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def apart(database: str) -> Iterator[Network]:
    with network(database) as made:
        yield made


@pytest.fixture(scope="module")
def apart_from_tls(refusing: str) -> Iterator[Network]:
    with network(refusing) as made:
        yield made


def addresses(database: str) -> dict[str, tuple[str, str]]:
    """From within a pod: what does not work, and its cause."""
    user = urlsplit(database).username
    host = f"{urlsplit(database).netloc.rpartition('@')[0]}@nowhere.invalid:5432"
    return {
        "password": (
            inside(database, netloc=f"{user}:wrong-Pa55word@database.example:5432"),
            "the user or the password is wrong",
        ),
        "host": (inside(database, netloc=host), "the host's name cannot be resolved"),
        "no TLS": (
            inside(database, query="sslmode=require"),
            "the server has no TLS, which sslmode asks for",
        ),
        "TLS": (
            inside(database, query="sslmode=disable"),
            "the server does not admit this user or database without TLS (sslmode, pg_hba.conf)",
        ),
    }


def with_secret(container: Container, name: str, text: str) -> Container:
    assert SECRETS / name in container.secrets
    return replace(container, secrets=container.secrets | {SECRETS / name: text.encode()})


@pytest.mark.slow
class TestOperatorsMistakes:
    """Each is one line that says what to put right, and no secret."""

    @pytest.mark.parametrize("case", ["password", "host", "no TLS", "TLS"])
    @pytest.mark.parametrize("name", ["api", "worker", "migrate"])
    def test_a_database_that_cannot_be_used(
        self,
        rendered: dict[str, Container],
        database: str,
        *,
        apart: Network,
        apart_from_tls: Network,
        name: str,
        case: str,
    ) -> None:
        address, cause = addresses(database)[case]
        container = with_secret(rendered[name], "DATABASE_URL", address)
        with pod(container, apart_from_tls if case == "TLS" else apart) as broken:
            running = broken.run()
            if name == "migrate":
                self.assert_fails(running, f"DATABASE_URL: {cause}")
            else:
                self.assert_waits(broken, running, HELD_UP[name], f"DATABASE_URL: {cause}")
            said = running.stdout + running.stderr
        for secret in ("wrong-Pa55word", str(urlsplit(database).password)):
            assert secret not in said

    def assert_fails(self, running: Running, cause: str) -> None:
        assert running.ended() == 1
        [line, last] = complaints(running)
        assert isinstance(line, dict)
        assert (line["event"], line["level"], line["cause"]) == ("migration.failed", "critical", cause)
        assert last == f"tradepost migrate: {cause}"

    def assert_waits(self, waiting: Pod, running: Running, event: str, cause: str) -> None:
        kubelet = Kubelet(waiting, running)

        def says_why() -> bool:
            kubelet.look()
            return bool(running.events(event))

        wait_until(says_why)
        look_for(FEW_SECONDS, kubelet)
        assert (kubelet.started, kubelet.ready, kubelet.restarts) == (True, False, [])
        status, body = readiness(waiting)
        assert (status, body["database"], body["cause"]) == (503, "down", cause)
        waiting.asked_to_stop(running)
        assert running.ended(waiting.container.grace_seconds) == 0
        [line] = complaints(running)
        assert isinstance(line, dict)
        assert (line["event"], line["level"], line["cause"]) == (event, "warning", cause)

    @pytest.mark.parametrize(
        ("name", "setting"),
        [("api", "SECRET_KEY"), ("worker", "SECRET_KEY"), ("migrate", "ADMIN_PASSWORD")],
    )
    def test_a_setting_that_is_refused(
        self, rendered: dict[str, Container], apart: Network, name: str, setting: str
    ) -> None:
        """Waiting does not help. The last line, which Kubernetes shows, names the setting."""
        with pod(with_secret(rendered[name], setting, "sh0rt"), apart) as broken:
            running = broken.run()
            assert running.ended() == 78
            [line, first, last] = complaints(running)
        assert isinstance(line, dict)
        assert (line["event"], line["level"]) == ("configuration.refused", "critical")
        [fault] = line["faults"]
        assert fault.startswith(f"{setting}: ")
        assert (first, last) == ("The configuration is not usable:", f"  {fault}")
        assert "sh0rt" not in running.stdout + running.stderr
