"""Bodies of many rows: validated some at a time, so that other requests are served between, with all faults.

A client that uploads a thousand rows corrects them all before it sends them again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi._compat import ModelField

from service.errors import FieldFault, Unprocessable
from service.platform.http.problems import detail_of, faults_of

#: With a fault in each of eight fields they take some 5 ms.
ROWS: Final = 100
FAULTS: Final = 500

Raw = dict[str, Any]


def longest(field: ModelField) -> int:
    """The rows that a body may have, by its annotation; 0 for a body that is no list."""
    return max((getattr(each, "max_length", None) or 0 for each in field.field_info.metadata), default=0)


async def validate(field: ModelField, rows: Sequence[Any]) -> tuple[list[Any], list[Raw]]:
    """The rows, and what is wrong with them as pydantic lists it."""
    values: list[Any] = []
    faults: list[Raw] = []
    for first in range(0, len(rows), ROWS):
        await asyncio.sleep(0)
        found, wrong = field.validate(rows[first : first + ROWS], {}, loc=("body",))
        values += found or ()
        faults += [_moved(fault, first) for fault in wrong]
    return values, faults


async def refusal(raw: Sequence[Raw]) -> Unprocessable:
    """The error that names every fault."""
    faults: list[FieldFault] = []
    for first in range(0, len(raw), FAULTS):
        await asyncio.sleep(0)
        faults += faults_of(raw[first : first + FAULTS])
    return Unprocessable(detail_of(faults), errors=tuple(faults), all_faults=True)


def _moved(fault: Raw, first: int) -> Raw:
    body, row, *rest = fault["loc"]
    return {**fault, "loc": (body, row + first, *rest)}
