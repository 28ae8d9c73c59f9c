"""What makes a request valid that no schema can express; who may make it; and what was answered."""

import atexit
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import schemathesis

from proofs.fuzz.callers import KEYS
from proofs.fuzz.requests import CALLER, COUNTS
from service.platform.server.http1.head import MAX_TARGET_BYTES
from tests.contract.routes import CALLERS, ROUTES

KEY = "Idempotency-Key"
#: The longest of our paths is far shorter.
PATH_BYTES: Final = 256
REFUSED: Final = frozenset({401, 403})
#: What is answered before the caller is looked at: malformed requests, another host, another method.
BEFORE_THE_CALLER: Final = frozenset({400, 405, 421, 431})

#: A customer may list orders, and not by another's `user_id`.
BY_PARAMETERS: Final = frozenset({"GET /api/v1/orders"})

_caller: Final = os.environ.get(CALLER, "administrator")
_counts: defaultdict[str, Counter[int]] = defaultdict(Counter)


@schemathesis.hook
def filter_query(context: Any, query: dict[str, Any] | None) -> bool:
    """A target that is too long is refused before any route is found: the document of routes knows nothing of
    it (tests/server/test_heads.py does).
    """
    return PATH_BYTES + len(urlencode(query or {}, doseq=True, errors="replace")) <= MAX_TARGET_BYTES


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """A key is good for one request: each gets one of its own, unless the key itself is what is wrong.

    A condition without double quotes is a 400 (tests/platform/http/test_conditional.py); what is made for
    the edges of its pattern has none.
    """
    if '"' not in (case.headers or {}).get("If-Match", '"'):
        case.headers["If-Match"] = '"0"'
    key = (case.headers or {}).get(KEY)
    if key and key.isascii() and key.isprintable() and '"' not in key and " " not in key:
        case.headers[KEY] = str(uuid4())


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    _counts[case.operation.label][response.status_code] += 1


@atexit.register
def _write_counts() -> None:
    if COUNTS in os.environ:
        Path(os.environ[COUNTS]).write_text(json.dumps(_counts))


def _expected(method: str, template: str) -> set[int]:
    """The statuses that the table of routes has for this caller, of all rows of an operation."""
    rows = [route for route in ROUTES if (route.method, route.template) == (method, template)]
    if _caller == "anonymous":
        return {route.expects[CALLERS.index("anonymous")] for route in rows}
    if _caller == "administrator":
        return {route.expects[CALLERS.index("administrator")] for route in rows}
    if _caller in KEYS:
        return {_of_key(route.key, route.expects[0]) for route in rows}
    return {route.expects[CALLERS.index(each)] for route in rows for each in ("owner", "other")}


def _of_key(admitted: tuple[str, int] | None, anonymous: int) -> int:
    if admitted is not None and admitted[0] in KEYS[_caller]:
        return admitted[1]
    return 403 if anonymous == 401 else anonymous


@schemathesis.check
def only_callers_that_may(ctx: Any, response: Any, case: Any) -> None:
    """Schemathesis does not know who may what: the table of routes does, which tests/contract/test_callers
    holds with valid requests.
    """
    operation, status = case.operation, response.status_code
    if case.method.upper() != operation.method.upper():
        return
    expected = _expected(operation.method.upper(), operation.path)
    if expected and expected <= REFUSED and status not in REFUSED | BEFORE_THE_CALLER:
        raise AssertionError(f"{_caller} may not, and was answered {status}")
    # Without an identity the request has made-up credentials, or none.
    if case.auth_identity is None or operation.label in BY_PARAMETERS:
        return
    if not expected & REFUSED and status in REFUSED:
        raise AssertionError(f"{_caller} may, and was answered {status}")
