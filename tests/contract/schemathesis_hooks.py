"""What makes a request valid that no schema can express."""

from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import schemathesis

from service.platform.server.http1.head import MAX_TARGET_BYTES

KEY = "Idempotency-Key"
#: The longest of our paths is far shorter.
PATH_BYTES: Final = 256


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
