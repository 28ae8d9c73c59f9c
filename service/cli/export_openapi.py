"""Print the OpenAPI document, as docs/openapi.json keeps it."""

import json

from pydantic import SecretStr

from service.main import create_app
from service.platform.config import Settings


def document() -> str:
    """The same text on every machine: nothing of it depends on settings."""
    nowhere = SecretStr("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    app = create_app(
        Settings(environment="test", database_url=nowhere, docs_enabled=False, log_level="ERROR")
    )
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def run() -> int:
    print(document(), end="")
    return 0
