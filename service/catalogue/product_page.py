"""Images and attributes as the rows of items have them: the JSON that is sent (docs/adr/0056)."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from service.catalogue.attributes.values import MAX_ATTRIBUTES
from service.errors import Unprocessable

TOO_MANY: Final = f"The item would have more than {MAX_ATTRIBUTES} attributes: set some of them to `null`."


def stored(images_or_attributes: Any) -> str:
    return to_json(images_or_attributes).decode()


def merged(before: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attributes after a merge patch: null removes one, or all."""
    whole = {} if patch is None else {**before, **patch}
    return {name: value for name, value in whole.items() if value is not None}


def changed(before: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """What the row will have of them, where a patch's values set them. Raises Unprocessable for too many
    attributes.
    """
    page = {}
    if "images" in values:
        page["images"] = stored(values["images"] or [])
    if "attributes" in values:
        attributes = merged(from_json(before.attributes), values["attributes"])
        if len(attributes) > MAX_ATTRIBUTES:
            raise Unprocessable.at("/attributes", TOO_MANY, "too_long")
        page["attributes"] = stored(attributes)
    return page
