"""Responses and parameters that several operations share become components that they refer to."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from service.platform.http.openapi.descriptions import RESPONSE_NAMES

Json = dict[str, Any]
#: The place of one response or parameter: what holds it, and its key there.
Place = tuple[Any, Any]

OAUTH_ERROR: Final = {"$ref": "#/components/schemas/OAuthError"}


def share(document: Json) -> None:
    """Move responses and parameters that several operations have into `components`."""
    operations = [each for path in document["paths"].values() for each in path.values()]
    responses = [(each["responses"], status) for each in operations for status in each["responses"]]
    parameters = [
        (each["parameters"], position)
        for each in operations
        for position in range(len(each.get("parameters", ())))
    ]
    components = document["components"]
    components["responses"] = _shared("responses", responses, _response_name)
    components["parameters"] = _shared("parameters", parameters, _parameter_name)


def resolved(components: Json, part: Json) -> Json:
    """The response, header or parameter itself, where `part` refers to one."""
    reference = part.get("$ref")
    if reference is None:
        return part
    kind, name = reference.removeprefix("#/components/").split("/")
    found: Json = components[kind][name]
    return found


def _shared(kind: str, places: Iterable[Place], name_of: Callable[[Place, Json], str | None]) -> Json:
    """The components by name. Of two that would have one name the one that is used more has it."""
    alike: dict[str, list[Place]] = {}
    for holder, key in places:
        alike.setdefault(json.dumps(holder[key], sort_keys=True), []).append((holder, key))
    shared: Json = {}
    for text, _ in Counter({text: len(found) for text, found in alike.items()}).most_common():
        found = alike[text]
        holder, key = found[0]
        name = name_of(found[0], holder[key])
        if len(found) < 2 or name is None or name in shared:
            continue
        shared[name] = holder[key]
        for holder, key in found:
            holder[key] = {"$ref": f"#/components/{kind}/{name}"}
    return dict(sorted(shared.items()))


def _response_name(place: Place, response: Json) -> str | None:
    """None for those that answer with a resource, of which no two are the same."""
    name = RESPONSE_NAMES.get(int(place[1]))
    if name is None:
        return None
    schemas = [content["schema"] for content in response.get("content", {}).values()]
    patch = "Accept-Patch" in response.get("headers", {})
    return ("OAuth" if OAUTH_ERROR in schemas else "") + name + ("OfPatch" if patch else "")


def _parameter_name(_: Place, parameter: Json) -> str:
    """`Idempotency-Key` is `IdempotencyKey`, `item_id` is `ItemId`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[-_]", parameter["name"]))
