"""The image that the Dockerfile makes, run as a pod would run it: `make test-image`."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from service import __version__
from service.platform.config import generate_key
from tests.helpers.waiting import wait_until
from tests.image.podman import DEV, MEMORY, UID, Container, Podman, build, built
from tests.server.process import cloned_database

pytestmark = pytest.mark.image

ADMIN = "ada@shop.example"
#: Production refuses those that stand in the repository.
PASSWORD = f"{generate_key()}-1"
#: The goal is 120 MB over the base.
MOST_BYTES = 125_000_000
PROGRAMS = "pip pip3 uv cc gcc ld strip make curl wget"


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with built() as podman:
        yield podman


@pytest.fixture(scope="module")
def secrets() -> Iterator[dict[str, str]]:
    """Those of an installation whose database is empty."""
    with cloned_database(template=None) as url:
        yield {"DATABASE_URL": url, "SECRET_KEY": generate_key()}


@pytest.fixture(scope="module")
def migrated(
    podman: Podman, secrets: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("migrate")
    administrator = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
    with podman.started(folder, "migrate", secrets={**secrets, **administrator}) as migration:
        assert migration.ended() == 0
        events = [line["event"] for line in migration.lines()]
        assert events[-1] == "schema.migrated"
        assert "administrator.created" in events
        assert migration.stderr == ""
    return secrets


def asked(container: Container, path: str) -> httpx2.Response | None:
    """The answer, or None while nobody answers."""
    assert container.process.poll() is None, container.stdout + container.stderr
    try:
        return httpx2.get(f"{container.url}{path}", timeout=5)
    except httpx2.TransportError:
        return None


def up(container: Container, path: str = "/readyz") -> None:
    wait_until(lambda: (answer := asked(container, path)) is not None and answer.is_success)


def step(made: str) -> str:
    """The instruction in short: what it copies to, or the program that it runs first."""
    copied = re.fullmatch(r"COPY \w+:\w+ in (\S+).*", made)
    return f"COPY {copied[1]}" if copied else "RUN " + " ".join(made.split()[:4])


def stopped(container: Container) -> None:
    """SIGTERM ends it well before a pod's grace is over, all lines are JSON, nothing else is said."""
    container.kill(signal.SIGTERM)
    assert container.ended() == 0
    assert container.stderr == ""
    assert all({"ts", "level", "event"} <= set(line) for line in container.lines())


class TestContents:
    def test_says_what_it_is(self, podman: Podman) -> None:
        image = podman.inspect()
        config = image["Config"]
        assert (config["Entrypoint"], config["Cmd"]) == (["tradepost"], ["serve"])
        assert (config["User"], config["StopSignal"], config["WorkingDir"]) == (
            "10001:10001",
            "SIGTERM",
            "/app",
        )
        assert set(config["ExposedPorts"]) == {"8000/tcp", "9090/tcp"}
        labels = {
            name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()
        }
        assert (labels["title"], labels["version"]) == ("Tradepost", __version__)
        assert len(labels["revision"]) == 40
        assert labels["created"].endswith("Z")
        assert labels["licenses"] == "Apache-2.0 AND OFL-1.1"

    def test_is_small(self, podman: Podman, capsys: pytest.CaptureFixture[str]) -> None:
        (base, _), *layers = podman.layers()
        over = sum(size for size, _ in layers)
        rows = [("the base", base), *((step(made), size) for size, made in layers), ("over the base", over)]
        table = "\n".join(f"| {what} | {size / 1e6:.1f} |" for what, size in rows)
        with capsys.disabled():
            sys.stdout.write(f"\n\n| layer | MB |\n| --- | ---: |\n{table}\n")
        assert over < MOST_BYTES

    def test_runs_as_an_unprivileged_user(self, podman: Podman) -> None:
        assert podman.look("id -u; id -g") == [str(UID), str(UID)]
        status = dict(line.split(":\t") for line in podman.look("grep -E '^(Cap|NoNew)' /proc/self/status"))
        assert {name: int(value, 16) for name, value in status.items()} == {
            "CapInh": 0,
            "CapPrm": 0,
            "CapEff": 0,
            "CapBnd": 0,
            "CapAmb": 0,
            "NoNewPrivs": 1,
        }

    def test_nothing_in_it_is_theirs_to_change(self, podman: Podman) -> None:
        assert podman.look(f"find /app /usr -xdev '(' -user {UID} -o -perm -o+w ! -type l ')'") == []

    def test_has_nothing_to_install_or_to_build_with(self, podman: Podman) -> None:
        assert podman.look(f"for name in {PROGRAMS}; do command -v $name; done; true") == []
        names = "-name pip -o -name ensurepip -o -name tests -o -name uv -o -name hatchling"
        assert podman.look(f"find /app /usr/local -type d '(' {names} ')'") == []

    def test_the_service_is_there_without_its_surroundings(self, podman: Podman) -> None:
        assert podman.look("ls -A /app") == ["LICENSE", "bytecode", "service", "venv"]
        assert podman.look("find /app/service -name '*.pyc'") == []

    def test_nothing_is_compiled_at_its_start(self, podman: Podman) -> None:
        """Three modules are tried and found missing, by their importers; a file for them helps nobody."""
        script = "python -v -c 'import service.cli.serve, service.cli.worker, service.main' 2>&1"
        read = podman.look(script + " | sed -n 's/^# code object from //p' | grep '[.]py$'; true")
        known = ("/collections/abc.py", "/structlog/twisted.py", "/dateutil/tz/win.py")
        assert [path for path in read if not path.endswith(known)] == []

    def test_a_missing_setting_is_a_line_of_json(self, podman: Podman, tmp_path: Path) -> None:
        answer = podman.once(tmp_path, "serve")
        assert answer.returncode == 78
        [line] = answer.stdout.splitlines()
        assert any(fault.startswith("SECRET_KEY") for fault in json.loads(line)["faults"])


class TestApi:
    def test_serves_drains_and_stops(self, podman: Podman, migrated: dict[str, str], tmp_path: Path) -> None:
        metrics = "/run/tradepost/metrics"
        with podman.started(
            tmp_path, secrets=migrated, WEB_CONCURRENCY=2, PROMETHEUS_MULTIPROC_DIR=metrics
        ) as api:
            up(api)
            self.assert_confined(api)
            self.assert_shops(api)
            metrics = httpx2.get(f"http://127.0.0.1:{api.metrics_port}/metrics").text
            assert 'http_requests_total{method="POST",route="/api/v1/orders",status="201"} 1.0' in metrics
            self.drain(api)
            stopped(api)

    def assert_confined(self, api: Container) -> None:
        assert api.run("cat", "/proc/1/cmdline").stdout.split("\0")[:3] == [
            "/app/venv/bin/python",
            "/app/venv/bin/tradepost",
            "serve",
        ]
        limits = (
            "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
        )
        assert int(api.run("sh", "-c", limits).stdout) == MEMORY
        refused = api.run("sh", "-c", "touch /app/x /run/x /var/tmp/x /usr/local/lib/python3.13/x")
        assert refused.returncode == 1
        assert refused.stderr.count("Read-only file system") == 4

    def assert_shops(self, api: Container) -> None:
        """Inside, as compose.yaml's first lines say."""
        environment = [f"--env=ADMIN_EMAIL={ADMIN}", f"--env=ADMIN_PASSWORD={PASSWORD}"]
        smoke = api.podman("exec", *environment, api.name, "tradepost", "smoke")
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
        assert smoke.stdout.splitlines()[-1].startswith("13 steps passed in ")

    def drain(self, api: Container) -> None:
        """As preStop does, on a connection that was there before."""
        with httpx2.Client(base_url=api.url) as client:
            assert "connection" not in client.get("/livez").headers
            assert api.run("sh", "-c", 'touch "$DRAIN_FILE"').returncode == 0
            wait_until(lambda: client.get("/readyz").status_code == 503)
            wait_until(lambda: client.get("/livez").headers.get("connection") == "close")


class TestWorker:
    def test_serves_probes_and_stops(self, podman: Podman, migrated: dict[str, str], tmp_path: Path) -> None:
        with podman.started(tmp_path, "worker", secrets=migrated) as worker:
            for probe in ("/startupz", "/livez", "/readyz"):
                up(worker, probe)
            metrics = httpx2.get(f"http://127.0.0.1:{worker.metrics_port}/metrics").text
            assert "jobs_total" in metrics
            stopped(worker)
            assert [line["handed_back"] for line in worker.lines() if line["event"] == "worker.stopped"] == [
                0
            ]


class TestDevelopment:
    def test_a_file_that_is_synced_restarts_it(
        self, podman: Podman, migrated: dict[str, str], tmp_path: Path
    ) -> None:
        """The stage for `skaffold dev`: as the same user, in a tree that it may write to."""
        build(podman.storage, DEV, "--target=dev")
        given = {"DATABASE_URL": migrated["DATABASE_URL"]}
        with podman.started(tmp_path, secrets=given, image=DEV, writable=True, ENVIRONMENT="test") as api:
            up(api)
            release = 'sed -i \'s/"0.*"/"0.1.0.dev1"/\' /app/service/__init__.py'
            assert api.run("sh", "-c", release).returncode == 0
            wait_until(lambda: (answer := asked(api, "/health")) is not None and "0.1.0.dev1" in answer.text)
            debugger = api.run("python", "-Xfrozen_modules=off", "-m", "debugpy", "--version")
            assert (debugger.returncode, debugger.stderr) == (0, "")
            assert api.run("watchfiles", "--version").returncode == 0
