"""The `webhooks` section of the OpenAPI document: every message that a receiver can get."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from service.webhooks.message_schemas import MESSAGES, MessageType, example

_HEADERS: Final = {
    "webhook-id": "The message's id, the same for every attempt. Ignore an id that you have processed.",
    "webhook-timestamp": "The time of this attempt, in seconds since 1970-01-01 UTC. Reject a message that is"
    " more than five minutes off.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64. During a rotation of"
    " the secret, two such signatures, separated by a space.",
}
_EXAMPLES: Final = {
    "webhook-id": "evt_10248",
    "webhook-timestamp": "1795343400",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
_RESPONSES: Final = {
    "2XX": "The receiver has the message. After any other status, redirects included, the service retries:"
    " ten attempts in about three days.",
    "410": "The receiver wants no more messages: the service disables the webhook.",
    "429": "Too many messages: the service retries after `Retry-After`, as it does after 503.",
}


def schemas() -> dict[str, Any]:
    """The schemas that the section refers to."""
    models = {model for model, _ in MESSAGES.values()}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, document = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Any] = document["$defs"]
    return definitions


def section() -> dict[str, Any]:
    return {message_type: {"post": _operation(message_type)} for message_type in MESSAGES}


def _operation(message_type: MessageType) -> dict[str, Any]:
    model, description = MESSAGES[message_type]
    first, *rest = message_type.replace("_", ".").split(".")
    schema = {
        "allOf": [
            {"$ref": f"#/components/schemas/{model.__name__}"},
            {"properties": {"type": {"const": message_type}}},
        ]
    }
    return {
        "operationId": "on" + first.title() + "".join(word.title() for word in rest),
        "summary": description.partition(". ")[0].rstrip("."),
        "description": description,
        "tags": ["webhooks"],
        # Receivers verify the signature instead of authenticating.
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": text,
                "schema": {"type": "string"},
                "example": _EXAMPLES[name],
            }
            for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example(message_type)}},
        },
        "responses": {status: {"description": text} for status, text in _RESPONSES.items()},
    }
