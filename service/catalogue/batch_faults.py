"""Refusing a batch: one error for all rows, so that they can be corrected together."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import Conflict, FieldFault, Unprocessable

DETAIL = "Nothing was changed: correct the rows that `errors` names, and send all of them again."


def refuse(faults: Sequence[FieldFault], conflict: type[Conflict], extra: Mapping[str, Any]) -> None:
    """Raise Unprocessable if any of the faults is one of input, and `conflict`, which has the members
    `extra`, if all have its code.
    """
    if not faults:
        return
    if any(fault.code != conflict.code for fault in faults):
        raise Unprocessable(DETAIL, errors=tuple(faults), all_faults=True)
    raise conflict(DETAIL, errors=tuple(faults), extra=extra, all_faults=True)
