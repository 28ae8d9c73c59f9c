"""The answers of probes."""

from typing import Annotated, Literal

from pydantic import Field

from service.platform.http.schemas import Out

#: It takes no changes while it is `read_only`, such as a primary that has been demoted.
DatabaseState = Literal["up", "read_only", "down"]


class Alive(Out):
    status: Literal["alive"] = "alive"


class Readiness(Out):
    status: Literal["ready", "not_ready"]
    database: DatabaseState
    draining: bool


class Startup(Out):
    status: Literal["started", "starting"]
    schema_revision: str | None
    required_revision: str
    listening: Annotated[
        bool, Field(description="Whether the process receives notifications of changes from the database.")
    ]
