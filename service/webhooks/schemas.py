"""Webhooks as administrators send and see them, and their deliveries."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, AfterValidator, ConfigDict, Field

from service.events.models import EVENT_TYPES, EventType
from service.platform.http.field_faults import invalid
from service.platform.http.schemas import ONCE, Flag, Id, In, Instant, Line, Out
from service.webhooks.targets import LONGEST, PATTERN, Refused, Target

Subscription = Literal[EventType, "*"]
Status = Literal["pending", "succeeded", "failed"]
EVERY_EVENT: Final = "*"
#: In the dialect of JSON Schema, which names groups in another way.
_DOCUMENTED: Final = "^" + re.sub(r"\?P<\w+>", "", PATTERN) + "$"
ERP: Final[dict[str, Any]] = {
    "url": "https://erp.example.com/hooks/tradepost",
    "events": ["order.placed", "order.paid"],
    "description": "Orders to the ERP",
}


def _well_formed(url: str) -> str:
    """In its usual form. Whether it may be called is asked later: that depends on settings and on the DNS."""
    try:
        return str(Target.read(url, allow_private=True))
    except Refused as refusal:
        raise invalid(refusal.reason, refusal.detail) from None


def _each_once(events: list[Subscription]) -> list[Subscription]:
    if len(set(events)) < len(events):
        raise invalid("duplicate", "Name each type once.")
    if EVERY_EVENT in events and len(events) > 1:
        raise invalid("contradiction", "`*` stands alone: it is every type.")
    return events


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST,
        json_schema_extra={"pattern": _DOCUMENTED, "format": "uri"},
        description="https, port 443 or one from 1024 on, no name and password, no fragment. All addresses"
        " of its host must be public.",
        examples=[ERP["url"]],
    ),
    AfterValidator(_well_formed),
]
Events = Annotated[
    list[Subscription],
    Field(
        min_length=1,
        max_length=len(EVENT_TYPES) + 1,
        description="The types of events that it is told of; `*` alone is every type, those to come too.",
        json_schema_extra={"uniqueItems": True},
        examples=[ERP["events"]],
    ),
    AfterValidator(_each_once),
]


class WebhookCreate(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [ERP, {"url": "https://erp.example.com:8443/hooks", "events": ["*"]}]}
    )

    url: Url
    events: Events
    description: Annotated[Line | None, Field(description="What it is for.")] = None


class WebhookPatch(In):
    """What is absent stays as it is (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"events": ["order.placed"]}, {"is_active": True}]}
    )

    url: Url | MISSING = MISSING
    events: Events | MISSING = MISSING
    description: Annotated[Line | None, Field(description="`null` removes it.")] = None
    is_active: Annotated[
        Flag | MISSING,
        Field(
            description="`false` stops it; `true` starts it again, also after it was disabled. What"
            " happened meanwhile is not sent."
        ),
    ] = MISSING


class Webhook(Out):
    id: Id
    url: Annotated[str, Field(examples=[ERP["url"]])]
    events: Annotated[list[Subscription], Field(examples=[ERP["events"]])]
    description: Annotated[str, Field(description="Empty without one.", examples=[ERP["description"]])]
    is_active: bool
    created_at: Instant
    failing_since: Annotated[
        Instant | None, Field(description="The first failure since the last success; null while it is well.")
    ]
    previous_until: Annotated[
        Instant | None, Field(description="Until then the secret before the last rotation signs too.")
    ]
    disabled_at: Annotated[Instant | None, Field(description="When the service itself has stopped it.")]
    disabled_reason: Annotated[
        Literal["gone", "failing"] | None,
        Field(description="`gone`: its receiver answered 410; `failing`: three days without a success."),
    ]


class NewWebhook(Webhook):
    """A webhook with its secret, which is in no other answer: whoever loses it rotates it."""

    secret: Annotated[
        str | None,
        ONCE,
        Field(
            description="`null` where the answer is told again.",
            pattern=r"^whsec_[A-Za-z0-9+/]{43}=$",
            examples=["whsec_OidIYgLPvpg6dGVxCa+8aLMGWoGdFOIiAHpS1xHSFaY="],
        ),
    ]


class WebhookDelivery(Out):
    """What one webhook is told of one event, and what came of the last try."""

    id: Id
    event_id: Annotated[int | None, Field(description="Null for a ping.", examples=[10248])]
    event_type: Annotated[str, Field(examples=["order.placed"])]
    message_id: Annotated[
        str, Field(description="The header `webhook-id`, the same for every try.", examples=["evt_10248"])
    ]
    status: Annotated[
        Status, Field(description="`pending` until a try has succeeded or the last has failed.")
    ]
    attempts: Annotated[int, Field(description="Tries so far, of ten.", examples=[1])]
    created_at: Instant
    next_try_at: Annotated[Instant | None, Field(description="Null when there will be none.")]
    last_tried_at: Instant | None
    last_status: Annotated[
        int | None, Field(description="The status of the last answer; null without one.", examples=[200])
    ]
    fault: Annotated[
        str | None,
        Field(
            description="Why the last try has failed: `status`, `redirect`, `timeout`, `connect`, `tls`,"
            " `protocol`, `unresolvable`, `private_address`, `disabled` and others.",
            examples=["timeout"],
        ),
    ]
    duration_ms: Annotated[int | None, Field(examples=[87])]
    answer: Annotated[
        str | None, Field(description="The first 1,024 bytes of the last answer's body.", examples=["ok"])
    ]
