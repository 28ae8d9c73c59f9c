"""The commands of the rendered pods, run as a cluster would run them: they start, serve and stop clean."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.platform.database.schema import required_revision
from tests.helpers.rows import rows_of
from tests.helpers.waiting import wait_until
from tests.pods.conftest import ADMIN, WORKERS
from tests.pods.rendered import Container
from tests.pods.sandbox import METRICS_PORT, Network, Pod, Running, complaints, network, pod

pytestmark = pytest.mark.slow

#: Who the process is; what is mounted to be written, and where of that it may.
LOOK_AROUND = """
grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):' /proc/self/status | tr -s '\t ' ' '
while read -r device place kind options rest; do
    case "$options" in
        rw*) echo "mounted $place" && find "$place" -type d -writable -prune ;;
    esac
done < /proc/self/mounts
"""


@pytest.fixture(scope="module")
def apart(database: str) -> Iterator[Network]:
    with network(database) as made:
        yield made


@pytest.fixture(scope="module")
def migrated(rendered: dict[str, Container], apart: Network) -> list[Running]:
    """Twice, as a Job that is run again."""
    runs = []
    with pod(rendered["migrate"], apart) as job:
        for _ in range(2):
            runs.append(job.run())
            assert runs[-1].ended() == 0, runs[-1].stdout + runs[-1].stderr
        assert job.written() == {"/tmp": []}
    return runs


def smoked(rendered: dict[str, Container], apart: Network) -> None:
    """The pod of `helm test`, on the way that the Service has."""
    with pod(rendered["smoke"], apart) as test:
        running = test.run()
        assert running.ended() == 0, running.stdout + running.stderr
        *steps, last = running.stdout.splitlines()
        assert all(step.startswith("ok    ") for step in steps)
        assert "ok    order it" in steps
        assert last.startswith(f"{len(steps)} steps passed in ")
        assert test.written() == {"/tmp": []}


class TestSandbox:
    @pytest.mark.parametrize("name", ["api", "worker", "migrate", "smoke"])
    def test_only_empty_folders_can_be_written(
        self, rendered: dict[str, Container], apart: Network, name: str
    ) -> None:
        """Or the tests below would show nothing."""
        with pod(rendered[name], apart) as looked:
            running = looked.run("/bin/sh", "-c", LOOK_AROUND)
            running.ended()
            lines = running.stdout.splitlines()
        none = "0000000000000000"
        assert lines[:8] == [
            "Uid: 10001 10001 10001 10001",
            "Gid: 10001 10001 10001 10001",
            "Groups: ",
            *(f"Cap{name}: {none}" for name in ("Prm", "Eff", "Bnd", "Amb")),
            "NoNewPrivs: 1",
        ]
        mounted = {line.removeprefix("mounted ") for line in lines[8:] if line.startswith("mounted ")}
        writable = {line for line in lines[8:] if not line.startswith(("mounted ", "/proc/"))}
        folders = {str(folder) for folder in rendered[name].folders}
        assert {place for place in mounted if not place.startswith("/dev/")} == {"/dev", "/proc", *folders}
        assert writable == folders

    def test_nothing_of_the_machine_is_in_the_environment(
        self, rendered: dict[str, Container], apart: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PUBLIC_URL", "https://of-the-machine.example")
        with pod(rendered["worker"], apart) as looked:
            running = looked.run("env")
            assert running.ended() == 0
            names = {line.partition("=")[0] for line in running.stdout.splitlines()}
        of_the_image = {"HOME", "PATH", "PYTHONDONTWRITEBYTECODE"}
        of_the_cluster = {"HOSTNAME", "KUBERNETES_SERVICE_HOST", "PWD"}
        assert names == {*rendered["worker"].environment, *of_the_image, *of_the_cluster}


class TestMigration:
    async def test_a_job_that_is_run_again_is_harmless(self, migrated: list[Running], database: str) -> None:
        for running in migrated:
            assert complaints(running) == []
            assert len(running.events("schema.migrated")) == 1
        assert [len(running.events("administrator.created")) for running in migrated] == [1, 0]
        assert await rows_of(database, "SELECT version_num FROM alembic_version") == [
            (required_revision()[0],)
        ]
        assert await rows_of(database, "SELECT email FROM users WHERE is_admin") == [(ADMIN,)]


@pytest.mark.usefixtures("migrated")
class TestApi:
    def test_serves_drains_and_is_restarted_in_its_pod(
        self, rendered: dict[str, Container], apart: Network
    ) -> None:
        with pod(rendered["api"], apart) as api:
            running = api.run()
            self.assert_serves(api, running)
            smoked(rendered, apart)
            self.assert_profiled(api)
            with api.client(METRICS_PORT) as client:
                wait_until(lambda: 'route="/api/v1/orders"' in client.get("/metrics").text)
            self.assert_stops(api, running)
            # As after a liveness probe that failed: the flag is still there.
            assert (api.place(Path("/run/tradepost/drain")) / "now").exists()
            again = api.run()
            self.assert_serves(api, again)
            assert not (api.place(Path("/run/tradepost/drain")) / "now").exists()
            self.assert_stops(api, again)
            written = api.written()
            assert written["/run/tradepost/drain"] == ["now"]
            assert {name.rpartition(".")[2] for name in written["/run/tradepost/metrics"]} == {"db"}
            assert written["/tmp"] == []

    def assert_serves(self, api: Pod, running: Running) -> None:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            api.wait_for(kind, running)
        wait_until(lambda: len(running.events("service.started")) == WORKERS)

    def assert_profiled(self, api: Pod) -> None:
        """As `kubectl exec` does it, by the pod's user and with no capability."""
        done = api.run("tradepost", "profile", "--seconds", "1")
        assert done.ended() == 0, done.stderr
        assert f"CPU time in 1 s of {WORKERS} processes (api): " in done.stderr
        assert done.stdout.startswith("<svg ")

    def assert_stops(self, api: Pod, running: Running) -> None:
        api.asked_to_stop(running)
        assert running.ended(api.container.grace_seconds) == 0
        assert len(running.events("service.stopped")) == WORKERS
        assert complaints(running) == []


@pytest.mark.usefixtures("migrated")
class TestWorker:
    async def test_works_and_stops(
        self, rendered: dict[str, Container], apart: Network, database: str
    ) -> None:
        """What the smoke test has ordered is told of: there is no mail server, so in the log."""
        with pod(rendered["worker"], apart) as worker:
            running = worker.run()
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                worker.wait_for(kind, running)
            wait_until(lambda: bool(running.events("job.ended")))
            with worker.client(METRICS_PORT) as client:
                assert "\njobs_total{" in client.get("/metrics").text
            worker.asked_to_stop(running)
            assert running.ended(worker.container.grace_seconds) == 0
            assert len(running.events("worker.stopped")) == 1
            assert complaints(running) == []
            assert worker.written() == {"/tmp": []}
