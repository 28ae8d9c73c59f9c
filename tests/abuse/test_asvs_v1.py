"""ASVS 5.0, V1: encoding and sanitization."""

import ast
import json
from typing import Any, Final

import asyncpg
import pytest

from service.container.api import Container
from tests.abuse.source import calls, files_that_import
from tests.contract.test_bad_input import DOCUMENT
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.mailbox import mails_to, text_of

#: Whatever interprets one of these finds something to do.
CODE: Final = "{{7*7}} ${7*7} <%= 7*7 %> #{7*7} %s %(x)s {0} {0.__class__} {full_name} __import__('os')"
SQL: Final = (
    "' OR '1'='1",
    "1; DROP TABLE users --",
    "') UNION SELECT password_hash FROM users --",
    "\\' OR 1=1 --",
    "$$; SELECT pg_sleep(10); $$",
    "1/**/OR/**/1=1",
    "%27%20OR%201=1",
)
#: Beyond what 32 bits, 64 bits and a float hold, and what is written like a number.
EDGES: Final = (
    "-1", "0", "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "1e400", "NaN",
    "9" * 400, "0x10", "1_000", "١٢", "+1", "1.0", " 1", "1%00", "-0", "Infinity",
)  # fmt: skip


async def test_v1_1_1_input_is_decoded_once(api: Api, make: Make) -> None:
    """What is encoded twice keeps one layer: nothing that was checked changes afterwards."""
    named = await make.item(name="100% tea", category="%2541", sku="A-%41")
    await make.item(name="Plain", category="%41", sku="A-A")
    for query, skus in (
        ("category=%252541", ["A-%41"]),
        ("category=%2541", ["A-A"]),
        ("sku=A-%2541", ["A-%41"]),
    ):
        assert [item["sku"] for item in (await api.get(f"/items?{query}")).json()] == skus, query
    assert (await api.get(f"/items/%3{named.id % 10}")).status_code in (200, 404)
    assert_problem(await api.get(f"/items/%253{named.id % 10}"), 422, "invalid_input", "{item_id}")
    ada = await make.admin()
    body = rb'{"name": "\\u0041 \u0041", "price": "1.00"}'
    answer = await ada.api.post("/items", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["name"] == r"\u0041 A"


async def test_v1_2_1_values_in_headers_begin_no_header(api: Api, make: Make) -> None:
    """What a client sends comes back in Link, X-Request-ID and Location: as one value or not at all."""
    category = '">; rel="next", <http://evil.example/>; x="'
    for number in range(2):
        await make.item(name=f"Tea {number}", category=category)
    answer = await api.get("/items", params={"category": category, "limit": 1})
    link = answer.headers["link"]
    assert (link.count("<"), link.count(">"), link.count('"')) == (1, 1, 2)
    assert link.startswith("</api/v1/items?category=%22%3E%3B")
    assert link.endswith('; rel="next"')
    for sent in ("aaaaaaaa\tb", "aaaaaaaa b", 'aaaaaaaa"', "<script>aaaa", "a" * 129):
        answer = await api.get("/items", headers={"X-Request-ID": sent})
        assert (answer.status_code, len(answer.headers["x-request-id"])) == (200, 32)
        assert answer.headers["x-request-id"].isalnum()
    for query in ("%0d%0aX-Evil:%201", "%E5%98%8A%E5%98%8DX-Evil:%201", "%0aX-Evil:1%0a"):
        answer = await api.get(f"/items?limit=1&category={query}")
        assert "x-evil" not in answer.headers
        assert all(set(value).isdisjoint("\r\n") for value in answer.headers.values())
    ada = await make.admin()
    answer = await ada.api.post("/items", json={"name": "x", "price": "1.00", "sku": "A\r\nX-Evil: 1"})
    assert_problem(answer, 422, "invalid_input", "/sku")


async def test_v1_2_3_text_in_json_stays_text(make: Make, api: Api, sql: asyncpg.Connection) -> None:
    """Whether PostgreSQL or pydantic has written the document."""
    text = '"}],"is_admin":true,"x":[{"\\" \\u0022 \\\\ </script><!-- \ufeff \ud7ff \U0001f375 \x7f'
    text = text.replace("\x7f", "")
    body = f"{text}\n\t\u2028 \u2029"
    item = await make.item(name=text.strip(), description=body, category=text.strip()[:100])
    for path in (f"/items/{item.id}", "/items", "/items/categories"):
        shown = (await api.get(path)).text
        found = json.loads(shown)
        first = found[0] if isinstance(found, list) else found
        assert first.get("name", text.strip()) == text.strip()
        assert first.get("description", body) == body
        assert "is_admin" not in first
    assert (await api.get("/items")).headers["content-type"] == "application/json"


def _queries() -> dict[str, list[str]]:
    """Each path that takes query parameters, with their names, as the documentation has them."""
    found = {
        path: [
            parameter["name"]
            for parameter in map(_resolved, operations.get("get", {}).get("parameters", ()))
            if parameter["in"] == "query"
        ]
        for path, operations in DOCUMENT["paths"].items()
    }
    return {path: names for path, names in found.items() if names}


def _resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in parameter:
        return parameter
    found: dict[str, Any] = DOCUMENT["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return found


@pytest.mark.parametrize(("path", "names"), _queries().items(), ids=str)
async def test_v1_2_4_sql_in_a_parameter_is_a_value(
    api: Api, make: Make, sql: asyncpg.Connection, path: str, names: list[str]
) -> None:
    """Of every parameter: the answer has nothing, or names the parameter."""
    ada, item = await make.admin(), await make.item(name="Chai", category="Tea")
    place = path.removeprefix("/api/v1").replace("{webhook_id}", "1")
    since = {"updated_since": "2026-01-01T00:00:00Z"} if path.endswith("/removed") else {}
    for name in names:
        for text in SQL:
            answer = await ada.api.get(place, params={**since, name: text})
            if answer.status_code == 422:
                assert_problem(answer, 422, "invalid_input", f"?{name}")
            elif answer.status_code == 200:
                assert answer.json() == [], (name, text)
            else:
                # A ticket that is none, and the deliveries of a webhook that there is not.
                assert (answer.status_code, name in {"ticket", "status"}) in {(401, True), (404, True)}
    assert await sql.fetchval("SELECT count(*) FROM items WHERE id = $1", item.id) == 1


def test_v1_2_5_no_shell_is_called() -> None:
    """Processes are started by lists of constant words, and nothing of a request is among them."""
    started = {place for place, name, _ in calls() if name.startswith("subprocess.")}
    assert started == {"service/invoices/renderer_process.py"}
    assert [place for place, name, _ in calls() if name in {"os.system", "os.popen"}] == []
    shells = [
        place
        for place, _, call in calls()
        for keyword in call.keywords
        if keyword.arg == "shell" and ast.unparse(keyword.value) != "False"
    ]
    assert shells == []


def test_v1_2_9_no_pattern_is_made_of_input() -> None:
    """Patterns are constants of their modules, or made of such; SQL's are escaped by the database's own."""
    made = {
        (place, ast.unparse(call.args[0]))
        for place, name, call in calls()
        if name.startswith("re.") and call.args and not _is_constant(call.args[0])
    }
    # A helper of settings' types, which is given constants.
    assert made == {("service/platform/config/types.py", "pattern")}
    assert [place for place, name, _ in calls() if name.endswith(("regexp_match", "op('~')"))] == []


def _is_constant(node: ast.expr) -> bool:
    """A text, or names in capital letters and constants put together."""
    if isinstance(node, ast.JoinedStr):
        return all(_is_constant(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _is_constant(node.value)
    if isinstance(node, ast.BinOp):
        return _is_constant(node.left) and _is_constant(node.right)
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node).removesuffix(".pattern").rpartition(".")[2].isupper()
    return isinstance(node, ast.Constant)


def test_v1_3_2_no_text_is_run_as_code() -> None:
    named = {"eval", "exec", "compile", "__import__", "os.execvp", "runpy.run_path"}
    assert [(place, name) for place, name, _ in calls() if name in named] == []


async def test_v1_3_7_templates_and_formats_are_text(
    api: Api, make: Make, container: Container, sql: asyncpg.Connection
) -> None:
    """What is written in the languages of templates and formats comes out as it went in, in emails too."""
    answer = await api.post(
        "/users", json={"email": "code@shop.example", "password": PASSWORD, "full_name": CODE}
    )
    assert (answer.status_code, answer.json()["full_name"]) == (201, CODE)
    token = (await api.token("code@shop.example", PASSWORD)).json()["access_token"]
    await mails_to(container, "code@shop.example")
    # Only a verified address is sent words of its owner.
    await sql.execute("UPDATE users SET email_verified = true")
    client = api.signed_in(token)
    post = await client.post("/posts", json={"title": CODE, "body": CODE})
    assert (post.json()["title"], post.json()["body"]) == (CODE, CODE)
    item = await make.item(name=CODE, stock=5)
    order = await client.post("/orders", json={"product_id": item.id, "quantity": 1})
    assert order.json()["lines"][0]["name"] == CODE
    written = "\n".join(map(text_of, await mails_to(container, "code@shop.example")))
    assert CODE in written
    assert "49" not in written.replace(CODE, "")


@pytest.mark.parametrize("path", sorted(path for path in DOCUMENT["paths"] if "_id}" in path))
async def test_v1_4_2_integers_at_their_edges(make: Make, sql: asyncpg.Connection, path: str) -> None:
    """An id that no table can hold is named, one that could be is not found; nothing is a fault of ours."""
    ada = await make.admin()
    name = path[path.index("{") + 1 : path.index("}")]
    for operation in DOCUMENT["paths"][path].keys() & {"get", "delete"}:
        for edge in EDGES:
            place = path.removeprefix("/api/v1").replace(f"{{{name}}}", edge).replace("{delivery_id}", "1")
            answer = await ada.api.request(operation.upper(), place)
            expected = {404} if edge in {"9223372036854775807", "2147483648"} else {422}
            assert answer.status_code in expected | {404, 422}, (edge, answer.text)
            if answer.status_code == 422:
                assert_problem(answer, 422, "invalid_input", f"{{{name}}}")


async def test_v1_5_1_no_xml_is_parsed(make: Make) -> None:
    """There is no parser, and a document with an external entity is refused by its media type."""
    assert files_that_import("xml", "lxml", "defusedxml", "html.parser") == set()
    maria = await make.user()
    entity = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    for media in ("application/xml", "text/xml", "application/json+xml", "image/svg+xml"):
        answer = await maria.api.post("/posts", content=entity, headers={"Content-Type": media})
        assert_problem(answer, 415, "unsupported_media_type")


def test_v1_5_2_nothing_of_clients_is_unpickled() -> None:
    """Invoices go to the process that renders them as pickles, and come back as plain bytes."""
    assert files_that_import("marshal", "shelve", "yaml", "jsonpickle", "dill") == set()
    read = [
        place for place, name, _ in calls() if name in {"pickle.loads", "pickle.load", "pickle.Unpickler"}
    ]
    assert read == ["service/invoices/renderer.py"]
    written = [place for place, name, _ in calls() if name == "pickle.dumps"]
    assert written == ["service/invoices/queue.py"]
