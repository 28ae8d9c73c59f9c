"""Requests and responses of webhooks and their deliveries."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import MISSING, AfterValidator, ConfigDict, Field

from service.events import EVENT_TYPES, EventType
from service.platform.http.field_errors import invalid
from service.platform.http.schemas import ONCE, Flag, Id, In, Instant, Line, Out
from service.webhooks.models import EVERY_EVENT
from service.webhooks.targets import MAX_URL_LENGTH, PATTERN, Target, TargetRefused

Subscription = Literal[EventType, "*"]
Status = Literal["pending", "succeeded", "failed"]
#: For JSON Schema, without names of groups, which it writes in another way.
_DOCUMENTED: Final = "^" + re.sub(r"\?P<\w+>", "", PATTERN) + "$"
ERP: Final[dict[str, Any]] = {
    "url": "https://erp.example.com/hooks/tradepost",
    "events": ["order.placed", "order.paid"],
    "description": "Orders to the ERP",
}


def _well_formed(url: str) -> str:
    """The URL in its usual form. Whether it is allowed depends on settings and the DNS: see the service."""
    try:
        return str(Target.parse(url, allow_private=True))
    except TargetRefused as refusal:
        raise invalid(refusal.reason, refusal.detail) from None


def _each_once(events: list[Subscription]) -> list[Subscription]:
    if len(set(events)) < len(events):
        raise invalid("duplicate", "Name each type only once.")
    if EVERY_EVENT in events and len(events) > 1:
        raise invalid("contradiction", "Send `*` alone, which is every type, or leave it out.")
    return events


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_LENGTH,
        json_schema_extra={"pattern": _DOCUMENTED, "format": "uri"},
        description="An https URL with port 443 or 1024 and higher, without user name, password and"
        " fragment. Every address of the host must be public.",
        examples=[ERP["url"]],
    ),
    AfterValidator(_well_formed),
]
Events = Annotated[
    list[Subscription],
    Field(
        min_length=1,
        max_length=len(EVENT_TYPES) + 1,
        description="The types of events to send. `*` alone means every type, future ones included.",
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
    description: Annotated[Line | None, Field(description="The purpose of the webhook.")] = None


class WebhookPatch(In):
    """Changes of a webhook. Absent fields stay as they are (RFC 7396)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"events": ["order.placed"]}, {"is_active": True}]}
    )

    url: Url | MISSING = MISSING
    events: Events | MISSING = MISSING
    description: Annotated[Line | None, Field(description="`null` removes it.")] = None
    is_active: Annotated[
        Flag | MISSING,
        Field(
            description="`false` stops deliveries; `true` starts them again, also after the service"
            " disabled the webhook. Events from between the two are not sent."
        ),
    ] = MISSING


class Webhook(Out):
    id: Id
    url: Annotated[str, Field(examples=[ERP["url"]])]
    events: Annotated[list[Subscription], Field(examples=[ERP["events"]])]
    description: Annotated[str, Field(description="Empty if there is none.", examples=[ERP["description"]])]
    is_active: bool
    created_at: Instant
    failing_since: Annotated[
        Instant | None, Field(description="The first failure since the last success; null if there is none.")
    ]
    previous_until: Annotated[
        Instant | None, Field(description="Until this time the previous secret signs too.")
    ]
    disabled_at: Annotated[Instant | None, Field(description="When the service disabled the webhook.")]
    disabled_reason: Annotated[
        Literal["gone", "failing"] | None,
        Field(description="`gone`: the receiver answered 410; `failing`: three days without a success."),
    ]


class NewWebhook(Webhook):
    """A webhook with its secret, which no other response contains. Rotate a secret that is lost."""

    secret: Annotated[
        str | None,
        ONCE,
        Field(
            description="The secret. `null` in a replay of the response for the same `Idempotency-Key`.",
            pattern=r"^whsec_[A-Za-z0-9+/]{43}=$",
            examples=["whsec_OidIYgLPvpg6dGVxCa+8aLMGWoGdFOIiAHpS1xHSFaY="],
        ),
    ]


class WebhookDelivery(Out):
    """A message to one webhook about one event, and the result of the last attempt."""

    id: Id
    event_id: Annotated[int | None, Field(description="Null for a ping.", examples=[10248])]
    event_type: Annotated[str, Field(examples=["order.placed"])]
    message_id: Annotated[
        str, Field(description="The header `webhook-id`, the same for every attempt.", examples=["evt_10248"])
    ]
    status: Annotated[Status, Field(description="`pending` until an attempt succeeds or the last one fails.")]
    attempts: Annotated[int, Field(description="The number of attempts so far, at most ten.", examples=[1])]
    created_at: Instant
    next_try_at: Annotated[Instant | None, Field(description="Null if there is no further attempt.")]
    last_tried_at: Instant | None
    last_status: Annotated[
        int | None, Field(description="The status of the last response; null without one.", examples=[200])
    ]
    fault: Annotated[
        str | None,
        Field(
            description="Why the last attempt failed: `status`, `redirect`, `timeout`, `connect`, `tls`,"
            " `protocol`, `unresolvable`, `private_address`, `disabled` and others.",
            examples=["timeout"],
        ),
    ]
    duration_ms: Annotated[int | None, Field(examples=[87])]
    answer: Annotated[
        str | None, Field(description="The first 1,024 bytes of the last response's body.", examples=["ok"])
    ]
