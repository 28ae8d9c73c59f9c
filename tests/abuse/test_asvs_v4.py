"""ASVS 5.0, V4: messages of HTTP, by sockets of the tests' own."""

import asyncio
import re
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.helpers.client import V1, Api
from tests.helpers.factories import Make

SMUGGLED: Final = b"GET /health HTTP/1.1\r\nHost: shop.example\r\n\r\n"
REVOKE: Final = (
    f"POST {V1}/auth/revoke HTTP/1.1\r\nHost: shop.example\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n"
)
CHUNKS: Final = "7\r\ntoken=x\r\n0\r\n\r\n"
#: Two readers of one of these could disagree about where it ends.
AMBIGUOUS: Final = {
    "length and coding": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": f"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{CHUNKS}",
    "two equal lengths": "Content-Length: 7\r\nContent-Length: 7\r\n\r\ntoken=x",
    "two lengths": "Content-Length: 7\r\nContent-Length: 0\r\n\r\ntoken=x",
    "a list of lengths": "Content-Length: 7, 7\r\n\r\ntoken=x",
    "a length with a sign": "Content-Length: +7\r\n\r\ntoken=x",
    "a negative length": "Content-Length: -7\r\n\r\ntoken=x",
    "a hexadecimal length": "Content-Length: 0x7\r\n\r\ntoken=x",
    "a length with an underscore": "Content-Length: 1_0\r\n\r\ntoken=x",
    "a length with a gap": "Content-Length: 7 7\r\n\r\ntoken=x",
    "a length of 23 digits": "Content-Length: 99999999999999999999999\r\n\r\ntoken=x",
    "a length in other digits": "Content-Length: \u0667\r\n\r\ntoken=x",
    "no length": "Content-Length: \r\n\r\ntoken=x",
    "a space before the colon of the coding": f"Transfer-Encoding : chunked\r\n\r\n{CHUNKS}",
    "a space before the colon of the length": "Content-Length : 7\r\n\r\ntoken=x",
    "an unknown coding": f"Transfer-Encoding: xchunked\r\n\r\n{CHUNKS}",
    "a vertical tab before the coding": f"Transfer-Encoding: \x0bchunked\r\n\r\n{CHUNKS}",
    "identity first": f"Transfer-Encoding: identity, chunked\r\n\r\n{CHUNKS}",
    "identity last": f"Transfer-Encoding: chunked, identity\r\n\r\n{CHUNKS}",
    "chunked twice": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}",
    "two codings": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{CHUNKS}",
    "a quoted coding": f'Transfer-Encoding: "chunked"\r\n\r\n{CHUNKS}',
    "a compressed coding": f"Transfer-Encoding: gzip, chunked\r\n\r\n{CHUNKS}",
    "an empty coding and a length": "Transfer-Encoding: \r\nContent-Length: 7\r\n\r\ntoken=x",
    "a folded coding": f"Transfer-Encoding:\r\n chunked\r\n\r\n{CHUNKS}",
    "a length in a folded line": "X: a\r\n Content-Length: 0\r\nContent-Length: 7\r\n\r\ntoken=x",
    "a chunk without its end": "Transfer-Encoding: chunked\r\n\r\n7\r\ntoken=xXX0\r\n\r\n",
    "a chunk that ends in LF": "Transfer-Encoding: chunked\r\n\r\n7\ntoken=x\n0\n\n",
    "a size that ends in LF": "Transfer-Encoding: chunked\r\n\r\n7\ntoken=x\r\n0\r\n\r\n",
    "an extension with LF": "Transfer-Encoding: chunked\r\n\r\n7;a\nb\r\ntoken=x\r\n0\r\n\r\n",
    "a size with 0x": "Transfer-Encoding: chunked\r\n\r\n0x7\r\ntoken=x\r\n0\r\n\r\n",
    "a size with a sign": "Transfer-Encoding: chunked\r\n\r\n+7\r\ntoken=x\r\n0\r\n\r\n",
    "a negative size": "Transfer-Encoding: chunked\r\n\r\n-7\r\ntoken=x\r\n0\r\n\r\n",
    "a space before the size": "Transfer-Encoding: chunked\r\n\r\n 7\r\ntoken=x\r\n0\r\n\r\n",
    "a space after the size": "Transfer-Encoding: chunked\r\n\r\n7 \r\ntoken=x\r\n0\r\n\r\n",
    "a size beyond 64 bits": "Transfer-Encoding: chunked\r\n\r\n10000000000000007\r\ntoken=x\r\n0\r\n\r\n",
    "a length in the trailer": f"Transfer-Encoding: chunked\r\n\r\n{CHUNKS[:-2]}Content-Length: 9\r\n\r\n",
    "an end with LF": "Transfer-Encoding: chunked\r\n\r\n7\r\ntoken=x\r\n0\r\n\n",
}
#: Each has a line that some readers take for two, or two for one.
LINES: Final = {
    "bare LF": (REVOKE.replace("\r\n", "\n") + "Content-Length: 7\n\ntoken=x").encode(),
    "bare CR": (REVOKE + "X: a\rContent-Length: 0\r\nContent-Length: 7\r\n\r\ntoken=x").encode(),
    "NUL in a value": (REVOKE + "X: a\0b\r\nContent-Length: 7\r\n\r\ntoken=x").encode(),
    "NUL in a name": (REVOKE + "X\0: a\r\nContent-Length: 7\r\n\r\ntoken=x").encode(),
    "a folded first line": REVOKE.replace("\r\n", "\r\n ", 1).encode() + b"Content-Length: 7\r\n\r\ntoken=x",
    "LF in the target": b"GET /health\nX: y HTTP/1.1\r\nHost: a\r\n\r\n",
    "tabs in the first line": b"GET\t/health\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
}


async def statuses(url: str, sent: bytes, *, answers: int) -> tuple[list[int], bool]:
    """The statuses of all answers, and whether the server has ended the connection.

    A connection that stays open is read until so many answers have come, and a moment longer.
    """
    split = urlsplit(url)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    writer.write(sent)
    received, ended = b"", False
    while not ended:
        enough = len(re.findall(rb"HTTP/1\.1 \d{3} ", received)) >= answers
        try:
            part = await asyncio.wait_for(reader.read(65_536), 0.1 if enough else 20)
        except TimeoutError:
            break
        received, ended = received + part, not part
    writer.close()
    await writer.wait_closed()
    found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
    return [status for status in found if status != 100], ended


@pytest.mark.parametrize("ending", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_v4_2_1_no_request_is_smuggled(url: str, ending: str) -> None:
    """It is refused and the connection ends: what comes after it gets no response."""
    found = await statuses(url, REVOKE.encode() + ending.encode() + SMUGGLED, answers=1)
    assert found in [([400], True), ([501], True)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("coding", ["length", "chunks"])
async def test_v4_2_1_a_body_that_is_not_wanted_is_no_request(url: str, method: str, coding: str) -> None:
    """Where a body means nothing, it is still a body and not the next request."""
    size = f"Content-Length: {len(SMUGGLED)}" if coding == "length" else "Transfer-Encoding: chunked"
    body = SMUGGLED if coding == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    head = f"{method} /livez HTTP/1.1\r\nHost: shop.example\r\n{size}\r\n\r\n"
    found, _ = await statuses(url, head.encode() + body, answers=1)
    assert len(found) == 1
    assert found[0] == (200 if method in {"GET", "HEAD"} else 405)


@pytest.mark.parametrize("sent", LINES.values(), ids=LINES)
async def test_v4_2_1_lines_of_a_head_end_in_crlf(url: str, sent: bytes) -> None:
    found = await statuses(url, sent + SMUGGLED, answers=1)
    assert found in [([400], True), ([505], True)]


async def test_v4_1_1_a_body_says_what_it_is(api: Api, url: str) -> None:
    """Text with its encoding; JSON has one alone (RFC 8259)."""
    for path in ("/", "/health", f"{V1}/items", f"{V1}/users/profile", "/nothing", "/openapi.json"):
        answer = await api.root(path)
        assert answer.headers["content-type"] in {"application/json", "application/problem+json"}, path
        answer.json()
    for path in ("/docs", "/redoc"):
        assert (await api.root(path)).headers["content-type"] == "text/html; charset=utf-8"


async def test_v4_1_3_no_header_changes_the_method_the_path_or_the_caller(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    """Those that proxies and frameworks elsewhere obey mean nothing here."""
    item, maria, ada = await make.item(stock=1), await make.user(), await make.admin()
    methods = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    paths = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Path")
    callers = ("X-User-ID", "X-Forwarded-User", "X-Remote-User", "X-Authenticated-User", "X-Admin")
    for header in methods:
        assert (await ada.api.get(f"/items/{item.id}", headers={header: "DELETE"})).json()[
            "is_active"
        ] is True
        fields = {"delta": 1, "reason": "Delivery"}
        answer = await ada.api.post(f"/items/{item.id}/stock", json=fields, headers={header: "DELETE"})
        assert answer.status_code == 200
    for header in paths:
        answer = await maria.api.get("/items/categories", headers={header: f"{V1}/admin/users"})
        assert (answer.status_code, answer.json()) == (200, [])
    for header in callers:
        headers = {header: str(ada.id)}
        assert (await maria.api.get("/admin/users", headers=headers)).status_code == 403
        assert (await api.get("/users/profile", headers=headers)).status_code == 401
    assert await sql.fetchval("SELECT is_active FROM items WHERE id = $1", item.id) is True
