"""The head of a request: how large it may be, and what is valid in it (RFC 9112, section 3)."""

import re
import urllib.parse
from contextlib import suppress
from typing import Any, Final

import httptools

from service.platform.http.request_state import Refusal

#: Gateways let through less: 60 KiB with Envoy, 32 with nginx.
MAX_HEAD_BYTES: Final = 64 * 1024
#: A head that is too large is read up to here, to find its Origin: without it a browser hides the refusal
#: from the page.
MAX_READ_BYTES: Final = 4 * MAX_HEAD_BYTES
#: The limit of Apache and Gunicorn too. Several components read every header, and one of 4 bytes takes 160.
MAX_HEADERS: Final = 100
#: All that is kept of a head that is too large.
CORS_HEADERS: Final = frozenset(
    {b"origin", b"access-control-request-method", b"access-control-request-headers"}
)
#: RFC 9110, section 4.1, asks for at least 8,000. The service's own targets have a tenth of that.
MAX_TARGET_BYTES: Final = 8 * 1024
#: Time for a complete head, from its first byte on. Normal clients send it at once.
HEAD_SECONDS: Final = 30.0

NOT_HTTP: Final = Refusal(400, "This is not HTTP.")
BAD_BODY: Final = Refusal(400, "The body's chunks are not valid (RFC 9112, section 7.1).")
LARGE_CHUNKS: Final = Refusal(
    431, f"The chunk extensions and trailers are larger than {MAX_HEAD_BYTES} bytes."
)
TIMED_OUT: Final = Refusal(408, f"The request did not arrive within {HEAD_SECONDS:.0f} seconds.")
LONG_TARGET: Final = Refusal(
    414, f"The target is longer than the {MAX_TARGET_BYTES} bytes that are accepted."
)
LARGE_HEAD: Final = Refusal(431, f"The headers are larger than the {MAX_HEAD_BYTES} bytes that are accepted.")
MANY_HEADERS: Final = Refusal(431, f"There are more than the {MAX_HEADERS} header lines that are accepted.")
BAD_TARGET: Final = Refusal(400, "The request's target is not valid. Send a path such as /api/v1/items.")
BAD_HOST: Final = Refusal(400, "Send one Host header, with a host name and perhaps a port.")
CONNECT_REFUSED: Final = Refusal(400, "The service is no proxy: do not send CONNECT.")
BAD_TRANSFER_CODING: Final = Refusal(501, "The only transfer coding that the service accepts is chunked.")
BAD_VERSION: Final = Refusal(505, "Use HTTP/1.1.")

#: RFC 3986, without the characters that no name in use has.
HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}){1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
)


def read(parser: httptools.HttpRequestParser, url: bytes, scope: Any) -> Refusal | None:
    """Complete the scope, which has the headers already. Returns the refusal of an invalid head."""
    headers = scope["headers"]
    if len(url) > MAX_TARGET_BYTES:
        return LONG_TARGET
    if sum([len(name) + len(value) for name, value in headers]) > MAX_HEAD_BYTES:
        return LARGE_HEAD
    if len(headers) > MAX_HEADERS:
        return MANY_HEADERS
    version, method = parser.get_http_version(), parser.get_method()
    if version != "1.1":
        scope["http_version"] = version
        if version != "1.0":
            return BAD_VERSION
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1") or not all(map(HOST.fullmatch, hosts)):
        return BAD_HOST
    return CONNECT_REFUSED if method == b"CONNECT" else _read_target(method, url, scope)


def _read_target(method: bytes, url: bytes, scope: Any) -> Refusal | None:
    try:
        target: Any = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return BAD_TARGET
    if target.schema is not None and not _takes_host(target, scope["headers"]):
        return BAD_TARGET
    scope["method"] = method.decode("ascii")
    scope["raw_path"] = target.path or b"/"
    scope["path"] = _decoded(scope["raw_path"])
    scope["query_string"] = target.query or b""
    return None


def _takes_host(target: Any, headers: list[tuple[bytes, bytes]]) -> bool:
    """The host of a target in absolute form, which counts instead of the header (RFC 9112, section 3.2.2)."""
    host = target.host or b""
    host = b"[%b]" % host if b":" in host else host
    host += b":%d" % target.port if target.port else b""
    headers[:] = [(b"host", host), *(each for each in headers if each[0] != b"host")]
    known = target.schema.lower() in (b"http", b"https")
    return known and target.userinfo is None and HOST.fullmatch(host) is not None


def path_of(target: bytes) -> str:
    """The path of a target, or "" if the target cannot be parsed."""
    with suppress(httptools.HttpParserInvalidURLError):
        return _decoded(httptools.parse_url(target).path or b"")
    return ""


def _decoded(path: bytes) -> str:
    return urllib.parse.unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii")
