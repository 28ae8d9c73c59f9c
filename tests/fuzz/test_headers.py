"""Whatever stands in a header: never a 5xx, and a refusal says which header it is about."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.platform.http.addresses import client_address
from tests.contract.conftest import short_streams
from tests.fuzz.profile import fuzzed, pieces
from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.platform.http.test_client_address import CLIENT, PROXY, TRUSTED

__all__ = ["short_streams"]

#: By header: parts of its grammar.
GRAMMARS: Final[dict[str, tuple[str, ...]]] = {
    "If-Match": ("*", '"', 'W/"', "1", "-", ",", " ", '""', "\t"),
    "If-None-Match": ("*", '"', 'W/"', "1", "-", ",", " ", "gzip", "\t"),
    "Idempotency-Key": ('"', "\\", "a", " ", "order-1", "x" * 255, "\t", ";"),
    "Accept": ("*/*", "application/", "json", ";q=", "0", "1.", "9" * 20, ",", "text", "/", "*", '"'),
    "Accept-Encoding": ("gzip", "br", "identity", ";q=", "0", ",", "*", " "),
    "Content-Type": (
        "application/",
        "json",
        "x-www-form-urlencoded",
        ";",
        "charset=",
        '"',
        "/",
        "merge-patch+",
    ),
    "Content-Encoding": ("gzip", "identity", ",", " ", "deflate", "br"),
    "Authorization": ("Bearer", " ", "tp_", "Basic", "x.y.z", "eyJ", ".", "="),
    "Last-Event-ID": ("0", "1", "-", "9" * 20, "e", "\u00b2", " "),
    "Host": ("shop.test", ":", "8000", "[", "]", "::1", "@", "/", "..", " "),
    "Range": ("bytes=", "0", "-", ",", "1", "9" * 20),
    "traceparent": ("00", "-", "0" * 32, "a" * 32, "f" * 16, "01", "ff"),
    "tracestate": ("a=1", ",", "=", "@", "vendor", "x" * 300),
    "X-Request-ID": ("known-id", "-", "_", "x" * 129, " "),
    "X-Forwarded-For": ("10.0.0.1", ",", " ", "unknown", "[", "]", ":", "::1", "_a"),
    "X-Forwarded-Proto": ("https", "http", ",", " ", ":"),
    "Forwarded": ("for=", '"', "[", "]", ";", "proto=https", "by=", ","),
    "Origin": ("https://", "shop.example", "null", ":", "/", "@"),
    "Prefer": ("return=", "minimal", "respond-async", ",", ";", "="),
    "If-Modified-Since": ("Mon, ", "30 Nov 2026", "00:00:00", " GMT", "9" * 20),
    "Expect": ("100-continue", ",", "200-ok"),
    "Cookie": ("a=1", ";", "=", '"'),
    "Access-Control-Request-Method": ("GET", "PATCH", ",", " "),
}
#: What no server lets through: a line's end, and NUL.
NEVER: Final = "\r\n\0"


@pytest.fixture
async def asked(make: Make, name: str) -> tuple[Api, dict[str, Any]]:
    """A client, and a request in which the header decides something; by default an item is read."""
    ada, item = await make.admin(), (await make.item()).id
    body = b'{"title": "News", "body": "Chai is back."}'
    post = {"method": "POST", "url": "/posts", "content": body}
    requests: dict[str, dict[str, Any]] = {
        "If-Match": {"method": "PATCH", "url": f"/items/{item}", "json": {"description": "Black"}},
        "Idempotency-Key": {**post, "headers": {"Content-Type": "application/json"}},
        "Content-Encoding": {**post, "headers": {"Content-Type": "application/json"}},
        "Content-Type": post,
        "Last-Event-ID": {"method": "GET", "url": "/notifications/stream"},
        "Access-Control-Request-Method": {"method": "OPTIONS", "url": "/items"},
    }
    client = make.api if name == "Authorization" else ada.api
    return client, requests.get(name, {"method": "GET", "url": f"/items/{item}"})


@pytest.mark.usefixtures("short_streams")
@pytest.mark.parametrize("name", GRAMMARS)
@fuzzed
@given(data=st.data())
async def test_what_a_header_says_is_never_a_fault_of_the_service(
    asked: tuple[Api, dict[str, Any]], name: str, data: st.DataObject
) -> None:
    client, request = asked
    value = data.draw(pieces(*GRAMMARS[name], alphabet="".join(map(chr, range(1, 256)))))
    encoded = "".join(each for each in value if each not in NEVER).strip().encode("latin-1", "replace")
    answer = await client.request(**{**request, "headers": {**request.get("headers", {}), name: encoded}})
    assert answer.status_code < 500, (encoded, answer.text)
    if answer.status_code in (400, 409, 415, 422, 428) and name != "Content-Type":
        problem = answer.json()
        said = problem["detail"] + " ".join(each["pointer"] for each in problem.get("errors", ()))
        assert name.lower() in said.lower(), (encoded, said)


@fuzzed
@given(
    value=pieces(CLIENT, "10.0.0.1", ",", " ", "unknown", "[", "]", ":", "::1", "::ffff:10.0.0.1", "%eth0")
)
def test_a_client_makes_no_address_up(value: str) -> None:
    """What stands left of a stranger's own entry is never believed."""
    forwarded = value.encode("latin-1", "replace")
    assert client_address(PROXY, [forwarded + b", 203.0.113.9"], TRUSTED) == "203.0.113.9"
    found = client_address(PROXY, [forwarded], TRUSTED)
    assert found is not None
    assert found.isascii()
    assert len(found) <= 45
