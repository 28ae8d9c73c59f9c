"""What is wrong with a service becomes a finding of the proof that fuzzes it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from proofs.fuzz.callers import CALLERS
from proofs.fuzz.requests import _read, fuzz
from tests.contract.test_bad_input import DOCUMENT
from tests.helpers.http_server import serving

#: A list for staff, and a probe for all.
PATHS = {path: DOCUMENT["paths"][path] for path in ("/api/v1/compute", "/livez", "/health")}


class _Broken(BaseHTTPRequestHandler):
    """Lets any caller compute, answers a probe with 500 and another with what is not documented."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, found = {
            "/openapi.json": (200, {**DOCUMENT, "paths": PATHS, "webhooks": {}}),
            "/api/v1/compute": (200, {"result": 1}),
            "/livez": (500, {}),
        }.get(path, (200, {"surprise": 1}))
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@contextmanager
def broken() -> Iterator[str]:
    with serving(_Broken) as url:
        yield url


@pytest.mark.slow
def test_a_service_that_lets_strangers_in_and_breaks_its_document_is_found(tmp_path: Path) -> None:
    credentials = tmp_path / "callers.json"
    names = [*CALLERS, "another-customer"]
    header = {"name": "User-Agent", "value": "fuzz"}
    credentials.write_text(json.dumps({"auth": [{"name": name, "fixedHeaders": [header]} for name in names]}))
    with broken() as url:
        fuzzed = fuzz(url, "anonymous", credentials, tmp_path, "--phases", "fuzzing", "--max-examples", "3")
    found = "\n".join(fuzzed.findings)
    assert "GET /livez answered 500" in found
    assert "GET /api/v1/compute" in found
    assert "GET /health" in found
    assert "anonymous may not, and was answered 200" in fuzzed.output
    assert "GET /api/v1/compute" in fuzzed.accepted


def test_failures_errors_and_5xx_are_findings() -> None:
    report = {
        "failures": [{"title": "Undocumented status", "operations": ["GET /items"], "count": 2}],
        "errors": [{"title": "Runtime error", "count": 1}],
        "operations": {"selected": 2},
    }
    counts = {"GET /items": {"200": 3, "418": 2}, "POST /orders": {"503": 1, "401": 4}}
    fuzzed = _read(report, counts, "")
    assert fuzzed.findings == [
        "Undocumented status: GET /items, 2 times",
        "Runtime error, 1 times",
        "POST /orders answered 503, 1 times",
    ]
    assert (fuzzed.requests, fuzzed.operations, fuzzed.accepted) == (10, 2, ["GET /items"])


def test_a_run_without_a_report_is_a_finding(tmp_path: Path) -> None:
    """Such as one whose configuration cannot be read."""
    with broken() as url:
        fuzzed = fuzz(url, "anonymous", tmp_path / "missing.json", tmp_path)
    assert len(fuzzed.findings) == 1
    assert fuzzed.findings[0].startswith("schemathesis ended with ")
