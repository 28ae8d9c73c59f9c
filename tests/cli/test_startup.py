"""What a service says when it starts, and what it imports for that."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli import dev_startup
from service.platform.config import Settings
from tests.server.process import cloned_database, started, statement

EVERYWHERE = "0.0.0.0"  # noqa: S104
LOADED = (
    "INSERT INTO users (email, full_name, password_hash, is_admin)"
    " VALUES ('admin@northwind.example', 'Sample Administrator', 'x', true)"
)


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    with cloned_database() as url:
        yield url


@pytest.fixture(scope="module")
def with_sample() -> Iterator[str]:
    with cloned_database() as url:
        statement(url, LOADED)
        yield url


class TestTheSampleInANetwork:
    def said(self, capsys: pytest.CaptureFixture[str], url: str, host: str, environment: str = "test") -> str:
        values = {"environment": environment, "host": host, "database_url": url}
        dev_startup.announcement(Settings.model_validate(values))()
        return " ".join(capsys.readouterr().err.split())

    @pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "shop.example"])
    @pytest.mark.parametrize("environment", ["test", "development"])
    def test_a_warning_says_who_can_sign_in(
        self, capsys: pytest.CaptureFixture[str], with_sample: str, host: str, environment: str
    ) -> None:
        said = self.said(capsys, with_sample, host, environment)
        assert (
            f"WARNING: HOST is {host}: every client that reaches this machine can sign in as"
            " admin@northwind.example and as every customer of the sample, with its published password."
            " Leave HOST out to listen on 127.0.0.1 alone"
        ) in said

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_without_other_clients_there_is_no_warning(
        self, capsys: pytest.CaptureFixture[str], with_sample: str, host: str
    ) -> None:
        assert "WARNING" not in self.said(capsys, with_sample, host)

    def test_without_the_sample_there_is_nothing_to_sign_in_to(
        self, capsys: pytest.CaptureFixture[str], empty: str
    ) -> None:
        assert "WARNING" not in self.said(capsys, empty, EVERYWHERE)

    def test_serving_says_so(self, with_sample: str, tmp_path: Path) -> None:
        with started(tmp_path, DATABASE_URL=with_sample, HOST=EVERYWHERE, WEB_CONCURRENCY=1) as service:
            service.wait_until_up()
            assert f"WARNING: HOST is {EVERYWHERE}: every client that reaches this machine" in service.stderr
            assert service.stop() == 0


def test_production_imports_nothing_that_only_others_need() -> None:
    """Each process that serves would have it in memory, and a pod would be ready later."""
    unneeded = {"alembic", "mako", "reportlab", "service.cli.sample", "service.dev"}
    command = [sys.executable, "-c", "import service.cli.serve, sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert unneeded & set(done.stdout.split()) == set()
