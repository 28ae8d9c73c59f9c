"""Bodies, parameters and media types that no honest client sends: a clean refusal each, never a 500."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person

JSON = {"Content-Type": "application/json"}
POST = {"title": "News", "body": "x"}


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


async def none_written(sql: asyncpg.Connection) -> bool:
    return bool(await sql.fetchval("SELECT count(*) = 0 FROM posts"))


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b'{"title":',
            b'{"title":NaN,"body":"x"}',
            b"[-Infinity]",
            b"nonsense",
            b"{'title': 'x'}",
            b'{"title":"a",}',
            b'"\x01"',
            b"{} {}",
            b" ",
        ],
        ids=repr,
    )
    async def test_malformed_json(self, maria: Person, sql: asyncpg.Connection, body: bytes) -> None:
        answer = await maria.api.post("/posts", content=body, headers=JSON)
        problem = assert_problem(answer, 400, "malformed_json", "")
        assert problem["errors"][0]["detail"] == "The body is not valid JSON: correct its syntax."
        assert await none_written(sql)

    @pytest.mark.parametrize(
        "body",
        [
            b'{"title":"\xff","body":"x"}',
            b"[" * 100_000,
            b'{"title":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            b"[" + b"[]," * 3_000 + b"[]]",
            b"{" + b",".join(b'"k%d":1' % n for n in range(3_000)) + b"}",
            b'{"title":' + b"[" * 17 + b"]" * 17 + b"}",
        ],
        ids=["not UTF-8", "deep", "closed", "3,000 lists", "3,000 names", "17 levels"],
    )
    async def test_json_that_cannot_be_read(
        self, maria: Person, sql: asyncpg.Connection, body: bytes
    ) -> None:
        answer = await maria.api.post("/posts", content=body, headers=JSON)
        assert_problem(answer, 400, "bad_request")
        assert await none_written(sql)

    async def test_a_number_of_thousands_of_digits_is_named(
        self, maria: Person, sql: asyncpg.Connection
    ) -> None:
        body = b'{"title":' + b"9" * 5_000 + b',"body":"x"}'
        answer = await maria.api.post("/posts", content=body, headers=JSON)
        assert_problem(answer, 422, "invalid_input", "/title")
        assert await none_written(sql)

    @pytest.mark.parametrize("body", [b"null", b"[]", b"1", b'"text"', b"true", b""], ids=repr)
    async def test_no_object(self, maria: Person, sql: asyncpg.Connection, body: bytes) -> None:
        answer = await maria.api.post("/posts", content=body, headers=JSON)
        assert_problem(answer, 422, "invalid_input", "")
        assert await none_written(sql)

    @pytest.mark.parametrize(
        "value",
        [
            b'"\\ud800"',
            b'"\\udfff tail"',
            b'"\xed\xa0\x80"',
            b'"nul\\u0000"',
            b"-1e999999",
            b"123456789012345678901234567890",
            b"{}",
            b"true",
            b'"' + b"x" * 10_001 + b'"',
        ],
        ids=lambda value: repr(value[:20]),
    )
    @pytest.mark.parametrize("field", ["title", "body"])
    async def test_values_that_are_no_text(
        self, maria: Person, sql: asyncpg.Connection, field: str, value: bytes
    ) -> None:
        fields = {"title": b'"News"', "body": b'"x"', field: value}
        content = b'{"title":%b,"body":%b}' % (fields["title"], fields["body"])
        answer = await maria.api.post("/posts", content=content, headers=JSON)
        assert_problem(answer, 422, "invalid_input", f"/{field}")
        assert await none_written(sql)

    @pytest.mark.parametrize(
        ("name", "pointer"),
        [
            ("Title", "/Title"),
            ("a/b~c", "/a~1b~0c"),
            ("", "/"),
            ("__class__", "/__class__"),
            ("n\0l", "/n\0l"),
            ("k" * 100_000, "/" + "k" * 199),
        ],
        ids=lambda text: repr(text[:10]),
    )
    async def test_unknown_fields(
        self, maria: Person, sql: asyncpg.Connection, name: str, pointer: str
    ) -> None:
        answer = await maria.api.post("/posts", json={**POST, name: "value-of-it"})
        assert_problem(answer, 422, "invalid_input", pointer)
        assert "value-of-it" not in answer.text
        assert len(answer.content) < 2_000
        assert await none_written(sql)

    async def test_a_name_that_is_no_text(self, maria: Person, sql: asyncpg.Connection) -> None:
        content = b'{"title":"a","body":"b","\\ud800":1}'
        answer = await maria.api.post("/posts", content=content, headers=JSON)
        assert answer.status_code == 422
        assert answer.json()["code"] == "invalid_input"
        assert await none_written(sql)

    async def test_a_long_text_may_have_any_signs(self, maria: Person) -> None:
        body = '[],{}\\",\n' * 1_000
        answer = await maria.api.post("/posts", json={"title": "a" * 5, "body": body})
        assert (answer.status_code, answer.json()["body"]) == (201, body)
        escaped = json.dumps({"title": "\U0001f600" * 200, "body": "\U0001f600" * 10_000}).encode()
        assert len(escaped) > 120_000
        assert (await maria.api.post("/posts", content=escaped, headers=JSON)).status_code == 201

    async def test_of_very_many_faults_the_first_are_named(self, maria: Person) -> None:
        answer = await maria.api.post("/posts", json={**POST, **{f"k{n}": 1 for n in range(1_500)}})
        assert_problem(answer, 422, "invalid_input", *(f"/k{n}" for n in range(50)))
        assert len(answer.content) < 10_000

    @pytest.mark.parametrize(
        ("path", "content", "pointer"),
        [
            ("/posts", b'{"title":"first","title":"second","body":"x"}', "/title"),
            ("/posts", b'{"title":"same","title":"same","body":"x"}', "/title"),
            ("/posts", b'{"title":"x","body":"x","a/b":{"c":[1,{"d~":1,"d~":2}]}}', "/a~1b/c/1/d~0"),
            ("/posts", b'{"title":"x","body":"x","\\u0061":1,"a":2}', "/a"),
            ("/orders", b'{"lines":[{"product_id":1,"quantity":1,"quantity":9}]}', "/lines/0/quantity"),
            ("/orders", b'[{"":1,"":2}]', "/0/"),
        ],
    )
    async def test_a_name_that_comes_twice_is_refused(
        self, maria: Person, sql: asyncpg.Connection, path: str, content: bytes, pointer: str
    ) -> None:
        """Which of both is meant, readers disagree on: RFC 8259, section 4."""
        answer = await maria.api.post(path, content=content, headers=JSON)
        problem = assert_problem(answer, 422, "invalid_input", pointer)
        assert problem["errors"][0]["code"] == "repeated_name"
        assert await none_written(sql)


class TestForms:
    FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # noqa: RUF012

    @pytest.fixture
    async def cheese(self, make: Make) -> Person:
        """A user whose password has a character that is not in ASCII."""
        ana = await make.user()
        change = {"current_password": PASSWORD, "new_password": "K\u00e4sebrot-1"}
        assert (await ana.api.post("/users/profile/password", json=change)).status_code == 204
        return ana

    @pytest.mark.parametrize("password", ["K\u00e4sebrot-1", "K%C3%A4sebrot-1"])
    async def test_one_in_utf_8_escaped_or_not(self, api: Api, cheese: Person, password: str) -> None:
        form = f"grant_type=password&username={cheese.email}&password={password}".encode()
        answer = await api.post("/auth/token", content=form, headers=self.FORM)
        assert (answer.status_code, "access_token" in answer.json()) == (200, True)

    @pytest.mark.parametrize("value", [b"K\xe4sebrot-1", b"K%E4sebrot-1", b"\xff", b"%ff", b"%ed%a0%80"])
    async def test_one_that_is_not_utf_8(self, api: Api, cheese: Person, value: bytes) -> None:
        form = b"grant_type=password&username=%b&password=%b" % (cheese.email.encode(), value)
        answer = await api.post("/auth/token", content=form, headers=self.FORM)
        refusal = {
            "error": "invalid_request",
            "error_description": "The form is not valid UTF-8: encode it in UTF-8.",
        }
        assert (answer.status_code, answer.json()) == (400, refusal)

    @pytest.mark.parametrize("path", ["/auth/token", "/auth/revoke"])
    @pytest.mark.parametrize("name", ["username", "token", "grant_type", "surprise", "%75sername"])
    async def test_a_parameter_that_comes_twice(self, api: Api, maria: Person, path: str, name: str) -> None:
        """RFC 6749, section 3.2."""
        form = f"grant_type=password&token=x&{name}=a&username={maria.email}&password=x&{name}=a".encode()
        answer = await api.post(path, content=form, headers=self.FORM)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert "comes twice" in answer.json()["error_description"]

    async def test_one_of_very_many_fields(self, api: Api) -> None:
        form = "&".join(f"k{n}=1" for n in range(65)).encode()
        answer = await api.post("/auth/revoke", content=form, headers=self.FORM)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


class TestMediaTypes:
    @pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, gzip", "zstd"])
    async def test_a_compressed_body_is_415(
        self, maria: Person, sql: asyncpg.Connection, coding: str
    ) -> None:
        """RFC 9110, section 15.5.16: `Accept-Encoding` says what is accepted."""
        headers = {**JSON, "Content-Encoding": coding}
        answer = await maria.api.post("/posts", content=gzip.compress(b"{}"), headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")
        assert answer.headers["accept-encoding"] == "identity"
        assert await none_written(sql)

    async def test_one_that_is_said_not_to_be_is_read(self, maria: Person) -> None:
        headers = {**JSON, "Content-Encoding": "identity"}
        content = json.dumps(POST).encode()
        assert (await maria.api.post("/posts", content=content, headers=headers)).status_code == 201

    async def test_a_compressed_form_is_415(self, api: Api) -> None:
        headers = {**TestForms.FORM, "Content-Encoding": "gzip"}
        answer = await api.post("/auth/token", content=gzip.compress(b"a=1"), headers=headers)
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")

    async def test_an_empty_body_in_chunks_needs_no_type(self, make: Make, maria: Person) -> None:
        """As it needs none with a length of 0."""

        async def nothing() -> AsyncIterator[bytes]:
            for _ in range(0):
                yield b""

        item = await make.item(stock=5)
        for content in (nothing(), b""):
            made = await maria.api.post("/orders", json={"product_id": item.id, "quantity": 1})
            answer = await maria.api.post(f"/orders/{made.json()['id']}/cancel", content=content)
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    async def test_one_in_chunks_that_is_not_empty_does(self, maria: Person) -> None:
        async def something() -> AsyncIterator[bytes]:
            yield b"x"

        assert_problem(await maria.api.post("/posts", content=something()), 415, "unsupported_media_type")

    @pytest.mark.parametrize(
        "media",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/merge-patch+json",
            "application/jsonp",
            "application/json/x",
            "json",
            "",
        ],
    )
    async def test_other_bodies_are_415(self, maria: Person, sql: asyncpg.Connection, media: str) -> None:
        content = json.dumps(POST).encode()
        answer = await maria.api.post("/posts", content=content, headers={"Content-Type": media})
        problem = assert_problem(answer, 415, "unsupported_media_type")
        assert problem["detail"] == "Send the body as application/json."
        assert await none_written(sql)

    async def test_a_body_of_no_type_is_415(self, maria: Person, sql: asyncpg.Connection) -> None:
        assert_problem(await maria.api.post("/posts", content=b"{}"), 415, "unsupported_media_type")

    @pytest.mark.parametrize(
        "media", ["application/json; charset=utf-8", "Application/JSON", "application/json;"]
    )
    async def test_json_by_any_spelling(self, maria: Person, media: str) -> None:
        content = json.dumps(POST).encode()
        answer = await maria.api.post("/posts", content=content, headers={"Content-Type": media})
        assert answer.status_code == 201

    async def test_where_no_body_is_wanted_its_type_does_not_matter(self, maria: Person) -> None:
        answer = await maria.api.post(
            "/notifications/read", content=b"x", headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "accept",
        [
            "*/*",
            "application/json",
            "application/*",
            "APPLICATION/JSON",
            "text/html, application/json;q=0.1",
            "text/html, */*;q=0.001",
            "application/json; charset=utf-8",
            "",
        ],
    )
    async def test_accepted(self, api: Api, accept: str) -> None:
        assert (await api.get("/posts", headers={"Accept": accept})).status_code == 200

    @pytest.mark.parametrize(
        "accept",
        [
            "text/html",
            "text/*",
            "application/xml",
            "application/json;q=0",
            "application/json; Q=0.000",
            "nonsense",
            ",",
        ],
    )
    async def test_not_acceptable(self, api: Api, accept: str) -> None:
        problem = assert_problem(await api.get("/posts", headers={"Accept": accept}), 406, "not_acceptable")
        assert problem["detail"] == "This operation answers with application/json only: name it in Accept."

    async def test_what_answers_nothing_is_acceptable_to_all(self, make: Make, maria: Person) -> None:
        for accept in ("application/json", "text/html"):
            path = f"/posts/{await make.post(maria)}"
            assert (await maria.api.delete(path, headers={"Accept": accept})).status_code == 204


class TestParameters:
    def codes(self, answer: httpx2.Response) -> set[str]:
        return {fault["code"] for fault in answer.json()["errors"]}

    @pytest.mark.parametrize(
        ("path", "pointers"),
        [
            ("/posts?page=2", ["?page"]),
            ("/posts?Limit=2", ["?Limit"]),
            ("/posts?b=1&a=2&limit=1", ["?a", "?b"]),
            ("/posts/1?limit=1", ["?limit"]),
            ("/posts?=1", ["?"]),
            ("/posts?%00=1", ["?\0"]),
            ("/posts?%ff", ["?\ufffd"]),
            ("/users/profile?x", ["?x"]),
        ],
    )
    async def test_unknown_ones_are_named(self, maria: Person, path: str, pointers: list[str]) -> None:
        answer = await maria.api.get(path)
        assert_problem(answer, 422, "invalid_input", *pointers)
        assert self.codes(answer) == {"unknown_parameter"}

    async def test_on_routes_that_write_too(self, maria: Person, sql: asyncpg.Connection) -> None:
        answer = await maria.api.post("/posts?dry_run=1", json=POST)
        assert_problem(answer, 422, "invalid_input", "?dry_run")
        assert await none_written(sql)

    async def test_of_very_many_the_first_are_named(self, api: Api) -> None:
        answer = await api.get("/posts?" + "&".join(f"k{n}=1" for n in range(1_000)))
        assert len(answer.json()["errors"]) == 20

    @pytest.mark.parametrize(
        "value",
        ["%00", "%ff", "%D9%A1", "1e1", "0x1", "1.5", "", "+", "null", "9" * 5_000, "-9223372036854775809"],
    )
    async def test_numbers_that_are_none(self, api: Api, value: str) -> None:
        assert_problem(await api.get(f"/posts?limit={value}"), 422, "invalid_input", "?limit")
        if value not in {"", "+"}:
            assert_problem(await api.get(f"/posts/{value}"), 422, "invalid_input", "{post_id}")

    async def test_no_value_is_repeated(self, make: Make) -> None:
        ada = await make.admin()
        for path in ("/posts?limit=hunter2", "/posts/hunter2", "/admin/users?is_active=hunter2"):
            answer: Any = await ada.api.get(path)
            assert answer.status_code == 422
            assert "hunter2" not in answer.text
