"""The most expensive requests within the limits, each made to take long to read."""

import json
from typing import Any, Final

KIB: Final = 1024
JSON: Final = {"Content-Type": "application/json"}
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
#: What the server's own bound of a request's head leaves for one header, and for a query.
HEADER: Final = 60 * KIB
QUERY: Final = 7 * KIB


def filled(unit: str, size: int) -> str:
    return unit * (size // len(unit))


def bodies(size: int) -> dict[str, bytes]:
    """JSON of about so many bytes, by what is bad about it."""
    room = size - 100
    many = "[" + filled("[],", room) + "[]]"
    names = ",".join(f'"k{number}":1' for number in range(room // 12))
    texts = {
        "unknown names": "{" + names + "}",
        "two thousand unknown names": json.dumps({f"k{number}": 1 for number in range(1_990)}),
        "one name again and again": "{" + filled('"a":1,', room) + '"a":1}',
        "empty lists": many,
        "empty lists for lines": '{"lines":' + many + "}",
        "empty objects": "[" + filled("{},", room) + "{}]",
        "objects with a name twice": "[" + filled('{"a":1,"a":2},', room) + "{}]",
        "bad items": "["
        + filled('{"name":{},"price":"x","sku":[],"stock":"y"},', min(room, 120_000))
        + "{}]",
        "numbers": "[" + filled("1e9,", room) + "1]",
        "long numbers": "[" + filled("9" * 4_299 + ",", room) + "1]",
        "prices of many digits": "[" + filled('{"name":"n","price":' + "9" * 4_299 + "},", room) + "{}]",
        "short texts": "[" + filled('"",', room) + '""]',
        "texts without an end": '["' + filled(',\\"', room),
        "escapes": '{"title":"' + filled("\\u0041", room) + '"}',
        "an address of many parts": '{"email":"' + filled("a.", room) + '@shop.example"}',
        "depth": filled("[", room),
        "depth that ends": "[" * (room // 2) + "]" * (room // 2),
        "a long name": '{"' + filled("~", room) + '":1}',
        "spaces": filled(" ", room),
    }
    return {name: text.encode() for name, text in texts.items()}


def plain(size: int) -> bytes:
    """A body of that size with nothing bad about it but its one field."""
    return b'{"surprise":"' + b"x" * (size - 100) + b'"}'


def forms(size: int) -> dict[str, bytes]:
    room = size - 100
    texts = {
        "percents": filled("%", room),
        "escaped": "username=" + filled("%41", room),
        "escaped password": "grant_type=password&username=a&password=" + filled("%c3%a9", room),
        "fields": "&".join(f"k{number}=1" for number in range(room // 9)),
        "no fields": filled("&", room),
        "empty fields": filled("=&", room),
        "spaces": "a=" + filled("+", room),
    }
    return {name: text.encode() for name, text in texts.items()}


def plain_form(size: int) -> bytes:
    return b"surprise=" + b"x" * (size - 100)


HEADERS: Final[dict[str, dict[str, str]]] = {
    "media types": {"Accept": filled("a,", HEADER)},
    "weights": {"Accept": "a/b;" + filled("q=1;", HEADER)},
    "tags": {"If-None-Match": filled('"a",', HEADER)},
    "quotes": {"If-None-Match": filled('"', HEADER)},
    "versions": {"If-Match": filled('"1-aaaaaaaa",', HEADER)},
    "weak tags": {"If-Match": filled("W/", HEADER)},
    "proxies": {"X-Forwarded-For": filled("1.1.1.1,", HEADER)},
    "forwarded": {"Forwarded": filled("for=1.1.1.1,", HEADER)},
    "cookies": {"Cookie": filled("a=b;", HEADER)},
    "quoted cookies": {"Cookie": filled('a="\\101";', HEADER)},
    "a long token": {"Authorization": "Bearer " + filled("a", HEADER)},
    "a token of parts": {"Authorization": "Bearer " + filled("a.", HEADER)},
    "a long key": {"Authorization": "Bearer tp_" + filled("a", HEADER)},
    "a long idempotency key": {"Idempotency-Key": filled('"', HEADER)},
    "parameters of a type": {"Content-Type": "application/json;" + filled("a=b;", HEADER)},
    "codings": {"Content-Encoding": filled("gzip,", HEADER)},
    "a long request id": {"X-Request-ID": filled("a", HEADER)},
    "an event's id": {"Last-Event-ID": filled("9", HEADER)},
    "an origin": {"Origin": "https://" + filled("a.", HEADER)},
    "traces": {"traceparent": "00-" + filled("a", HEADER // 2), "tracestate": filled("a=b,", HEADER // 2)},
    "many": {f"x{number}": "x" * 600 for number in range(90)},
}
PLAIN_HEADER: Final = {"X-Surprise": "x" * HEADER}
QUERIES: Final = {
    "names": "&".join(f"k{number}" for number in range(1_200)),
    "one name": filled("limit=1&", QUERY),
    "nothing": filled("&", QUERY),
    "escaped": "search=" + filled("%41", QUERY),
    "digits": "skip=" + filled("9", QUERY),
    "a cursor": "cursor=" + filled("a", 1_900),
    "an amount": "min_price=" + filled("9", QUERY),
    "a time": "updated_since=" + filled("9", QUERY),
}
PLAIN_QUERY: Final = "surprise=" + "x" * QUERY

Request = dict[str, Any]


def sized(size: int, *, form: bool) -> tuple[Request, dict[str, Request]]:
    """A plain request of a route with a body, and the dearest ones of the same size."""
    media, simple, worst = (
        (FORM, plain_form(size), forms(size)) if form else (JSON, plain(size), bodies(size))
    )
    requests = {name: {"content": content, "headers": media} for name, content in worst.items()}
    return {"content": simple, "headers": media}, requests
