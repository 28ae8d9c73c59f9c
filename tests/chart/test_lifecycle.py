"""A release from its install to its end, by both Helms, and what is left of it on the server."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chart.api_server import LOG, Store, api_server
from tests.chart.chart import CASES, CHART, HELMS, NAMESPACE, Json

pytestmark = pytest.mark.slow

Helm = Callable[..., subprocess.CompletedProcess[str]]
OURS = "app.kubernetes.io/instance"


@pytest.fixture(params=HELMS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Helm, Store]]:
    """Helm with an empty cluster."""
    program = Path(sys.prefix) / "helm" / request.param / "helm"
    with api_server(tmp_path) as (config, kept):

        def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
            environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(config)}
            command = [program, "-n", NAMESPACE, *arguments]
            return subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=120, env=environment
            )

        yield helm, kept


def done(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


def install(name: str) -> list[str]:
    files = [option for file in CASES[name].files for option in ("--values", str(file))]
    return ["upgrade", "--install", "tradepost", str(CHART), *files]


class TestUninstall:
    def test_nothing_is_left(self, server: tuple[Helm, Store]) -> None:
        helm, store = server
        done(helm(*install("rehearsal")))
        assert "Job tradepost-migrate" in store.created
        assert "CronJob tradepost-rehearsal" in store.names("CronJob")
        # The hook has brought what it stood on, and taken it away.
        assert [each for each in store.names() if each.endswith("-migrate")] == ["CronJob tradepost-migrate"]
        assert LOG in done(helm("test", "tradepost"))
        assert "Pod tradepost-smoke-test" in store.created
        assert store.names("Pod") == []
        done(helm("uninstall", "tradepost"))
        assert store.names() == []

    def test_but_a_secret_of_yours(self, server: tuple[Helm, Store]) -> None:
        helm, store = server
        secret: Json = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "shop-settings"},
            "data": {},
        }
        store.put(f"/api/v1/namespaces/{NAMESPACE}/secrets/shop-settings", secret)
        done(helm(*install("existing-secret")))
        # A Job beside the rest is the release's own.
        assert len(store.names("Job")) == 1
        done(helm("uninstall", "tradepost"))
        assert store.names() == ["Secret shop-settings"]

    def test_a_test_that_failed_shows_its_log_and_is_not_left_either(
        self, server: tuple[Helm, Store]
    ) -> None:
        helm, store = server
        done(helm(*install("minimal")))
        store.well = False
        failed = helm("test", "tradepost")
        assert failed.returncode != 0
        assert LOG in failed.stdout + failed.stderr
        done(helm("uninstall", "tradepost"))
        assert store.names() == []

    def test_a_migration_that_failed_is_found_by_its_label(self, server: tuple[Helm, Store]) -> None:
        """It stays for its log; docs/operations.md has the command that deletes it."""
        helm, store = server
        store.well = False
        assert helm(*install("minimal")).returncode != 0
        done(helm("uninstall", "tradepost"))
        assert store.names() == ["Job tradepost-migrate"]
        [job] = [each for each in store.objects.values() if each["kind"] == "Job"]
        assert job["metadata"]["labels"][OURS] == "tradepost"
