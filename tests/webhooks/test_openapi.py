"""The code in docs/api/webhooks.md does what it says, on a real delivery."""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import playwright
import pytest
from jsonschema_rs import Draft202012Validator

from service.events import EVENT_TYPES
from service.webhooks.deliveries.retries import RETRY_DELAYS
from service.webhooks.message_schemas import MESSAGES
from tests.helpers.application import document_text
from tests.helpers.factories import Make, Person
from tests.server.process import REPOSITORY
from tests.webhooks.office import Office, verified
from tests.webhooks.receiver import Receiver, Request

pytestmark = pytest.mark.usefixtures("private_targets")

TEXT = (REPOSITORY / "docs" / "api" / "webhooks.md").read_text()
DOCUMENT: dict[str, Any] = json.loads(document_text())
#: The browser driver brings a Node.js that runs TypeScript as it is.
NODE = Path(playwright.__file__).parent / "driver" / "node"
ASK = """
import { readFileSync } from "node:fs";
import { verify } from "./verify.ts";
const { secret, headers, body } = JSON.parse(readFileSync(0, "utf8"));
try {
  verify(secret, headers, Buffer.from(body, "base64"));
  console.log("good");
} catch (error) {
  console.log((error as Error).message);
}
"""


def block(language: str) -> str:
    [code] = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(code)


def by_python(secret: str, headers: dict[str, str], body: bytes) -> str:
    names: dict[str, Any] = {}
    exec(block("python"), names)  # noqa: S102 - it is what readers will run
    try:
        names["verify"](secret, headers, body)
    except ValueError as fault:
        return str(fault)
    return "good"


@pytest.fixture
def by_typescript(tmp_path: Path) -> Any:
    (tmp_path / "verify.ts").write_text(block("typescript"))
    (tmp_path / "ask.ts").write_text(ASK)

    def ask(secret: str, headers: dict[str, str], body: bytes) -> str:
        given = {"secret": secret, "headers": headers, "body": base64.b64encode(body).decode()}
        ran = subprocess.run(
            [NODE, "--disable-warning=ExperimentalWarning", "ask.ts"],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    return ask


@pytest.fixture
async def secrets(office: Office, ada: Person, erp: Receiver) -> tuple[str, str]:
    """Old and new secret of a webhook that is being rotated, and was told of an event."""
    webhook = await office.webhook(ada, erp)
    rotated = (await ada.api.post(f"/webhooks/{webhook['id']}/rotate-secret")).json()
    await office.happen(customer_name="Lars Åkesson")
    await office.work()
    return webhook["secret"], rotated["secret"]


class TestVerifying:
    @pytest.mark.parametrize("language", ["python", "typescript"])
    async def test_what_is_genuine_and_what_is_not(
        self, secrets: tuple[str, str], erp: Receiver, by_typescript: Any, language: str
    ) -> None:
        verify = by_python if language == "python" else by_typescript
        [request] = erp.requests
        old, new = secrets
        assert verify(old, request.headers, request.body) == "good"
        assert verify(new, request.headers, request.body) == "good"
        forged = {**request.headers, "webhook-id": "evt_forged"}
        other = "whsec_" + base64.b64encode(bytes(32)).decode()
        stale = {**request.headers, "webhook-timestamp": "1614265330"}
        bad = {**request.headers, "webhook-signature": "v1, v2,x v1"}
        for secret, headers, body in (
            (new, request.headers, request.body + b" "),
            (new, forged, request.body),
            (other, request.headers, request.body),
            (new, bad, request.body),
        ):
            assert verify(secret, headers, body) == "the signature does not fit"
        assert verify(new, stale, request.body) == "too old, or from the future"


def test_the_schedule_is_the_one_in_force() -> None:
    [row] = re.findall(r"\| after another \| at once \| (.*) \|", TEXT)
    units = {"s": 1, "min": 60, "h": 3_600}
    told = [int(number) * units[unit] for number, unit in (each.split() for each in row.split(" | "))]
    assert told == [pause.total_seconds() for pause in RETRY_DELAYS]


def test_every_event_type_is_documented() -> None:
    assert {each for each in MESSAGES if f"| `{each}`" in TEXT or f", `{each}`" in TEXT} == {
        *EVENT_TYPES,
        "ping",
    }


class TestOpenApi:
    def schema(self, message_type: str) -> dict[str, Any]:
        content = DOCUMENT["webhooks"][message_type]["post"]["requestBody"]["content"]
        return {**content["application/json"]["schema"], "components": DOCUMENT["components"]}

    def validate(self, message_type: str, message: Any) -> None:
        Draft202012Validator(self.schema(message_type), validate_formats=True).validate(message)

    def test_it_has_every_message(self) -> None:
        assert set(DOCUMENT["webhooks"]) == {*EVENT_TYPES, "ping"}

    @pytest.mark.parametrize("message_type", [*EVENT_TYPES, "ping"])
    def test_the_example_is_what_the_schema_says(self, message_type: str) -> None:
        operation = DOCUMENT["webhooks"][message_type]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert example["type"] == message_type
        self.validate(message_type, example)
        assert re.fullmatch(r"on([A-Z][a-z]+)+", operation["operationId"])
        assert operation["description"].startswith(operation["summary"])

    def test_its_schemas_are_those_of_the_answers(self) -> None:
        """Where a message and an answer show the same thing, one component serves both."""
        from service.platform.http.openapi import _tidied
        from service.webhooks.openapi import schemas

        kept = DOCUMENT["components"]["schemas"]
        assert {name for name, schema in _tidied(schemas()).items() if kept[name] != schema} == set()

    async def test_what_really_comes_is_what_it_says(
        self, office: Office, make: Make, ada: Person, erp: Receiver
    ) -> None:
        """Each event by the act that causes it."""
        webhook = await office.webhook(ada, erp)
        maria = {"email": "maria-hooks@shop.example", "password": "correct-horse-1", "full_name": "Maria"}
        await make.api.post("/users", json=maria)
        chai = {"name": "Chai", "price": "18.00", "stock": 30, "reorder_level": 25}
        item = (await ada.api.post("/items", json=chai)).json()["id"]
        await ada.api.delete(f"/items/{item}")
        await ada.api.patch(f"/items/{item}", json={"is_active": True})
        home = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        first, second = [
            (await ada.api.post("/orders", json={"product_id": item, "quantity": 6, "ship_to": home})).json()
            for _ in range(2)
        ]
        actions = {"pay": {"reference": "pay-1"}, "ship": {"tracking": "1Z999"}, "deliver": {}}
        for action, body in actions.items():
            answer = await ada.api.post(f"/orders/{first['id']}/{action}", json=body)
            assert answer.status_code == 200, answer.text
        await ada.api.post(f"/orders/{second['id']}/cancel", json={"reason": "Ordered twice"})
        await ada.api.post("/posts", json={"title": "News", "body": "Chai is back."})
        await ada.api.post(f"/webhooks/{webhook['id']}/ping")
        for row in await office.sql.fetch("SELECT id FROM events ORDER BY id"):
            await office.fan_out(row["id"])
        await office.work()
        seen = {self.checked(webhook["secret"], request) for request in erp.requests}
        assert seen == {*EVENT_TYPES, "ping"}

    def checked(self, secret: str, request: Request) -> str:
        message = verified(secret, request)
        self.validate(message["type"], message)
        return str(message["type"])
