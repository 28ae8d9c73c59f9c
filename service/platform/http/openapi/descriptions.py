"""What the OpenAPI document says of tags, statuses, errors and headers, wherever they occur."""

from typing import Any, Final

DESCRIPTION: Final = """The backend of a shop: accounts, catalogue, orders and posts.

Errors are problem details (RFC 9457) whose `code` is a stable word. Lists answer with an array and
a `Link` header that leads to the next page (RFC 8288). Money is a string with two decimals."""

CONTACT: Final = {"name": "Tradepost", "url": "https://tradepost.example"}
#: The document is served by the service that it describes.
SERVERS: Final = [{"url": "/", "description": "The host that this document comes from."}]

TAGS: Final = [
    {"name": "auth", "description": "Signing in and out (OAuth 2.0)."},
    {"name": "users", "description": "Registration and one's own profile."},
    {"name": "admin", "description": "What only administrators may do with accounts."},
    {"name": "api-keys", "description": "Keys by which machines call."},
    {"name": "items", "description": "The catalogue and its stock."},
    {"name": "orders", "description": "Placing orders and following them."},
    {"name": "posts", "description": "Shop news and customers' posts."},
    {"name": "notifications", "description": "What a person has been told."},
    {"name": "webhooks", "description": "Events for other systems, and what became of each."},
    {"name": "dashboard", "description": "Everything about one customer at a glance."},
    {"name": "weather", "description": "Delivery weather at a destination."},
    {"name": "operations", "description": "What machines and operators ask."},
]

WHAT: Final = {
    400: "The request cannot be read.",
    401: "No access token, or one that is no longer good.",
    403: "Known, but not allowed to do this.",
    404: "There is no such resource, or it is not yours.",
    406: "None of the accepted media types can be answered.",
    408: "The body has not come in time.",
    409: "The current state does not allow it; `code` says why.",
    412: "It was changed since the client read it, or exists where `If-None-Match` says that it shall not.",
    413: "The body is too large.",
    415: "The body's media type is not accepted.",
    421: "The service does not answer to the host that the request names.",
    422: "The input is invalid; `errors` names each field.",
    428: "Send what you have read in `If-Match`.",
    429: "More than the rate limit admits; try again after `Retry-After` seconds.",
    500: "An error inside the service.",
    503: "Overloaded, or something the service needs does not answer; try again.",
}

#: What the components are called that operations refer to, by status.
RESPONSE_NAMES: Final = {
    202: "Accepted",
    204: "NoContent",
    304: "NotModified",
    400: "BadRequest",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    406: "NotAcceptable",
    408: "RequestTimeout",
    409: "Conflict",
    412: "PreconditionFailed",
    413: "BodyTooLarge",
    415: "UnsupportedMediaType",
    421: "MisdirectedRequest",
    422: "InvalidInput",
    428: "PreconditionRequired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "Unavailable",
}


def _header(description: str, kind: str = "string", *, always: bool = True) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": kind}}


HEADERS: Final = {
    "X-Request-ID": _header("The request's id."),
    "WWW-Authenticate": _header("RFC 6750, section 3."),
    "Retry-After": _header("Seconds to wait.", "integer"),
    "RateLimit": _header(
        "The limit that is used up first: what remains, and seconds until there is more "
        "(draft-ietf-httpapi-ratelimit-headers). Absent where the response cache answers, which counts "
        "under no limit.",
        always=False,
    ),
    "RateLimit-Policy": _header(
        "Every limit that holds here: quota and seconds. Absent where `RateLimit` is.", always=False
    ),
    "Location": _header("Where the new resource is."),
    "ETag": _header("Names the state that is shown; for `If-None-Match` and `If-Match` (RFC 9110)."),
    "Accept-Patch": _header("The media types of a change (RFC 5789)."),
    "Idempotent-Replayed": _header(
        "`true` where this is the answer that the request had before.", always=False
    ),
    "Next-Updated-Since": _header(
        "With `updated_since`: its value for the next poll, which misses no change and repeats none that was"
        " not changed again.",
        always=False,
    ),
    "Link": _header("Leads to the next page (RFC 8288), if there is one.", always=False),
}
HEADERS_OF: Final = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
#: On every answer of the API that has been counted, unless the store of the counts has failed.
RATE_LIMIT_HEADERS: Final = ("RateLimit", "RateLimit-Policy")
IF_NONE_MATCH: Final[dict[str, Any]] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` that was read: 304, without a body, if there is nothing newer.",
    "schema": {"type": "string"},
}
