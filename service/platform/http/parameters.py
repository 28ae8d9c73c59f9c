"""The parameters of a handler that stand in the path, the query, the headers or the cookies."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self, cast

from fastapi._compat import ModelField, field_annotation_is_scalar
from fastapi.dependencies.utils import request_params_to_args
from fastapi.params import Header, Param

#: Defaults of these types are the same for all requests: no handler can change one.
IMMUTABLE: Final = (type(None), bool, int, str, Decimal, datetime)


@dataclass(frozen=True, slots=True)
class Parameter:
    field: ModelField
    #: Its name in the request.
    key: str
    place: tuple[str, str]
    #: Whether its value is the one text that stands under its name.
    is_scalar: bool
    #: Whether `default` is its value where it is not sent.
    has_default: bool
    default: Any

    @classmethod
    def of(cls, field: ModelField) -> Self:
        values, faults = request_params_to_args([field], {})
        default = values.get(field.name)
        info = cast("Param", field.field_info)
        is_scalar = field_annotation_is_scalar(info.annotation) and not (
            isinstance(info, Header) and field.alias == field.name
        )
        has_default = is_scalar and not faults and isinstance(default, IMMUTABLE)
        return cls(field, field.alias, (info.in_.value, field.alias), is_scalar, has_default, default)

    def read(self, sent: Mapping[str, Any], values: dict[str, Any]) -> list[Any]:
        """Add its value to `values`. Returns its faults as FastAPI reports them."""
        text = sent.get(self.key) if self.is_scalar else None
        if text is not None:
            value, faults = self.field.validate(text, values, loc=self.place)
            if not faults:
                values[self.field.name] = value
            return faults
        if self.has_default:
            values[self.field.name] = self.default
            return []
        found, faults = request_params_to_args([self.field], sent)
        values.update(found)
        return faults
