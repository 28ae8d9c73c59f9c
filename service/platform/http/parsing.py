"""What bodies are made of, in bounds: whatever a client sends takes no longer to read than to send.

The bounds are far above any legal body, and far below what holds an event loop.
"""

import json
import re
from collections.abc import Iterable
from json import JSONDecodeError
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from starlette.datastructures import FormData

from service.errors import BadRequest, FieldFault, Unprocessable
from service.platform.http.problems import LONGEST_POINTER, pointer_to

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
        detail = "The body is not valid JSON."
        super().__init__(detail, errors=(FieldFault("", detail, self.code),))


class Repeated:
    """Stands for an object in which a name comes twice: which of both is meant, nobody can say."""

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
        raise BadRequest("The body cannot be read as JSON.") from None
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
            raise BadRequest(f"No request here needs more than {most} names and values.")
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
        raise BadRequest("The form is not in UTF-8.") from None
    except ValueError:
        raise BadRequest(f"The form has more than {MOST_FORM_FIELDS} fields.") from None
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
            detail = "This name is given twice: send it once."
            fault = FieldFault(pointer_to((*path, value.name)), detail, "repeated_name")
            raise Unprocessable(detail, errors=(fault,))
        if len(path) >= DEEPEST:
            raise BadRequest("The body cannot be read as JSON: it is too deeply nested.")
        members: Iterable[tuple[str | int, Any]]
        members = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [(member, (*path, name)) for name, member in members if isinstance(member, INNER)]
