"""What has been done, as administrators read it."""

from typing import Annotated, Any

from pydantic import Field

from service.platform.http.schemas import Id, Instant, Out


class AuditEntry(Out):
    id: Id
    at: Instant
    actor_id: Annotated[
        int | None, Field(description="The user who did it; null for a stranger, a key or a command.")
    ]
    key_id: Annotated[int | None, Field(description="The API key that did it.")]
    action: Annotated[str, Field(description="`noun.past_verb`.", examples=["user.deactivated"])]
    target_kind: Annotated[str | None, Field(examples=["user"])]
    target_id: Annotated[int | None, Field(examples=[2])]
    data: Annotated[
        dict[str, Any],
        Field(
            description="What there is to say besides; persons by id, or by a keyed hash of the address.",
            examples=[{"before": {"is_active": True}, "after": {"is_active": False}}],
        ),
    ]
    request_id: Annotated[str | None, Field(description="Of the request, made here; null in a command.")]
    caller_request_id: Annotated[str | None, Field(description="The client's own id, where it gave one.")]
    address: Annotated[
        str | None,
        Field(description="The client's address, for as long as those are kept.", examples=["203.0.113.7"]),
    ]
