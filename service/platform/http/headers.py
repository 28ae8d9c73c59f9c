"""Header lines that come more than once (RFC 9110, section 5.3).

Those of a list are joined. Of the others one line is right, and the request does not say which: a header that
decides about the request is refused, one that only describes it is left out.
"""

from typing import Final

from service.platform.http.request_state import Refusal

Headers = list[tuple[bytes, bytes]]

LISTS: Final = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"access-control-request-headers",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"expect",
        b"if-match",
        b"if-none-match",
        b"tracestate",
        b"transfer-encoding",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    }
)
SINGLE: Final = frozenset(
    {
        b"access-control-request-method",
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-modified-since",
        b"if-unmodified-since",
        b"last-event-id",
        b"origin",
    }
)
DESCRIPTIVE: Final = frozenset({b"traceparent", b"user-agent", b"x-request-id"})


def combined(headers: Headers) -> tuple[Headers, Refusal | None]:
    """The headers, each of those that are read here once; and why the request is refused, if it is."""
    names = [name for name, _ in headers]
    if len(set(names)) == len(names):
        return headers, None
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    twice = {name for name, values in lines.items() if len(values) > 1}
    refused = sorted(twice & SINGLE)
    if refused:
        detail = f"The header {refused[0].decode().title()} came more than once. Send it once."
        return headers, Refusal(400, detail, "repeated_header")
    joined = [(name, b", ".join(lines[name])) for name in lines if name in twice & LISTS]
    return [each for each in headers if each[0] not in twice & (LISTS | DESCRIPTIVE)] + joined, None
