"""Access tokens for the peers in Python: ES256, and those verified are remembered, as Tradepost does both."""

import os
import time
from functools import lru_cache
from typing import Any

import jwt

KEY = os.environ["JWT_PUBLIC_KEY"]


@lru_cache(maxsize=1024)  # what it raises is not remembered
def _verified(token: str) -> dict[str, Any]:
    return jwt.decode(token, KEY, algorithms=["ES256"])


def user_id(token: str) -> int:
    claims = _verified(token)
    if claims["exp"] <= time.time():
        raise jwt.ExpiredSignatureError
    return int(claims["sub"])
