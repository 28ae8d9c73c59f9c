"""Grafana's schema of a dashboard, as its foundation SDK has it: classes with the type of each property.

The SDK itself passes over what it does not know when it reads JSON, and looks at no type.
"""

import enum
import types
import typing
from collections.abc import Iterator
from types import NoneType
from typing import Any, Final

from grafana_foundation_sdk.cog import runtime, variants
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as schema

register_default_plugins()

#: The SDK leaves these open: it has a class for each kind of panel and of query.
OPEN: Final = {"options", "custom"}
#: Of an annotation, what the data source's own plugin reads and the schema does not list.
OF_PROMETHEUS: Final = {"step", "titleFormat", "tagKeys"}


def properties(kind: type[Any]) -> dict[str, tuple[str, Any]]:
    """Of one of the SDK's classes: the attribute and the type for each name in JSON."""
    hints = typing.get_type_hints(kind)
    made, marks = kind(), {}
    for attribute in hints:
        marks[attribute] = object()
        setattr(made, attribute, marks[attribute])
    written = made.to_json()
    names = {id(value): name for name, value in written.items()}
    return {names[id(marks[each])]: (each, hints[each]) for each in hints if id(marks[each]) in names}


def faults(board: Any) -> Iterator[str]:
    """Where this JSON is no dashboard: unknown names, wrong types, values that are in no list."""
    yield from fitting(board, schema.Dashboard, "dashboard")


def fitting(value: Any, wanted: Any, where: str) -> Iterator[str]:
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in {typing.Union, types.UnionType}:
        yield from any_of(value, inner, where)
    elif origin is list:
        yield from many(value, inner[0], where)
    elif origin is typing.Literal or (isinstance(wanted, type) and issubclass(wanted, enum.Enum)):
        known = inner or [each.value for each in wanted]
        yield from [] if value in known else [f"{where}: {value!r} is none of {known}"]
    elif wanted is variants.Dataquery:
        yield from one(value, type(runtime.dataquery_from_json(value, "prometheus")), where)
    elif hasattr(wanted, "from_json"):
        yield from one(value, wanted, where)
    elif wanted not in {Any, object}:
        yield from plain(value, origin or wanted, where)


def any_of(value: Any, kinds: tuple[Any, ...], where: str) -> Iterator[str]:
    """The complaints of the kind that it comes nearest to."""
    tried = [[*fitting(value, kind, where)] for kind in kinds if kind is not NoneType or value is None]
    yield from min(tried, key=len)


def plain(value: Any, wanted: type[Any], where: str) -> Iterator[str]:
    accepted = (int, float) if wanted is float else wanted
    if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
        yield f"{where}: {value!r} is no {wanted.__name__}"


def many(value: Any, wanted: Any, where: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{where}: {value!r} is no list"
        return
    for position, each in enumerate(value):
        yield from fitting(each, wanted, f"{where}[{position}]")


def one(value: Any, wanted: type[Any], where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no object"
        return
    if wanted is schema.Panel:
        yield from of_its_kind(value, where)
    known = properties(wanted)
    for name, each in value.items():
        if wanted is schema.AnnotationQuery and name in OF_PROMETHEUS:
            yield from plain(each, str, f"{where}.{name}")
        elif name not in known:
            yield f"{where}.{name}: unknown to {wanted.__name__}"
        elif name not in OPEN:
            yield from fitting(each, known[name][1], f"{where}.{name}")


def of_its_kind(panel: dict[str, Any], where: str) -> Iterator[str]:
    """The options and settings that only this kind of panel has."""
    config = runtime.panelcfg_config(panel["type"])
    if config is None:
        yield f"{where}: there is no panel {panel['type']!r}"
        return
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    for value, hook in (
        (panel["options"], config.options_from_json_hook),
        (custom, config.field_config_from_json_hook),
    ):
        if hook is not None:
            yield from fitting(value, type(hook({})), where)
        elif value:
            yield f"{where}: {panel['type']} takes none of {value}"
