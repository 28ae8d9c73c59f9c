"""How long each part of an end may take: every time fits into the one around it, whatever the values."""

from pathlib import Path

import pytest

from service.platform.config import Settings, generate_key
from service.platform.server.gunicorn_conf import HEARTBEAT_SECONDS, KEEPALIVE_SECONDS, options
from service.platform.server.uvicorn_worker import (
    IDLE_SECONDS,
    LINGER_SECONDS,
    SHARE_FOR_CLOSE_HEADER,
    SHARE_TO_CANCEL,
    SHARE_TO_FINISH,
)
from service.platform.telemetry.tracing import FLUSH_SECONDS, SHARE_TO_FLUSH
from tests.pods.rendered import Container, containers

SECRETS = {"secretKey": generate_key(), "databaseUrl": "postgresql://shop@database/shop"}
#: Until kube-proxy knows on every node that a pod has gone.
NEWS_SECONDS = 1
#: What Uvicorn takes before it ends the lifespan, even with nothing to wait for.
UVICORN_SECONDS = 0.2
#: Whatever is left of the grace period when Gunicorn has ended its workers: its metrics' process, and itself.
LAST_SECONDS = 5


def rendered(folder: Path, drain: int, graceful: int) -> dict[str, Container]:
    times = {"drainSeconds": drain, "gracefulSeconds": graceful}
    values = {
        "secrets": SECRETS,
        "api": {"shutdown": times},
        "worker": {"shutdown": {"gracefulSeconds": graceful}},
    }
    return containers(values, folder)


def slept(container: Container) -> int:
    """What the hook sleeps, which is the last word of it."""
    assert container.pre_stop is not None
    assert container.pre_stop[:2] == ["/bin/sh", "-c"]
    touch, _, sleep = container.pre_stop[2].partition(" && ")
    assert touch == 'touch "$DRAIN_FILE"'
    assert sleep.startswith("sleep ")
    return int(sleep.removeprefix("sleep "))


@pytest.mark.parametrize(("drain", "graceful"), [(10, 25), (5, 5), (30, 300)])
def test_the_end_of_the_api_fits_into_its_grace_period(tmp_path: Path, drain: int, graceful: int) -> None:
    api = rendered(tmp_path, drain, graceful)["api"]
    patience = int(api.environment["GRACEFUL_TIMEOUT"])
    assert (slept(api), patience) == (drain, graceful)
    finishing = patience * SHARE_TO_FINISH
    close_header = min(IDLE_SECONDS, patience * SHARE_FOR_CLOSE_HEADER)
    in_order = [NEWS_SECONDS, slept(api), slept(api) + close_header, slept(api) + finishing]
    cancelled = slept(api) + finishing + patience * SHARE_TO_CANCEL
    flushed = cancelled + UVICORN_SECONDS + min(FLUSH_SECONDS, patience * SHARE_TO_FLUSH)
    in_order += [cancelled, flushed, slept(api) + patience]
    in_order += [slept(api) + patience + LAST_SECONDS, api.grace_seconds]
    assert in_order == sorted(set(in_order))
    assert close_header > LINGER_SECONDS


def test_the_end_of_a_worker_fits_too(tmp_path: Path) -> None:
    worker = rendered(tmp_path, 10, 25)["worker"]
    assert worker.pre_stop is None
    assert int(worker.environment["GRACEFUL_TIMEOUT"]) + LAST_SECONDS < worker.grace_seconds


def test_the_drain_file_of_the_chart_is_that_of_the_service(tmp_path: Path) -> None:
    """In a folder of the pod's own, which is writable."""
    api = rendered(tmp_path, 10, 25)["api"]
    assert Path(api.environment["DRAIN_FILE"]).parent in api.folders


@pytest.mark.parametrize("graceful", [5, 25, 300])
def test_a_worker_that_is_ending_is_not_taken_for_dead(graceful: int) -> None:
    chosen = options(Settings(environment="test", graceful_timeout=graceful))
    assert chosen["graceful_timeout"] == graceful
    assert graceful < chosen["timeout"]
    assert chosen["timeout"] >= HEARTBEAT_SECONDS


def test_it_is_never_the_service_that_closes_an_idle_connection_first() -> None:
    """Ingresses keep theirs for sixty seconds."""
    assert options(Settings(environment="test"))["keepalive"] == KEEPALIVE_SECONDS > 60


def test_a_pod_drains_before_sigterm(tmp_path: Path) -> None:
    """Where the end of its endpoint does not come first, its probe says so in time."""
    api = rendered(tmp_path, 10, 25)["api"]
    ready, alive = api.probes["readinessProbe"], api.probes["livenessProbe"]
    assert ready.period * ready.failures <= slept(api)
    # And what is slow is not killed for it before it is taken out.
    assert ready.period * ready.failures < alive.period * alive.failures
