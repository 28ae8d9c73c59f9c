"""What FastAPI accepts and the OpenAPI document does not: unknown parameters, other media types."""

import re
from typing import Final

from fastapi import Request

from service.errors import FieldFault, ServiceError, Unprocessable
from service.platform.http.openapi import Operation
from service.platform.http.problems import LONGEST_POINTER, OAUTH_PATHS

#: The weight of a media type that is not wanted (section 12.4.2).
REFUSED: Final = re.compile(r"q=0(\.0{0,3})?")
#: Longer than any that is meant.
LONGEST_ACCEPT: Final = 4 * 1024
#: How a body may say that it is coded, and is not.
UNCODED: Final = ("", "identity")


class UnsupportedMediaType(ServiceError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class NotAcceptable(ServiceError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


def check_against_openapi(request: Request, operation: Operation) -> None:
    """Raises for parameters and media types that the OpenAPI document does not name."""
    if request.scope["query_string"] and request.scope["path"] not in OAUTH_PATHS:
        # Those ignore what they do not know (RFC 6749, section 3.2).
        _known_parameters(request, operation)
    if operation.accepts and content_length(request):
        # Whether a chunked body has content, only its first chunk shows.
        refuse_content(request, operation)
    accept = request.headers.get("Accept", "*/*")
    if operation.offers and not acceptable(accept, operation.offers):
        raise NotAcceptable(
            f"This operation answers with {' or '.join(sorted(operation.offers))} only: name it in Accept."
        )


def _known_parameters(request: Request, operation: Operation) -> None:
    unknown = sorted(set(request.query_params) - operation.parameters)
    if unknown:
        detail = "Unknown parameter: correct its name or leave it out."
        names = [name[:LONGEST_POINTER] for name in unknown[:20]]
        faults = tuple(FieldFault(f"?{name}", detail, "unknown_parameter") for name in names)
        raise Unprocessable("Unknown parameters: correct their names or leave them out.", errors=faults)
    repeated = sorted(name for name in request.query_params if len(request.query_params.getlist(name)) > 1)
    if repeated:
        detail = "Send this parameter once."
        raise Unprocessable(detail, errors=(FieldFault(f"?{repeated[0]}", detail, "repeated_parameter"),))


def acceptable(accept: str, offers: frozenset[str]) -> bool:
    """Whether an Accept header accepts anything that is offered.

    An empty one has no preference, and one of thousands of choices is not looked at (the same section).
    """
    if not accept.strip() or len(accept) > LONGEST_ACCEPT:
        return True
    for choice in accept.split(","):
        media, _, parameters = choice.lower().partition(";")
        media = media.strip()
        if any(REFUSED.fullmatch(parameter.strip()) for parameter in parameters.split(";")):
            continue
        family, _, kind = media.partition("/")
        if media in ("*/*", "*") or media in offers:
            return True
        if kind == "*" and any(offer.startswith(family + "/") for offer in offers):
            return True
    return False


def content_length(request: Request) -> int | None:
    """The declared length of the body; None where there is none, or it is not a number."""
    declared = request.headers.get("Content-Length", "")
    return int(declared) if declared.isascii() and declared.isdecimal() else None


def refuse_content(request: Request, operation: Operation) -> None:
    """Raises UnsupportedMediaType for a body of another type, or one that is compressed."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in UNCODED:
        # RFC 9110, section 15.5.16.
        detail = "Send the body without Content-Encoding: the service accepts no compressed body."
        raise UnsupportedMediaType(detail, headers={"Accept-Encoding": "identity"})
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media not in operation.accepts:
        accepted = sorted(operation.accepts)
        # RFC 5789, section 2.2.
        headers = {"Accept-Patch": ", ".join(accepted)} if request.method == "PATCH" else None
        raise UnsupportedMediaType(f"Send the body as {' or '.join(accepted)}.", headers=headers)
