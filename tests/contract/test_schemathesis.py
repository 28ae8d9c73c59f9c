"""The service as it runs, under requests made up from its OpenAPI document: schemathesis.toml judges.

Few and always the same here; `make fuzz` sends as many new ones as there is time for. What lies at the
edges of every schema takes thousands of requests: that phase is slow, and test_bad_input sends the like.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.contract.upstream import weather_upstream
from tests.server.process import PASSWORD, Service, cloned_database, started

ROOT = Path(__file__).parents[2]
ADMINISTRATOR = "ada@shop.example"
PLENTY = "1000000/minute"
LIMITS = ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")
#: The examples of the document order the products 11 and 42.
PRODUCTS = 42
#: By schemathesis.toml, which says why.
LEFT_OUT = {"streamNotifications", "endSession", "endAllSessions"}
EXAMPLES = "8"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("fuzzed")
    settings: dict[str, Any] = {f"RATE_LIMIT_{each}": PLENTY for each in LIMITS}
    settings |= {"ADMIN_EMAIL": ADMINISTRATOR, "ADMIN_PASSWORD": PASSWORD, "LOG_LEVEL": "error"}
    with weather_upstream() as upstream, cloned_database() as url:
        settings |= {"WEATHER_URL": f"{upstream}/forecast", "WEATHER_GEOCODING_URL": f"{upstream}/search"}
        with started(folder, DATABASE_URL=url, WEB_CONCURRENCY=1, **settings) as service:
            yield service.wait_until_up()


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    """An administrator's, once there is something to be found."""
    token: str = service.sign_in(ADMINISTRATOR).json()["access_token"]
    maria = service.register("maria@shop.example")
    with service.client(token) as admin, service.client(maria) as customer:
        goods = [{"name": f"Tea {number}", "price": "14.00", "stock": 1000} for number in range(PRODUCTS)]
        assert admin.post("/items/batch", json=goods).status_code == 201
        assert admin.post("/posts", json={"title": "Chai", "body": "It is back."}).status_code == 201
        for number in range(3):
            order = {"product_id": 1 + number, "quantity": 1, "user_id": 2}
            headers = {"Idempotency-Key": f"order-{number}"}
            assert admin.post("/orders", json=order, headers=headers).status_code == 201
        assert customer.post("/posts", json={"title": "Thanks", "body": "For the tea."}).status_code == 201
    return token


@pytest.mark.parametrize(
    "phases", ["examples,fuzzing,stateful", pytest.param("coverage", marks=pytest.mark.slow)]
)
def test_no_request_finds_a_fault(service: Service, token: str, tmp_path: Path, phases: str) -> None:
    document = httpx2.get(f"{service.url}/openapi.json").json()
    finished = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", ROOT / "schemathesis.toml"),
            *("run", f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *("--phases", phases, "--generation-deterministic", "--max-examples", EXAMPLES),
            *("--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    operations = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert f"Tested: {len(operations - LEFT_OUT)}\n" in finished.stdout
    # What is not an answer shows in the log alone.
    assert [json.dumps(line) for line in service.lines() if line["level"] in ("error", "critical")] == []
