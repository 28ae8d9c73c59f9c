"""What the root and `/health` answer."""

from typing import Literal

from service.platform.http.schemas import Out


class Welcome(Out):
    message: str
    name: str
    version: str
    links: dict[str, str]


class Health(Out):
    status: Literal["healthy"] = "healthy"
    version: str
