"""Metrics: bounded labels, and one process that serves the sum over all others."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from service.platform.http.metrics import REQUESTS
from service.platform.server import metrics_exporter as exporter
from service.platform.telemetry import metric_files as files
from service.platform.telemetry import metrics
from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.platform.telemetry.test_ended_workers import worker


def answered(**labels: str) -> float:
    return REGISTRY.get_sample_value("http_requests_total", labels) or 0


def routes() -> set[str]:
    metrics.flush()
    samples = [sample for metric in REQUESTS.metric.collect() for sample in metric.samples]
    return {sample.labels["route"] for sample in samples}


class TestLabels:
    async def test_a_request_is_counted_by_its_template(self, make: Make) -> None:
        labels = {"method": "GET", "route": "/api/v1/users/{user_id}", "status": "200"}
        maria, before = await make.user(), answered(**labels)
        assert (await maria.api.get(f"/users/{maria.id}")).status_code == 200
        assert answered(**labels) == before + 1

    async def test_duration_is_observed_by_its_template(self, make: Make) -> None:
        name = "http_request_duration_seconds_count"
        labels = {"method": "GET", "route": "/api/v1/users/profile"}
        before = REGISTRY.get_sample_value(name, labels) or 0
        maria = await make.user()
        await maria.api.get("/users/profile")
        assert REGISTRY.get_sample_value(name, labels) == before + 1

    async def test_unknown_addresses_share_a_label(self, api: Api) -> None:
        labels = {"method": "GET", "route": "unmatched", "status": "404"}
        before, path = answered(**labels), f"/{uuid4()}"
        await api.root(path)
        await api.root(f"{path}/more")
        assert answered(**labels) == before + 2
        assert not any(path in route for route in routes())

    async def test_unknown_methods_share_a_label(self, api: Api) -> None:
        labels = {"method": "OTHER", "route": "unmatched", "status": "404"}
        before = answered(**labels)
        for method in ("BREW", "PROPFIND"):
            await api.root(f"/{uuid4()}", method)
        assert answered(**labels) == before + 2

    async def test_probes_are_not_counted(self, api: Api) -> None:
        for probe in ("/livez", "/readyz", "/startupz", "/health"):
            assert (await api.root(probe)).status_code == 200
        assert routes().isdisjoint({"/livez", "/readyz", "/startupz", "/health"})


class TestFolder:
    def test_what_an_earlier_run_left_is_wiped(self, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "metrics"
        files.wipe(folder)
        for name in ("counter_1.db", "gauge_livesum_2.db", "notes.txt"):
            (folder / name).touch()
        files.wipe(folder)
        assert [path.name for path in folder.iterdir()] == ["notes.txt"]

    def test_a_worker_that_ended_leaves_its_counters(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(files.MULTIPROC_DIR, str(tmp_path))
        ended = worker(tmp_path)
        for name in (f"gauge_livesum_{ended}.db", "gauge_livesum_8.db"):
            (tmp_path / name).touch()
        files.worker_ended(ended)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == ["counter_0.db", "gauge_livesum_8.db", "histogram_0.db"]


class TestExporter:
    """Its `main`, in this process: the loop ends as soon as the parent is another one."""

    @pytest.fixture(autouse=True)
    def as_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv(files.MULTIPROC_DIR, str(tmp_path))
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def test_serves_until_its_parent_is_gone(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """On a port that the kernel chooses."""
        texts: list[str] = []
        servers: list[Any] = []
        expose = files.expose
        monkeypatch.setattr(files, "expose", lambda *a, **b: servers.append(expose(*a, **b)))
        ends: list[tuple[int, signal.Signals]] = []
        monkeypatch.setattr(exporter, "end_with", lambda *with_what: ends.append(with_what))
        monkeypatch.setattr(
            signal,
            "pause",
            lambda: texts.append(
                httpx2.get(f"http://127.0.0.1:{servers[0].server_port}/metrics", timeout=60).text
            ),
        )
        master = os.getppid()
        assert exporter.main(master, 0, "127.0.0.1", "INFO", "json") == 0
        assert ends == [(master, signal.SIGTERM)]
        assert len(texts) == 1
        [family] = text_string_to_metric_families(texts[0])
        assert family.name == "process_start_time_seconds"
        assert '"event": "metrics.served"' in capsys.readouterr().out
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        [server] = servers
        server.shutdown()
        server.server_close()

    def test_says_why_it_cannot(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(exporter, "end_with", lambda *_: None)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = int(taken.getsockname()[1])
            assert exporter.main(os.getppid(), port, "127.0.0.1", "INFO", "json") == 1
        line = capsys.readouterr().out
        assert '"event": "metrics.not_served"' in line
        assert '"reason": "Address already in use"' in line
