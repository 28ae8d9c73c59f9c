"""What makes a request valid that no schema can express."""

from typing import Any
from uuid import uuid4

import schemathesis

KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """A key is good for one request: each gets one of its own, unless the key itself is what is wrong."""
    key = (case.headers or {}).get(KEY)
    if key and key.isascii() and key.isprintable() and '"' not in key and " " not in key:
        case.headers[KEY] = str(uuid4())
