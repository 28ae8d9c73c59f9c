"""Whatever is wrong with a request, of every operation: a 4xx that says where, and nothing has changed."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx2
import pytest

from service.platform.http.openapi.components import resolved
from tests.contract.routes import ROUTES, Route
from tests.helpers.application import document_text
from tests.helpers.client import V1, Api
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

DOCUMENT: Final[dict[str, Any]] = json.loads(document_text())
MEGABYTE: Final = 1024 * 1024
JSON: Final = {"Content-Type": "application/json"}
LONG: Final = "Zq" * 5_001
DEEP: Final = 20_000
#: Stands in a body for what json.dumps would never write.
RAW: Final = "@raw@"

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Field:
    """A place in a body, and what the documentation says may stand there."""

    path: Path
    schema: dict[str, Any]

    @property
    def pointer(self) -> str:
        return "".join(f"/{part}" for part in self.path)

    @property
    def kinds(self) -> set[str]:
        return {kind["type"] for kind in alternatives(self.schema)}


def alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What a schema allows, without references and unions."""
    if "$ref" in schema:
        return alternatives(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return [each for part in schema["anyOf"] for each in alternatives(part)]
    return [schema]


def fields(schema: dict[str, Any], path: Path = ()) -> Iterator[Field]:
    """The body itself, and every place inside of it; of arrays the first element."""
    yield Field(path, schema)
    for each in alternatives(schema):
        for name, inner in each.get("properties", {}).items():
            yield from fields(inner, (*path, name))
        if "items" in each:
            yield from fields(each["items"], (*path, 0))


def placed(body: Any, path: Path, value: Any) -> Any:
    """The body with this value at this place; what is missing on the way there is made."""
    if not path:
        return value
    head, *rest = path
    if isinstance(head, int):
        inner = body[head] if body else {}
        return [placed(inner, tuple(rest), value)]
    whole = dict(body or {})
    whole[head] = placed(whole.get(head), tuple(rest), value)
    return whole


def bad_values(field: Field) -> Iterator[tuple[str, str]]:
    """What no schema here allows at this place: a name and the JSON text."""
    kinds = field.kinds
    for kind, text in (
        ("null", "null"), ("boolean", "true"), ("integer", "7"), ("number", "7.5"), ("string", '"Zq"'),
        ("array", "[]"), ("object", '{"Zq": 1}'),
    ):  # fmt: skip
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            yield kind, text
    if kinds & {"integer", "number"}:
        numbers = [
            "1e400",
            "-1e400",
            str(10**30),
            str(-(10**30)),
            "9" * 5_000,
        ]
        if all(each.get("minimum", 0) >= 0 for each in alternatives(field.schema)):
            numbers.append("-1")
        yield from (("number " + text[:10], text) for text in numbers)
    if "string" in kinds:
        yield "NUL", '"a\\u0000b1234567"'
        yield "lone surrogate", '"a\\ud800b1234567"'
        yield "long", json.dumps(LONG)
        yield "very long", json.dumps(LONG * 10)
    if "object" in kinds:
        yield "unknown member", '{"surprise": "Zq"}'


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][route.template][route.method.lower()]
    return found


def body_schema(route: Route) -> dict[str, Any]:
    # A patch has two media types, and one schema.
    (content, *same) = operation(route)["requestBody"]["content"].values()
    assert all(each == content for each in same)
    schema: dict[str, Any] = content["schema"]
    return schema


def parameters(route: Route, place: str) -> list[dict[str, Any]]:
    found = [resolved(DOCUMENT["components"], each) for each in operation(route).get("parameters", ())]
    return [each for each in found if each["in"] == place]


def one_each() -> Iterator[Route]:
    """One row of the table for each operation of the API."""
    seen = set()
    for route in ROUTES:
        if route.template.startswith(V1) and (route.method, route.template) not in seen:
            seen.add((route.method, route.template))
            yield route


API: Final = tuple(one_each())
WITH_JSON: Final = tuple(route for route in API if route.json is not None)
WITH_BODY: Final = tuple(route for route in API if route.json is not None or route.form is not None)


def of(routes: tuple[Route, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=str)


async def checksum(sql: asyncpg.Connection, tables: list[str]) -> dict[str, str]:
    whole = "SELECT '{0}' AS name, md5(string_agg(row::text, '|' ORDER BY row::text)) AS sum FROM {0} AS row"
    rows = await sql.fetch(" UNION ALL ".join(whole.format(table) for table in tables))
    return {row["name"]: row["sum"] for row in rows}


@dataclass
class Sender:
    """Sends an authorized request with a fault in it; collects what is wrong with the responses."""

    api: Api
    request: dict[str, Any]
    faults: dict[str, str]

    @property
    def json(self) -> Any:
        return deepcopy(self.request.get("json"))

    async def send(
        self, what: str, *statuses: int, pointer: str | None = None, **changes: Any
    ) -> httpx2.Response:
        kept = {name: value for name, value in self.request.items() if name not in ("json", "data")}
        if "content" not in changes and "json" not in changes:
            kept = self.request
        answer = await self.api.request(**{**kept, **changes})
        if answer.status_code not in statuses:
            self.faults[what] = f"{answer.status_code} {answer.text[:200]}"
        elif pointer is not None and pointer not in pointers(answer):
            self.faults[what] = f"{pointer} is not among {pointers(answer)}"
        elif "ZqZq" in answer.text or len(answer.content) > 20_000:
            self.faults[what] = f"what was sent comes back: {len(answer.content)} bytes"
        return answer


def pointers(answer: httpx2.Response) -> list[str]:
    return [fault["pointer"] for fault in answer.json().get("errors", ())]


@pytest.fixture
async def sender(
    make: Make, route: Route, sql: asyncpg.Connection, tables: list[str]
) -> AsyncIterator[Sender]:
    """In the end nothing may have changed, in no table. That signing in was refused is written down."""
    tables = [table for table in tables if not (route.form and table.startswith("audit"))]
    owner = await make.user()
    request = await route.request(make, owner)
    admin = await make.admin()
    # What administrators may not see either is not theirs to be told of.
    sees = route.expects[-1] != 404
    before = await checksum(sql, tables)
    sender = Sender((admin if sees else owner).api, request, {})
    yield sender
    assert sender.faults == {}
    assert await checksum(sql, tables) == before


@of(WITH_JSON)
async def test_a_value_that_is_not_allowed_is_named(sender: Sender, route: Route) -> None:
    for field in fields(body_schema(route)):
        for name, text in bad_values(field):
            pointer = field.pointer + ("/surprise" if name == "unknown member" else "")
            content = json.dumps(placed(sender.json, field.path, RAW)).replace(f'"{RAW}"', text)
            await sender.send(f"{field.pointer} {name}", 422, pointer=pointer, content=content, headers=JSON)


@of(WITH_JSON)
async def test_a_field_that_is_not_known_is_named(sender: Sender, route: Route) -> None:
    for field in fields(body_schema(route)):
        if "object" in field.kinds:
            body = placed(sender.json, (*field.path, "surprise"), "Zq")
            await sender.send(field.pointer, 422, pointer=f"{field.pointer}/surprise", json=body)
    many = {f"surprise {number} {'x' * 100}": 1 for number in range(1_000)}
    await sender.send("many", 422, json=many)
    twice = b'{"surprise": 1, "other": 1, "surprise": 1}'
    await sender.send("twice", 422, pointer="/surprise", content=twice, headers=JSON)
    await sender.send("a lone surrogate", 422, content=b'{"\\ud800": 1}', headers=JSON)


@of(WITH_JSON)
async def test_what_is_not_json_is_400(sender: Sender, route: Route) -> None:
    bodies = (b"{", b"{'a': 1}", b"{}{}", b"nul", b'{"a": "\xff"}', b"\xff\xfe", b'{"a": 1,}', b"'")
    for content in (*bodies, b"NaN", b'{"a": NaN}', b"[Infinity]", b"[-Infinity]"):
        await sender.send(str(content), 400, content=content, headers=JSON)
    for content in (b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"1" * DEEP):
        await sender.send(str(content[:10]), 400, 422, content=content, headers=JSON)


@of(WITH_BODY)
async def test_another_media_type_is_415(sender: Sender, route: Route) -> None:
    for media in ("text/plain", "application/xml", "application/json/x", "json", ""):
        await sender.send(media, 415, content=b"Zq=1", headers={"Content-Type": media})
    await sender.send("none", 415, content=b"Zq=1", headers={})


@of(WITH_BODY)
async def test_too_large_a_body_is_413(sender: Sender, route: Route) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"Zq" * (MEGABYTE // 8)

    media = {"Content-Type": next(iter(operation(route)["requestBody"]["content"]))}
    await sender.send("in one piece", 413, content=b"Zq" * MEGABYTE, headers=media)
    await sender.send("in chunks", 413, content=in_chunks(), headers=media)
    await sender.send("announced", 413, content=b"{}", headers={**media, "Content-Length": "9" * 30})


@of(API)
async def test_an_answer_that_is_not_wanted_is_406(sender: Sender, route: Route) -> None:
    answers = operation(route)["responses"].items()
    if not any("content" in answer for status, answer in answers if int(status) < 400):
        return  # no response is needed
    for accept in ("text/html", "application/xml, image/*;q=0.5", "application/json;q=0", "*/*;q=0"):
        await sender.send(accept, 406, headers={"Accept": accept})


@of(tuple(route for route in API if route.form is None))
async def test_parameters_that_are_not_known_are_named(sender: Sender, route: Route) -> None:
    path = sender.request["url"].partition("?")[0]
    for name in ("surprise", "LIMIT", "limit[]", "\0", "s" * 100):
        await sender.send(repr(name), 422, pointer=f"?{name}", url=path, params={name: "1"})
    await sender.send("many", 422, url=path, params={f"surprise{number}": "Zq" * 5 for number in range(500)})


@of(tuple(route for route in API if parameters(route, "query")))
async def test_a_parameter_that_is_not_allowed_is_named(sender: Sender, route: Route) -> None:
    path = sender.request["url"].partition("?")[0]
    needed = dict([route.query[1:].split("=")]) if route.template.endswith("/compute") else {}
    for parameter in parameters(route, "query"):
        name, kinds = parameter["name"], Field((), parameter["schema"]).kinds
        values = ["a\0b", LONG, ""] if name != "cursor" else ["a\0b", LONG]
        if kinds != {"string"} or {"enum", "format"} & parameter["schema"].keys():
            values += [
                "Zq",
                "NaN",
                "Infinity",
                "1e400",
                "-1",
                "9" * 5_000,
                "\u0661",
                "1_0",
                "0x1",
                "null",
                "None",
            ]
        for value in values:
            await sender.send(
                f"{name} {value[:10]!r}", 422, pointer=f"?{name}", url=path, params={**needed, name: value}
            )
        twice = [*needed.items(), (name, "1"), (name, "1")]
        await sender.send(f"{name} twice", 422, pointer=f"?{name}", url=path, params=twice)


@of(tuple(route for route in API if parameters(route, "path")))
async def test_an_address_that_is_not_allowed_is_named(sender: Sender, route: Route) -> None:
    for parameter in parameters(route, "path"):
        await each_is_named(sender, route, parameter)


async def each_is_named(sender: Sender, route: Route, parameter: dict[str, Any]) -> None:
    """What may not stand in this one place of an address; in the others, if there are any, is 1."""
    head, _, tail = f"http://shop.test{route.template}".partition(f"{{{parameter['name']}}}")
    head, tail = (re.sub(r"\{\w+\}", "1", part) for part in (head, tail + route.query))
    bad = ["%00", "1%00", LONG]
    if parameter["schema"]["type"] == "integer":
        bad += [
            "0",
            "-1",
            "1.5",
            "abc",
            "9" * 30,
            "9" * 5_000,
            str(2**63),
            "%D9%A1",
            "1e1",
            "1_0",
            "null",
            "%FF",
        ]
    for each in bad:
        await sender.send(each[:10], 422, pointer=f"{{{parameter['name']}}}", url=f"{head}{each}{tail}")
    nowhere = "1/2" if parameter["schema"]["type"] == "integer" else "a/b"
    await sender.send("another address", 404, url=f"{head}{nowhere}{tail}")


@of(tuple(route for route in API if route.form is not None))
async def test_a_form_that_is_not_allowed_is_refused(sender: Sender, route: Route) -> None:
    for name in alternatives(body_schema(route))[0]["properties"]:
        # One kind of grant does not look at what belongs to another.
        form = {"grant_type": "refresh_token"} if name == "refresh_token" else sender.request["data"]
        statuses: tuple[int, ...] = (400,)
        if route.template.endswith("/revoke"):
            # Whatever is no token is as void as it can be (RFC 7009, section 2.2).
            form, statuses = {"token": "unknown"}, (200, 400)
        for value in ("a\0b", LONG, LONG * 10):
            await sender.send(f"{name} {value[:3]!r}", *statuses, data={**form, name: value})
    media = {"Content-Type": "application/x-www-form-urlencoded"}
    bodies = (
        b"",
        b"%ff=%ff",
        b"\xff=\xff",
        b"&" * DEEP,
        b"a=1&" * DEEP,
        b"=" * DEEP,
        b'{"grant_type": "password"}',
    )
    for content in bodies:
        await sender.send(str(content[:10]), 400, content=content, headers=media)


def test_the_table_has_a_body_where_the_documentation_has_one() -> None:
    assert [route for route in API if "requestBody" in operation(route)] == list(WITH_BODY)
