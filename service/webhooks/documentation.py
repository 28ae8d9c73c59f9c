"""The `webhooks` section of the OpenAPI document: every message that receivers may get."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from service.webhooks.messages import MESSAGES, MessageType, example

_HEADERS: Final = {
    "webhook-id": "The same for every try of a message: whoever has seen it may leave it at that.",
    "webhook-timestamp": "Seconds since 1970, of this try; refuse what is more than five minutes off.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64; two of them, separated"
    " by a space, while the secret is being rotated.",
}
_EXAMPLES: Final = {
    "webhook-id": "evt_10248",
    "webhook-timestamp": "1795343400",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
_ANSWERS: Final = {
    "2XX": "It has arrived. Anything else, a redirect too, is tried again, ten times in about three days.",
    "410": "Nothing is wanted here any more: the webhook is disabled.",
    "429": "Too much: `Retry-After` is honoured, as it is with 503.",
}


def schemas() -> dict[str, Any]:
    """The components that the section refers to."""
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
    model, comes = MESSAGES[message_type]
    first, *rest = message_type.replace("_", ".").split(".")
    schema = {
        "allOf": [
            {"$ref": f"#/components/schemas/{model.__name__}"},
            {"properties": {"type": {"const": message_type}}},
        ]
    }
    return {
        "operationId": "on" + first.title() + "".join(word.title() for word in rest),
        "summary": comes.partition(". ")[0].rstrip("."),
        "description": comes,
        "tags": ["webhooks"],
        # Nobody signs in at a receiver: it verifies the signature.
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": description,
                "schema": {"type": "string"},
                "example": _EXAMPLES[name],
            }
            for name, description in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example(message_type)}},
        },
        "responses": {status: {"description": description} for status, description in _ANSWERS.items()},
    }
