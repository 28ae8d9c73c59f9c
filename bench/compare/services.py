"""Starts Tradepost and its peers, each with one worker and a database of its own on one PostgreSQL."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import install

START_WITHIN = 180.0
ADMIN = "bench@tradepost.example"
# Production refuses one that stands in the repository.
PASSWORD = f"{secrets.token_urlsafe(16)}1"
POOL = 7  # as the chart has it
UVICORN = "uvicorn_worker.UvicornWorker"


@dataclass(frozen=True)
class Kind:
    """A service that is compared: how it is called, what it needs, and how it starts."""

    name: str
    label: str
    needs: str
    command: Callable[[int], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = install.PEERS


@dataclass
class Running:
    kind: Kind
    pid: int
    port: int
    database: str
    log: Path

    def fail(self, reason: object) -> NoReturn:
        sys.exit(f"{self.kind.label}: {reason}\n{self.log.read_text(errors='replace')[-2_000:]}")


def _gunicorn(python: str | Path, port: int, app: str, *more: str) -> list[str]:
    """As its guide has it, with an access log. Connections are kept while other services are asked."""
    command = [str(python), "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    return [*command, "--keep-alive", "600", "--access-logfile", "-", "--no-control-socket", *more, app]


def _threads(port: int, app: str) -> list[str]:
    return _gunicorn(install.PYTHON, port, app, "--worker-class", "gthread", "--threads", str(POOL))


KINDS = (
    Kind(
        "tradepost", "Tradepost", "", lambda _: [sys.executable, "-m", "service", "serve"],
        folder=install.ROOT,
    ),
    Kind(
        "tutorial", "FastAPI, tutorial", "",
        lambda port: _gunicorn(sys.executable, port, "tutorial:app", "--worker-class", UVICORN),
    ),
    Kind("flask", "Flask", "python", lambda port: _threads(port, "flask_app:app")),
    Kind("django", "Django REST", "python", lambda port: _threads(port, "django_app:app")),
    Kind(
        "fastify", "Fastify", "node", lambda _: [str(install.node_binary()), "server.js"],
        {"NODE_ENV": "production"}, install.NODE_SHOP,
    ),
    # One processor, as one worker of the others has.
    Kind("go", "Go net/http", "go", lambda _: [str(install.GO_SHOP)], {"GOMAXPROCS": "1"}),
)  # fmt: skip


def tradepost_settings(folder: Path, port: int) -> dict[str, str]:
    """As in production, but for limits that no request here reaches; without Redis the process counts."""
    limits = ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")
    return {f"RATE_LIMIT_{name}": "1000000/minute" for name in limits} | {
        "ENVIRONMENT": "production", "HOST": "127.0.0.1", "METRICS_PORT": str(free_port()),
        "DATA_DIR": str(folder), "WEB_CONCURRENCY": "1", "SECRET_KEY": secrets.token_urlsafe(48),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DATABASE_POOL_SIZE": str(POOL), "DATABASE_MAX_OVERFLOW": "0",
    }  # fmt: skip


def migrate(database: str) -> None:
    """Tradepost's schema and its first administrator, as a deployment makes them."""
    settings = {
        "ENVIRONMENT": "production",
        "DATABASE_URL": database,
        "ADMIN_EMAIL": ADMIN,
        "ADMIN_PASSWORD": PASSWORD,
    }
    subprocess.run(
        [sys.executable, "-m", "service", "migrate"],
        cwd=install.ROOT,
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        check=True,
    )


@contextmanager
def started(kind: Kind, folder: Path, database: str, key: str) -> Iterator[Running]:
    """One of them, ready. It is stopped in the end, and killed where that takes too long."""
    port = free_port()
    folder.mkdir()
    settings = {"DATABASE_URL": database, "PORT": str(port), "JWT_PUBLIC_KEY": key, **kind.environment}
    if kind.name == "tradepost":
        settings |= tradepost_settings(folder, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            kind.command(port),
            cwd=kind.folder,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(kind, process, port, folder / "log")
        yield Running(kind, process.pid, port, database.rpartition("/")[2], folder / "log")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(kind: Kind, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    path = "/readyz" if kind.name == "tradepost" else "/items?limit=1"
    deadline = time.monotonic() + START_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{kind.label} did not become ready:\n{log.read_text(errors='replace')[-2_000:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
