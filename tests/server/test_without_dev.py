"""The service as the production image has it: without service/dev."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.__main__ import COMMANDS
from service.platform.config import generate_key
from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import REPOSITORY, cloned_database, environment, get, started

ABSENT = "needs service/dev, which is not in the production image."


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    ignore = shutil.ignore_patterns("dev", "__pycache__")
    shutil.copytree(REPOSITORY / "service", folder / "service", ignore=ignore)
    return folder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def run(tree: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    env = environment(tree, **settings) | {"PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
        cwd=tree,
        env=env,
    )


def test_every_module_can_be_imported(tree: Path) -> None:
    modules = [f"service.{command.module}" for command in COMMANDS.values()] + [
        "service.container",
        "service.main",
    ]
    script = f"import {', '.join(modules)}, service; print(service.__file__)"
    env = environment(tree) | {"PYTHONPATH": str(tree)}
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tree, env=env
    )
    assert (answer.stdout.strip(), answer.stderr) == (str(tree / "service" / "__init__.py"), "")


def test_commands_run(tree: Path, url: str) -> None:
    production = {"ENVIRONMENT": "production", "SECRET_KEY": generate_key(), "DATABASE_URL": url}
    for arguments in (("migrate",), ("check-config", "--connect"), ("export-openapi",)):
        answer = run(tree, *arguments, **production)
        assert (answer.returncode, answer.stderr) == (0, ""), arguments


@pytest.mark.parametrize("command", ["dev", "sample"])
def test_what_needs_dev_says_so(tree: Path, url: str, command: str) -> None:
    answer = run(tree, command, DATABASE_URL=url)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"tradepost {command}: The command `{command}` {ABSENT}\n"


def test_there_is_no_embedded_database(tree: Path) -> None:
    answer = run(tree, "serve")
    expected = f"Set DATABASE_URL to use a PostgreSQL of your own: the embedded one {ABSENT}"
    assert (answer.returncode, answer.stderr) == (1, f"tradepost serve: {expected}\n")


def test_the_application_asks_for_a_database(tree: Path) -> None:
    script = "from service.main import create_app; create_app()"
    env = environment(tree) | {"PYTHONPATH": str(tree)}
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tree, env=env
    )
    assert answer.stderr.splitlines()[-1].startswith("service.errors.ConfigError: DATABASE_URL: is missing; ")


def test_serving_in_development_says_that_no_worker_runs(tree: Path, url: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(tree)])
    with started(
        tmp_path, DATABASE_URL=url, ENVIRONMENT="development", PYTHONPATH=path, WEB_CONCURRENCY=1
    ) as service:
        service.wait_until_up()
        assert get(f"{service.url}/health").json()["status"] == "healthy"
        assert "No worker runs beside the service: that needs service/dev." in " ".join(
            service.stderr.split()
        )
        assert service.stop() == 0
