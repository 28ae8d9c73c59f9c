"""Filters by attributes: `attributes[color]=red&min_attributes[weight_kg]=0.5`.

All of them together are one predicate of PostgreSQL's jsonpath, whose equalities the index of attributes
answers, also where several meet (docs/adr/0056).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from pydantic_core import PydanticCustomError

from service.catalogue.attributes import values
from service.errors import FieldFault, Unprocessable
from service.platform.http.deep_objects import described

#: Of all three kinds together.
MAX_FILTERS: Final = 20
T = TypeVar("T")
EQUAL, LEAST, MOST = "attributes", "min_attributes", "max_attributes"
_NUMBER: Final = re.compile(values.NUMBER_PATTERN, re.ASCII)
_UNBOUNDED: Final = Decimal(10**values.DIGITS)


class Range(NamedTuple):
    """The numbers between two, both included."""

    name: str
    least: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class AttributeFilters:
    """By the names of attributes. Equal values are text as it was sent, whatever type the attribute has."""

    equal: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, Decimal] = field(default_factory=dict)
    most: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def of(
        cls, equal: Mapping[str, str], least: Mapping[str, str], most: Mapping[str, str]
    ) -> "AttributeFilters | None":
        """Of texts that a client has sent; None where there are none. Raises Unprocessable."""
        if not (equal or least or most):
            return None
        filters = cls(
            {name: _text(name, text) for name, text in equal.items()},
            {name: _number(LEAST, name, text) for name, text in least.items()},
            {name: _number(MOST, name, text) for name, text in most.items()},
        )
        if sum(map(len, (filters.equal, filters.least, filters.most))) > MAX_FILTERS:
            raise Unprocessable.at(
                f"?{EQUAL}", f"Send at most {MAX_FILTERS} filters by attributes.", "too_long"
            )
        for each in filters.ranges:
            if each.least > each.most:
                raise _refusal(LEAST, each.name, "empty_range", "The lower bound is above the upper one.")
        return filters

    @property
    def names(self) -> set[str]:
        return {*self.equal, *self.least, *self.most}

    @property
    def ranges(self) -> list[Range]:
        return [
            Range(name, self.least.get(name, -_UNBOUNDED), self.most.get(name, _UNBOUNDED))
            for name in {**self.least, **self.most}
        ]

    @property
    def path(self) -> str | None:
        """The predicate; None without a filter."""
        return " && ".join(self._predicates()) or None

    def without(self, name: str) -> "AttributeFilters":
        return AttributeFilters(
            _without(self.equal, name), _without(self.least, name), _without(self.most, name)
        )

    def _predicates(self) -> Iterator[str]:
        for name, text in self.equal.items():
            same = [json.dumps(text, ensure_ascii=False)]
            if text in ("true", "false"):
                same.append(text)
            elif _NUMBER.fullmatch(text):
                same.append(f"{Decimal(text):f}")
            yield "(" + " || ".join(f'$."{name}" == {each}' for each in same) + ")"
        for bounds, comparison in ((self.least, ">="), (self.most, "<=")):
            yield from (f'$."{name}" {comparison} {bound:f}' for name, bound in bounds.items())


def _without(values: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in values.items() if key != name}


def _text(name: str, text: str) -> str:
    _check_name(EQUAL, name)
    try:
        return values.text(text)
    except PydanticCustomError as fault:
        raise _refusal(EQUAL, name, fault.type, str(fault)) from None


def _number(parameter: str, name: str, text: str) -> Decimal:
    _check_name(parameter, name)
    if not _NUMBER.fullmatch(text):
        advice = f"Send a number in digits, at most {values.DIGITS} of them before the decimal point and"
        raise _refusal(parameter, name, "wrong_format", f"{advice} {values.DECIMALS} after it.")
    return Decimal(text)


def _check_name(parameter: str, name: str) -> None:
    if not values.is_name(name):
        raise _refusal(parameter, name, "unknown_parameter", "No attribute can have this name: correct it.")


def _refusal(parameter: str, name: str, code: str, detail: str) -> Unprocessable:
    return Unprocessable(detail, errors=(FieldFault(f"?{parameter}[{name[:50]}]", detail, code),))


_BOUND: Final[dict[str, Any]] = {"type": "string", "pattern": f"^{values.NUMBER_PATTERN}$"}
#: For the documentation of routes that take these filters.
PARAMETERS: Final = [
    described(
        EQUAL,
        "Only items with these attributes, such as `attributes[color]=red`. A number or a truth value is"
        " written as text.",
        names=values.NAME_PATTERN,
        values=values.TEXT_SCHEMA,
        most=MAX_FILTERS,
        example={"color": "red"},
    ),
    described(
        LEAST,
        "Only items whose attributes are these numbers or more, such as `min_attributes[weight_kg]=0.5`.",
        names=values.NAME_PATTERN,
        values=_BOUND,
        most=MAX_FILTERS,
        example={"weight_kg": "0.5"},
    ),
    described(
        MOST,
        "Only items whose attributes are these numbers or less, such as `max_attributes[weight_kg]=2`.",
        names=values.NAME_PATTERN,
        values=_BOUND,
        most=MAX_FILTERS,
        example={"weight_kg": "2"},
    ),
]
