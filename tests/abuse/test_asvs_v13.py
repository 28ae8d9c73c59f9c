"""ASVS 5.0, V13: configuration."""

import pytest
from fastapi import FastAPI

from tests.helpers.client import V1, Api, assert_problem

FILES = (
    "/.git/config", "/.git/HEAD", "/.svn/entries", "/.env", "/.env.example", "/.dockerignore", "/Dockerfile",
    "/pyproject.toml", "/requirements.lock", "/alembic.ini", "/service/", "/service/main.py", "/static/",
    "/docs/assets/", "/backup.sql", "/server-status", "/actuator/env", "/debug/pprof/",
    "/metrics", "/console", "/phpinfo.php", "/.well-known/", "/.aws/credentials", f"{V1}/",
    f"{V1}/.git/config",
)  # fmt: skip


@pytest.mark.parametrize("path", FILES)
async def test_v13_4_1_no_file_is_served(api: Api, path: str) -> None:
    """Neither a file nor the list of a folder."""
    assert_problem(await api.root(path), 404, "not_found")


def test_v13_4_2_nothing_is_in_debug_mode(app: FastAPI) -> None:
    assert app.debug is False


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "DEBUG", "PROPFIND", "CONNECT", "trace", "GETX"])
async def test_v13_4_4_trace_is_refused(api: Api, method: str) -> None:
    """And nothing of the request comes back."""
    answer = await api.root("/health", method, headers={"X-Secret": "canary-4711"})
    assert_problem(answer, 405, "method_not_allowed")
    assert "canary-4711" not in answer.text + str(answer.headers)
