"""What bodies are made of, in bounds: whatever a client sends takes no longer to read than to send.

The bounds are far above any legal body, and far below what holds an event loop.
"""

import json
from collections.abc import Iterable, Sequence
from json import JSONDecodeError
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from starlette.datastructures import FormData

from service.edge.problems import LONGEST_POINTER, pointer_to
from service.errors import BadRequest, FieldFault, Unprocessable

#: Names and elements of one body: an order of 100 lines has 500.
MOST_VALUES: Final = 2_000
#: Of a batch: 1,000 items with 8 fields each have 9,000.
MOST_VALUES_OF_LARGE: Final = 12_000
#: A batch's is three: a list of items with fields.
DEEPEST: Final = 16
MOST_FORM_FIELDS: Final = 64


class MalformedJson(BadRequest):
    code = "malformed_json"

    def __init__(self, detail: str = "The body is not valid JSON.") -> None:
        super().__init__(detail, errors=(FieldFault("", detail, self.code),))


class Repeated:
    """Stands for an object in which a name comes twice: which of both is meant, nobody can say."""

    def __init__(self, name: str) -> None:
        self.name = name


def parse_json(content: bytes, most: int) -> Any:
    """The document. Raises BadRequest for what is no JSON, Unprocessable for what nobody needs to send."""
    repeated: list[Repeated] = []

    def made(pairs: list[tuple[str, Any]]) -> Any:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        repeated.append(Repeated(_first_repeated(name for name, _ in pairs)))
        return repeated[-1]

    try:
        # UTF-8, but for what says that it is another form of Unicode.
        text = content.decode(json.detect_encoding(content), "surrogatepass").removeprefix("\ufeff")
        document = json.loads(text, object_pairs_hook=made, parse_constant=_no_constant)
    except JSONDecodeError:
        raise MalformedJson from None
    except MalformedJson:
        raise
    except (RecursionError, ValueError):
        # Too deep, not Unicode, or a number of thousands of digits.
        raise BadRequest("The body cannot be read as JSON.") from None
    # Each value but the first comes after one of these, or in an object of its own.
    braces = text.count("[") + text.count("{")
    if repeated or braces > DEEPEST or braces + text.count(",") > most:
        _walk(document, most)
    return document


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
    raise MalformedJson("NaN and Infinity are no numbers of JSON.")


def _walk(document: Any, most: int) -> None:
    """Refuse what has too many values, is too deep, or has an object with a repeated name."""
    left = most
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while waiting:
        value, pointer = waiting.pop()
        if isinstance(value, Repeated):
            raise _refusal((*pointer, value.name), "This name is given twice: send it once.", "repeated_name")
        if isinstance(value, dict):
            members: Iterable[tuple[str | int, Any]] = value.items()
        elif isinstance(value, list):
            members = enumerate(value)
        else:
            continue
        left -= len(value)
        if left < 0:
            raise _refusal((), f"No request here needs more than {most} names and values.", "too_many_values")
        if len(pointer) >= DEEPEST:
            raise BadRequest("The body cannot be read as JSON: it is too deeply nested.")
        waiting.extend((member, (*pointer, name)) for name, member in members)


def _refusal(path: Sequence[str | int], detail: str, code: str) -> Unprocessable:
    return Unprocessable(detail, errors=(FieldFault(pointer_to(path), detail, code),))
