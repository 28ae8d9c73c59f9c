"""API keys as administrators send and see them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_args

from pydantic import MISSING, AfterValidator, ConfigDict, Field

from service.identity import Scope
from service.platform.http.field_errors import invalid
from service.platform.http.schemas import ONCE, Id, In, Instant, Line, Moment, Out

TILL: Final[dict[str, Any]] = {"name": "Till in Berlin", "scopes": ["orders:read", "orders:write"]}


def _each_once(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) < len(scopes):
        raise invalid("duplicate", "Name each scope once.")
    return scopes


def _to_come(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise invalid("too_small", "Send a time in the future, or leave it out.")
    return moment


Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=len(get_args(Scope)),
        description="What the key may do. The API guide describes each scope.",
        json_schema_extra={"uniqueItems": True},
    ),
    AfterValidator(_each_once),
]
Expiry = Annotated[
    Moment,
    AfterValidator(_to_come),
    Field(examples=["2036-11-22T10:30:00Z"]),
]


class ApiKeyCreate(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [TILL, {**TILL, "expires_at": "2036-11-22T10:30:00Z"}]}
    )

    name: Annotated[Line, Field(description="What the key is used for.")]
    scopes: Scopes
    expires_at: Annotated[
        Expiry | None, Field(description="A time in the future. Without it the key does not expire.")
    ] = None


class ApiKeyPatch(In):
    """Changes of an API key. Absent fields stay as they are (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scopes": ["orders:read"]}, {"expires_at": None}]}
    )

    name: Line | MISSING = MISSING
    scopes: Scopes | MISSING = MISSING
    expires_at: Annotated[Expiry | None, Field(description="`null` removes the expiry.")] = None


class ApiKey(Out):
    id: Id
    name: str
    hint: Annotated[str, Field(description="The first characters of the key.", examples=["tp_9fQ2x"])]
    scopes: list[Scope]
    created_by: Id
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Annotated[Instant | None, Field(description="The time of the last use, to the minute.")]
    revoked_at: Instant | None


class NewApiKey(ApiKey):
    """A new API key. No other response contains the key: if it is lost, create another one."""

    key: Annotated[
        str | None,
        ONCE,
        Field(
            pattern="^tp_[0-9A-Za-z]{49}$",
            description="The key. `null` in a replay of the response for the same `Idempotency-Key`.",
        ),
    ]
