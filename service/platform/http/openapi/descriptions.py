"""Descriptions of tags, statuses and headers in the OpenAPI document."""

from typing import Any, Final

DESCRIPTION: Final = """The backend of a shop: accounts, catalogue, orders and posts.

Errors are problem details (RFC 9457) whose `code` never changes its meaning. Lists are arrays; the
`Link` header has the URL of the next page (RFC 8288). Amounts of money are strings with two decimals."""

CONTACT: Final = {"name": "Tradepost", "url": "https://tradepost.example"}
#: The document is served by the service that it describes.
SERVERS: Final = [{"url": "/", "description": "The host that this document comes from."}]

TAGS: Final = [
    {"name": "auth", "description": "Sign in and out (OAuth 2.0)."},
    {"name": "users", "description": "Register, and manage the caller's profile."},
    {"name": "admin", "description": "Manage accounts, as an administrator."},
    {"name": "api-keys", "description": "Manage the API keys of machines, as an administrator."},
    {"name": "items", "description": "Browse and manage the catalogue and its stock."},
    {"name": "orders", "description": "Place, pay, ship and follow orders."},
    {"name": "posts", "description": "Read and publish shop news and customers' posts."},
    {"name": "notifications", "description": "Read the caller's notifications."},
    {
        "name": "webhooks",
        "description": "Send events to other systems and inspect their deliveries, as an administrator.",
    },
    {"name": "dashboard", "description": "Read a summary of one customer."},
    {"name": "weather", "description": "Read the weather at a delivery's destination."},
    {"name": "operations", "description": "Check the health of the service, and get its metadata."},
]

RESPONSES: Final = {
    400: "The request is malformed; `code` names the reason.",
    401: "The access token or API key is missing, invalid or expired. Sign in again, or send a valid key.",
    403: "The caller lacks the role, scope or ownership that the operation requires.",
    404: "The resource does not exist, or the caller may not see it.",
    406: "The operation has no response in a media type that `Accept` allows.",
    408: "The client did not send the whole body in time.",
    409: "The current state of the resource does not allow this; `code` names the reason.",
    412: "The resource has changed since the caller read it, or it exists although `If-None-Match` is `*`.",
    413: "The body is larger than the operation accepts.",
    415: "The body's media type or content coding is not supported.",
    421: "The service does not serve the host that the request names.",
    422: "The input is invalid; `errors` names each faulty field or parameter.",
    428: "The operation requires `If-Match`: send the `ETag` of the version that you read.",
    429: "The rate limit is exceeded. Try again after `Retry-After` seconds.",
    500: "The service failed to process the request. Report the request id to its operator.",
    503: "The service or a system that it needs is not available. Try again after `Retry-After` seconds.",
}

#: The names of shared responses, by status.
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
    "X-Request-ID": _header("The id of the request."),
    "WWW-Authenticate": _header("The authentication scheme, and the error (RFC 6750, section 3)."),
    "Retry-After": _header("Seconds to wait before trying again.", "integer"),
    "RateLimit": _header(
        "The rate limit that runs out first: the remaining requests (`r`), and the seconds until more are "
        "allowed (`t`; draft-ietf-httpapi-ratelimit-headers). Absent from responses of the response cache, "
        "which count towards no limit.",
        always=False,
    ),
    "RateLimit-Policy": _header(
        "Every limit of the operation: its quota and window in seconds. Absent if `RateLimit` is absent.",
        always=False,
    ),
    "Location": _header("The URL of the new resource."),
    "ETag": _header("The entity tag of the resource, for `If-None-Match` and `If-Match` (RFC 9110)."),
    "Accept-Patch": _header("The media types that PATCH accepts (RFC 5789)."),
    "Idempotent-Replayed": _header(
        "`true` if this is the stored response to an earlier request with the same key.", always=False
    ),
    "Next-Updated-Since": _header(
        "With `updated_since`: the value for the next poll, which then returns every later change once.",
        always=False,
    ),
    "Search-Results": _header(
        "With `search`: `partial` if the search ended before it had looked at everything that may match."
        " A search with more letters or words may find what is missing. Otherwise absent.",
        always=False,
    ),
    "Link": _header("The URL of the next page (RFC 8288), if there is one.", always=False),
}
HEADERS_OF: Final = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
#: On every response of the API that was counted, unless the shared store has failed.
RATE_LIMIT_HEADERS: Final = ("RateLimit", "RateLimit-Policy")
IF_NONE_MATCH: Final[dict[str, Any]] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the version that you have. If it is still current, the response is 304"
    " without a body.",
    "schema": {"type": "string"},
}
