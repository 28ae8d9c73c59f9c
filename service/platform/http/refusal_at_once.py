"""503 for a request over the capacity, before the application is run for it.

Run as usual, a refusal takes a third of what a profile takes; with ten times as many requests as the process
can answer there would be time for nothing else. This takes a tenth of it, and says the same: a test compares
the two. What needs more thought (a browser's Origin, OAuth's form, a body that is large or in chunks) is
refused as usual.
"""

import json
from collections.abc import Callable, Collection
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

from service.platform.http import metrics
from service.platform.http.addresses import Hosts, Proxies
from service.platform.http.context import complete, given_id, new_request_id
from service.platform.http.overload import Load, shed
from service.platform.http.problems import OAUTH_PATHS, PROBES
from service.platform.http.request_state import ANONYMOUS, UNMATCHED, state_of
from service.platform.telemetry import access_log, request_facts
from service.platform.telemetry.request_facts import METHODS, RequestFacts

#: They change the response, or what the server must do with the rest of the request.
AS_USUAL: Final = frozenset({b"origin", b"expect", b"transfer-encoding"})
#: A request with a longer body is refused as usual.
MOST_BODY_BYTES: Final = 64 * 1024
_ID: Final = "0" * 32


class RefusalAtOnce:
    """Called by the server with the scope of each request: the whole response, or None for one that the
    application gets. `is_cached`: whether it has a response to this path and query in memory.
    """

    def __init__(
        self,
        load: Load,
        proxies: Proxies,
        hosts: Hosts,
        is_cached: Callable[[tuple[str, bytes]], bool] = lambda _: False,
    ) -> None:
        self.load, self._proxies, self._hosts, self._is_cached = load, proxies, hosts, is_cached
        self._head, body = _template()
        self._before, self._after = (part.encode() for part in body.split(_ID))

    def __call__(self, scope: Scope, defaults: Collection[tuple[bytes, bytes]]) -> bytes | None:
        """`defaults` are headers that the server puts on every response."""
        if not self.load.is_full or not self._may_refuse(scope):
            self.load.expect()
            return None
        peer = scope["client"][0] if scope.get("client") else None
        address, scheme = self._proxies.client(peer, scope["headers"])
        own_id = new_request_id()
        request_id = given_id(scope["headers"]) or own_id
        self._account(scope["method"], RequestFacts(request_id, own_id, address))
        hsts = self._hosts.hsts(scheme or scope["scheme"], forwarded=scheme is not None)
        body = self._before + request_id.encode() + self._after
        lines = [b"%b: %b" % header for header in (*defaults, *hsts)]
        lines += [b"content-length: %d" % len(body), b"x-request-id: " + request_id.encode()]
        return b"HTTP/1.1 503 Service Unavailable\r\n" + self._head + b"\r\n".join([*lines, b"", body])

    def _may_refuse(self, scope: Scope) -> bool:
        path = scope["path"].rstrip("/")
        if scope["method"] not in METHODS or scope["method"] in {"HEAD", "OPTIONS"}:
            return False
        if path in PROBES or path in OAUTH_PATHS:
            return False
        for name, value in scope["headers"]:
            if name in AS_USUAL or (name == b"content-length" and not _is_short(value)):
                return False
        return scope["method"] != "GET" or not self._is_cached((scope["path"], scope["query_string"]))

    def _account(self, method: str, facts: RequestFacts) -> None:
        """As RequestContext does."""
        metrics.requests_shed().inc()
        metrics.REQUESTS.inc(method, UNMATCHED, "503")
        metrics.DURATION.observe(0.0, method, UNMATCHED)
        with request_facts.during(facts):
            access_log.write(method, UNMATCHED, 503, 0.0, who=ANONYMOUS, client=facts.address, traced=False)


def _is_short(length: bytes) -> bool:
    return len(length) <= 5 and length.isdigit() and int(length) <= MOST_BODY_BYTES


def _template() -> tuple[bytes, str]:
    """The head without its first line and what differs, and the body with _ID in it."""
    scope: dict[str, Any] = {"type": "http", "path": "/"}
    state_of(scope).request_id = _ID
    answer = shed(scope)
    headers = MutableHeaders(raw=list(answer.raw_headers))
    complete(headers, 503, _ID)
    own = [header for header in headers.raw if header[0] not in {b"content-length", b"x-request-id"}]
    body = bytes(answer.body).decode()
    assert json.loads(body)["instance"] == _ID  # noqa: S101 - it is split there
    return b"".join(b"%b: %b\r\n" % header for header in own), body
