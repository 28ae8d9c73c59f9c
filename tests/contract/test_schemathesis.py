"""The service as it runs, under requests made up from its OpenAPI document: schemathesis.toml judges.

Few and always the same here, from an administrator; `make prove-fuzz` sends as many new ones as there is time
for, from each kind of caller. What lies at the edges of every schema takes thousands of requests: that phase
is slow, and test_bad_input sends the like.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from proofs.fuzz.callers import ADMINISTRATOR, prepare
from proofs.fuzz.requests import fuzz, logged_faults
from tests.contract.upstream import weather_upstream
from tests.server.process import PASSWORD, Service, cloned_database, started

#: By schemathesis.toml, which says why.
LEFT_OUT = {"streamNotifications", "endSession", "endAllSessions"}
EXAMPLES = "8"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("fuzzed")
    settings: dict[str, Any] = {"ADMIN_EMAIL": ADMINISTRATOR, "ADMIN_PASSWORD": PASSWORD}
    with weather_upstream() as upstream, cloned_database() as url:
        settings |= {"WEATHER_URL": f"{upstream}/forecast", "WEATHER_GEOCODING_URL": f"{upstream}/search"}
        settings |= {"DATABASE_URL": url, "LOG_LEVEL": "error", "WEB_CONCURRENCY": 1}
        with started(folder, **settings) as service:
            service.wait_until_up()
            prepare(service, url, folder / "callers.json")
            yield service


def hold(service: Service, caller: str, folder: Path, *options: str) -> None:
    """No request finds a fault, and every operation of the document is tried."""
    document = httpx2.get(f"{service.url}/openapi.json").json()
    fuzzed = fuzz(service.url, caller, service.folder / "callers.json", folder, *options)
    assert fuzzed.findings == [], fuzzed.output
    operations = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert f"Tested: {len(operations - LEFT_OUT)}\n" in fuzzed.output
    assert logged_faults(service) == []


@pytest.mark.parametrize(
    "phases", ["examples,fuzzing,stateful", pytest.param("coverage", marks=pytest.mark.slow)]
)
def test_no_request_finds_a_fault(service: Service, tmp_path: Path, phases: str) -> None:
    options = ("--phases", phases, "--generation-deterministic", "--max-examples", EXAMPLES)
    hold(service, "administrator", tmp_path, *options)
