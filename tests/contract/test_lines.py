"""Text of one line is one line, shows something, and turns nothing around: in every field of every route.

The documentation says so in a pattern, which refuses what the service refuses.
"""

import re
from typing import Any, Final

import asyncpg
import pytest

from service.platform.http import text_validation
from tests.contract.test_bad_input import DOCUMENT, alternatives
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make

REFUSED: Final = {
    "NUL": "a\0b",
    "line feed": "a\nb",
    "tab": "a\tb",
    "escape": "a\x1b[2Jb",
    "delete": "a\x7fb",
    "C1 next line": "a\x85b",
    "C1 control sequence": "a\x9b2Jb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "embedding": "a\u202ab\u202c",
    "override": "exe.\u202efdp",
    "isolate": "a\u2067b\u2069",
    "first noncharacter": "a\ufdd0b",
    "noncharacter": "a\uffffb",
    "noncharacter of another plane": "a\U0001fffeb",
    "last noncharacter": "a\U0010ffffb",
}
BLANK: Final = {
    "nothing": "",
    "spaces": " \u3000\u2003 ",
    "zero width space": "\u200b",
    "blank of Braille": "\u2800",
    "filler of Hangul": "\u3164\u115f\uffa0",
    "soft hyphen": "\xad",
    "joiners": "\u200d\u200c\u2060",
    "byte order mark": "\ufeff",
    "marks of direction": "\u200e\u200f\u061c",
    "selectors": "\ufe0f\U000e0100",
    "tags": "\U000e0041",
    "a mixture": " \u200b\u2800\u00a0\u3164 ",
    "annotation": "\ufff9\ufffb",
}
TAKEN: Final = {
    "a letter": "a",
    "emoji of joined parts": "👩‍👩‍👧",
    "a flag of tags": "🏴\U000e0067\U000e0062\U000e007f",
    "a heart with its selector": "❤️",
    "Persian with a non-joiner": "می‌خواهم",
    "Hebrew with a mark": "\u200fשלום\u200e",
    "Hangul": "김치",
    "combined letters": "Zoe\u0308",
    "spaces around": "  Chai \u2029",
    "Braille": "\u2813\u2800\u2811",
}
PATTERN: Final = re.compile(text_validation.LINE)
LINES: Final = {text_validation.LINE, text_validation.LINE_OR_NONE}


def names_of_lines(schema: str) -> set[str]:
    """The fields of a schema that are documented as text of one line."""
    properties = DOCUMENT["components"]["schemas"][schema]["properties"]
    return {
        name
        for name, each in properties.items()
        if any(kind.get("pattern") in LINES for kind in alternatives(each))
    }


class TestPattern:
    @pytest.mark.parametrize("text", [*REFUSED.values(), *BLANK.values()], ids=[*REFUSED, *BLANK])
    def test_refuses(self, text: str) -> None:
        far = "\U000e0041" in text or "\U000e0100" in text
        assert bool(PATTERN.fullmatch(text)) is far
        with pytest.raises(ValueError, match=r"not allowed|blank"):
            text_validation.line(text.strip())

    @pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
    def test_takes(self, text: str) -> None:
        assert PATTERN.fullmatch(text)
        assert text_validation.line(text.strip()) == text.strip()

    def test_agrees_with_the_check_on_every_character(self) -> None:
        far = re.compile(f"[{text_validation._FAR_INVISIBLE}]")
        for code in (*range(0xD800), *range(0xE000, 0x110000)):
            letter = chr(code)
            for text in (letter, f"a{letter}b"):
                stripped = text.strip() if re.fullmatch(f"[{text_validation.SPACES}]", letter) else text
                try:
                    good = bool(text_validation.line(stripped))
                except ValueError:
                    good = False
                assert good == bool(PATTERN.fullmatch(text)) or far.fullmatch(text), hex(code)

    def test_is_on_every_field_that_it_should_be_on(self) -> None:
        assert {
            schema: names
            for schema in DOCUMENT["components"]["schemas"]
            if "properties" in DOCUMENT["components"]["schemas"][schema] and (names := names_of_lines(schema))
        } == {
            "AddressIn": {"street", "city", "name", "region", "postal_code"},
            "AddressPatch": {"street", "city", "name", "region", "postal_code"},
            "ShipToIn": {"street", "city", "name", "region", "postal_code"},
            "ApiKeyCreate": {"name"},
            "ApiKeyPatch": {"name"},
            "Cancellation": {"reason"},
            "ItemCreate": {"name", "sku", "category"},
            "ItemPatch": {"name", "sku", "category"},
            "OrderCreate": {"reference"},
            "Payment": {"reference"},
            "PostIn": {"title"},
            "PostPatch": {"title"},
            "ProfilePatch": {"full_name"},
            "Refund": {"reference"},
            "Shipment": {"tracking"},
            "StockChange": {"reason"},
            "UserCreate": {"full_name"},
            "WebhookCreate": {"description"},
            "WebhookPatch": {"description"},
        }


class TestService:
    @pytest.mark.parametrize("text", [*REFUSED.values(), *BLANK.values()], ids=[*REFUSED, *BLANK])
    async def test_refuses_in_bodies(self, api: Api, make: Make, sql: asyncpg.Connection, text: str) -> None:
        ada = await make.admin()
        maria = {"email": "m@shop.example", "password": "correct-horse-1"}
        answer = await api.post("/users", json={**maria, "full_name": text})
        assert_problem(answer, 422, "invalid_input", "/full_name")
        for path, body, pointer in (
            ("/items", {"name": text, "price": "1.00"}, "/name"),
            ("/items", {"name": "Chai", "price": "1.00", "sku": text}, "/sku"),
            ("/posts", {"title": text, "body": "x"}, "/title"),
        ):
            assert_problem(await ada.api.post(path, json=body), 422, "invalid_input", pointer)
        counts = await sql.fetchrow(
            "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM posts), (SELECT count(*) FROM users)"
        )
        assert tuple(counts or ()) == (0, 0, 1)

    @pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
    async def test_takes_in_bodies(self, make: Make, text: str) -> None:
        ada = await make.admin()
        body = {"name": text, "price": "1.00", "category": text}
        answer = await ada.api.post("/items", json=body)
        assert answer.status_code == 201
        assert (answer.json()["name"], answer.json()["category"]) == (text.strip(), text.strip())

    @pytest.mark.parametrize("text", [*REFUSED.values(), "\u200b"], ids=[*REFUSED, "zero width space"])
    async def test_refuses_in_queries(self, api: Api, text: str) -> None:
        for name in ("sku", "category"):
            answer = await api.get("/items", params={name: text})
            assert_problem(answer, 422, "invalid_input", f"?{name}")

    async def test_a_category_may_be_none(self, make: Make) -> None:
        ada = await make.admin()
        for text, status in (
            ("", 201),
            (" " * 100, 201),
            (" " * 101, 422),
            ("\u200b", 422),
            ("a\u202eb", 422),
        ):
            body = {"name": "Chai", "price": "1.00", "category": text}
            assert (await ada.api.post("/items", json=body)).status_code == status

    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ("One\n\ttwo\r\nthree", 201),
            ("One\u2028two", 201),
            ("\u202bשלום\u202c and \u2067שלום\u2069", 201),
            ("exe.\u202efdp", 422),
            ("a\u202db", 422),
            ("a\x1b[2J", 422),
            ("a\x0cb", 422),
            ("a\x85b", 422),
            ("a\uffffb", 422),
            ("\u200b\n\u2800", 422),
        ],
    )
    async def test_text_of_many_lines_may_set_its_direction_but_not_override_it(
        self, make: Make, text: str, status: int
    ) -> None:
        ada = await make.admin()
        answer = await ada.api.post("/posts", json={"title": "News", "body": text})
        assert answer.status_code == status
        pattern = re.compile(text_validation.PROSE_THAT_SHOWS)
        assert bool(pattern.fullmatch(text)) == (status == 201)

    @pytest.mark.parametrize(
        ("agent", "shown"),
        [
            (b"till/1.0", "till/1.0"),
            ("Käse/1 \u202eexe".encode(), "Käse/1 exe"),
            (b"a\x9b2Jb", "a 2Jb"),
            (b"caf\xe9/1", "café/1"),
            ("\u200b\u2800".encode(), None),
            (b"x" * 300, "x" * 200),
        ],
    )
    async def test_what_a_client_calls_itself_is_shown_as_a_line(
        self, api: Api, make: Make, agent: bytes, shown: Any
    ) -> None:
        maria = await make.user()
        form = {"grant_type": "password", "username": maria.email, "password": "correct-horse-1"}
        answer = await api.post("/auth/token", data=form, headers=[(b"User-Agent", agent)])
        signed_in = api.signed_in(answer.json()["access_token"])
        [current] = [each for each in (await signed_in.get("/auth/sessions")).json() if each["current"]]
        assert current["client"] == shown
