"""The tree of service errors: a refusal's status and stable code stand on its class.

Services raise these and know no web framework; the platform's HTTP renders them as RFC 9457 problems. What
only one domain raises is in that domain's `errors.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

#: JSON schemas by name.
Members = Mapping[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One fault of one input field.

    `pointer` is an RFC 6901 JSON pointer into the body (`/lines/0/quantity`), or the name of
    a parameter (`?limit`, `{item_id}`). `code` is a stable word for programs.
    """

    pointer: str
    detail: str
    code: str = "invalid"


class ServiceError(Exception):
    """A request that is refused, with the answer that the client gets.

    Subclasses must name `status`, `code` and `title`: there is no default, so that nothing
    becomes a 500 by being forgotten. `extra` holds members that the problem carries beside the
    standard ones; `headers` go out with the answer. Never put a secret or the submitted value
    into any of them.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    #: Whether what was written before the refusal is kept: a mark that must outlive it.
    commit: ClassVar[bool] = False
    #: The schemas of what `extra` always has, for OpenAPI.
    members: ClassVar[Members] = {}

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldFault, ...] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def list_schema(description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of objects with these properties."""
    item = {"type": "object", "required": list(properties), "properties": properties}
    return {"type": "array", "description": description, "items": item}


class BadRequest(ServiceError):
    status, code, title = 400, "bad_request", "Bad request"


class KeyRequired(BadRequest):
    code, title = "idempotency_key_required", "Idempotency-Key required"


class KeyNotSupported(BadRequest):
    code, title = "idempotency_key_not_supported", "Idempotency-Key not supported here"


class KeyInvalid(BadRequest):
    code, title = "idempotency_key_invalid", "Invalid Idempotency-Key"


class IfMatchInvalid(BadRequest):
    code, title = "if_match_invalid", "Invalid If-Match"


class Unauthenticated(ServiceError):
    """No token where one is needed, or a bad one (RFC 6750, section 3)."""

    status, code, title = 401, "unauthenticated", "Authentication required"

    def __init__(self, detail: str = "Sign in and send the access token as a Bearer token.") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class InvalidToken(Unauthenticated):
    """A token was sent and is not good: expired, forged, or its session has ended."""

    code, title = "invalid_token", "Invalid access token"

    def __init__(
        self, detail: str = "The access token is expired, malformed or no longer valid. Sign in again."
    ) -> None:
        super().__init__(detail)
        self.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'


class Forbidden(ServiceError):
    status, code, title = 403, "forbidden", "Not allowed"


class InsufficientScope(Forbidden):
    """An API key was sent that may not do this (RFC 6750, section 3.1)."""

    code, title = "insufficient_scope", "The API key may not do this"

    def __init__(self, scope: str | None) -> None:
        """`scope`: the one that is needed, or None where no key is admitted."""
        challenge = 'Bearer error="insufficient_scope"'
        if scope is None:
            super().__init__("This operation accepts no API keys: sign in as a user.")
        else:
            super().__init__(f"This operation requires an API key with the scope {scope}.")
            challenge += f', scope="{scope}"'
        self.headers["WWW-Authenticate"] = challenge


class NotFound(ServiceError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(ServiceError):
    status, code, title = 409, "conflict", "Conflict with the current state"


class KeyInUse(Conflict):
    """Another request with the same Idempotency-Key is running at this moment."""

    code, title = "idempotency_key_in_use", "The request is still running"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is still running. Send it again to get its response.",
            headers={"Retry-After": "1"},
        )


class PreconditionFailed(ServiceError):
    """If-Match names another state than that of now, or If-None-Match that of now (RFC 9110, sections 13.1.1
    and 13.1.2).
    """

    status, code, title = 412, "precondition_failed", "Precondition failed"

    def __init__(self) -> None:
        super().__init__(
            "The current version of the resource does not meet If-Match or If-None-Match."
            " Get the resource again, and apply your change to that version."
        )


class PreconditionRequired(ServiceError):
    """RFC 6585, section 3."""

    status, code, title = 428, "precondition_required", "If-Match required"


class Unprocessable(ServiceError):
    """Well-formed input that breaks a rule; `errors` names each field."""

    status, code, title = 422, "invalid_input", "Invalid input"

    @classmethod
    def at(cls, pointer: str, detail: str, code: str) -> Self:
        """For one fault of one field."""
        return cls(detail, errors=(FieldFault(pointer, detail, code),))


class KeyReused(Unprocessable):
    code, title = "idempotency_key_reused", "Idempotency-Key used for another request"


class TooManyRequests(ServiceError):
    """More than a rate limit admits; try again after `retry_after` seconds."""

    status, code, title = 429, "too_many_requests", "Too many requests"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(ServiceError):
    """Something this service depends on does not answer; try again after `Retry-After` seconds."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"
    #: What an operator should look at, if it is known. Clients do not see it.
    cause: str = ""

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class ReadOnly(Unavailable):
    """The database takes no changes, such as a primary that has been demoted."""

    cause = "the database takes no changes"

    def __init__(self) -> None:
        super().__init__("The service cannot save changes at the moment. Try again shortly.")


class Contention(Unavailable):
    """A deadlock or a serialisation failure: nothing was done, and it may well work when it is run again."""


class Overloaded(Unavailable):
    code, title = "overloaded", "Over capacity"


class OutcomeUnknown(Unavailable):
    """The connection was lost during COMMIT: the change may or may not have been made."""

    code, title = "outcome_unknown", "The outcome is unknown"


class ConfigError(Exception):
    """Settings are missing or bad. Each fault is one line that names its setting, never a value."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class CommandError(Exception):
    """A command cannot run here; the message says what to do."""
