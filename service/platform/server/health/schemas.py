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


class NotYetReady(Readiness):
    """Before it has been ready for the first time."""

    status: Literal["not_ready"]
    schema_revision: Annotated[str | None, Field(description="What the database has, if it is known.")]
    required_revision: Annotated[str, Field(description="What this build needs; a newer one will do.")]
    listening: Annotated[
        bool, Field(description="Whether the process receives notifications of changes from the database.")
    ]
    cause: Annotated[str, Field(description="What an operator should look at.")]


class Started(Out):
    status: Literal["started"] = "started"
