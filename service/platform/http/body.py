"""Request bodies: read by the route class after authorization, and parsed within bounds.

The bounds are far above any legal body, and far below what holds an event loop.
"""

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect

from service.errors import BadRequest, FieldFault, Unprocessable
from service.platform.config import Settings
from service.platform.http.injection import component
from service.platform.http.openapi import Operation
from service.platform.http.openapi_validation import content_length, refuse_content
from service.platform.http.problems import LONGEST_POINTER, pointer_to

#: More than any body needs but a batch's: 10,000 characters, each written as twelve (`\ud83d\ude00`).
MOST_BYTES: Final = 128 * 1024
#: What comes in one piece, and at once, leaves no time in which rights could end.
NOTICEABLE_SECONDS: Final = 0.02

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_large: Final[set[Callable[..., Any]]] = set()


def large_body(endpoint: Endpoint) -> Endpoint:
    """Decorates a handler whose body may be as large as MAX_BODY_BYTES."""
    _large.add(endpoint)
    return endpoint


class ReadRequest(Request):
    """A request whose body is here, and parsed."""

    def __init__(self, request: Request, content: bytes, *, pieces: int, seconds: float) -> None:
        super().__init__(request.scope, request.receive)
        self.content = content
        #: Whether it was waited for, so that rights may have ended meanwhile.
        self.waited = pieces > 1 or seconds > NOTICEABLE_SECONDS
        self.parsed: Any = None

    async def body(self) -> bytes:
        return self.content

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]  # which is awaited too
        form: FormData = self.parsed
        return form


@dataclass(frozen=True, slots=True)
class Reader:
    """How the body of one operation is read: whether it is a form, and how much of it there may be."""

    is_form: bool
    is_large: bool

    @classmethod
    def of(cls, route: APIRoute) -> Self | None:
        """None for a route that takes no body."""
        if route.body_field is None:
            return None
        return cls(isinstance(route.body_field.field_info, Form), inspect.unwrap(route.endpoint) in _large)

    async def read(self, request: Request, operation: Operation) -> ReadRequest:
        """The request with its body. Raises HTTPException 413 for more bytes than this needs."""
        limit = component(request, Settings).max_body_bytes
        most = limit if self.is_large else min(limit, MOST_BYTES)
        if (content_length(request) or 0) > most:
            raise _too_large(most)
        loop = asyncio.get_running_loop()
        began, size, pieces = loop.time(), 0, []
        try:
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                if piece:
                    refuse_content(request, operation)
                    pieces.append(piece)
        except ClientDisconnect:
            raise HTTPException(400, "The connection was closed before the body was complete.") from None
        return ReadRequest(request, b"".join(pieces), pieces=len(pieces), seconds=loop.time() - began)

    def parse(self, request: ReadRequest) -> None:
        if self.is_form:
            request.parsed = parse_form(request.content)
        elif request.content:
            most = MOST_VALUES_OF_LARGE if self.is_large else MOST_VALUES
            request.parsed = parse_json(request.content, most)


def _too_large(most: int) -> HTTPException:
    # The rest of the body is not read, so the connection cannot serve another request.
    detail = f"The body is larger than the {most} bytes that are accepted here."
    return HTTPException(413, detail, {"Connection": "close"})


#: Names and elements of one body: an order of 100 lines has 500.
MOST_VALUES: Final = 2_000
#: Of a batch: 1,000 items with 8 fields each have 9,000.
MOST_VALUES_OF_LARGE: Final = 12_000
#: A batch's is three: a list of items with fields.
DEEPEST: Final = 16
MOST_FORM_FIELDS: Final = 64
#: Of a whole number: beyond every field's bounds, whatever digits follow. To make one of thousands of digits,
#: and to write it down again, takes the square of their number.
MOST_DIGITS: Final = 40


#: A string of JSON, to its end or to the text's: each character is looked at once, whatever follows.
STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class MalformedJson(BadRequest):
    code = "malformed_json"

    def __init__(self) -> None:
        detail = "The body is not valid JSON: correct its syntax."
        super().__init__(detail, errors=(FieldFault("", detail, self.code),))


class Repeated:
    """Stands for an object in which a name comes twice: the request does not say which is meant."""

    def __init__(self, name: str) -> None:
        self.name = name


#: What a value may be that has others in it.
INNER: Final = (dict, list, Repeated)


def parse_json(content: bytes, most: int) -> Any:
    """The document. Raises BadRequest for what cannot be read, Unprocessable for a name that comes twice."""
    repeated = False

    def made(pairs: list[tuple[str, Any]]) -> Any:
        nonlocal repeated
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        repeated = True
        return Repeated(_first_repeated(name for name, _ in pairs))

    try:
        # UTF-8, but for what says that it is another form of Unicode.
        text = content.decode(json.detect_encoding(content), "surrogatepass").removeprefix("\ufeff")
        braces = _count(text, most)
        document = json.loads(text, object_pairs_hook=made, parse_int=_integer, parse_constant=_no_constant)
    except JSONDecodeError:
        raise MalformedJson from None
    except (RecursionError, ValueError):
        # Too deep, or not Unicode.
        raise BadRequest(
            "The body is nested too deeply, or is not valid Unicode: send JSON in UTF-8."
        ) from None
    if repeated or braces > DEEPEST:
        _walk(document)
    return document


def _count(text: str, most: int) -> int:
    """How many objects and lists there may be in it. Raises BadRequest for more values than are needed.

    Before any is made: a megabyte of empty lists is half a million objects, which take half a second.
    """
    braces = text.count("[") + text.count("{")
    if braces + text.count(",") > most:
        # Most of a long text's are inside of strings.
        bare = STRINGS.sub("", text)
        braces = bare.count("[") + bare.count("{")
        if braces + bare.count(",") > most:
            raise BadRequest(f"The body has too many names and values: send at most {most}.")
    return braces


def parse_form(content: bytes) -> FormData:
    """The fields of a form in UTF-8, percent-encoded or not (RFC 6749, appendix B); each may come once."""
    try:
        fields = parse_qsl(
            content.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FORM_FIELDS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The form is not valid UTF-8: encode it in UTF-8.") from None
    except ValueError:
        raise BadRequest(f"The form has too many fields: send at most {MOST_FORM_FIELDS}.") from None
    if len(dict(fields)) != len(fields):
        # RFC 6749, section 3.2.
        name = _first_repeated(name for name, _ in fields)[:LONGEST_POINTER]
        raise BadRequest(f"Send each parameter once: {name} comes twice.")
    return FormData([*fields])


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("none is repeated")


def _no_constant(_: str) -> NoReturn:
    """NaN and Infinity, which the library takes for numbers."""
    raise MalformedJson


def _integer(digits: str) -> int:
    return int(digits[:MOST_DIGITS])


def _walk(document: Any) -> None:
    """Refuse what is too deep, or has an object with a repeated name."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, Repeated):
            detail = "The object has this field twice: send it once."
            fault = FieldFault(pointer_to((*path, value.name)), detail, "repeated_name")
            raise Unprocessable(detail, errors=(fault,))
        if len(path) >= DEEPEST:
            raise BadRequest(f"The body is nested too deeply: send at most {DEEPEST} levels.")
        members: Iterable[tuple[str | int, Any]]
        members = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [(member, (*path, name)) for name, member in members if isinstance(member, INNER)]
