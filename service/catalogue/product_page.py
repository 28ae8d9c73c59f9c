"""Images, attributes and metadata as the rows of items have them: the JSON that is sent (docs/adr/0056)."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json

from service.catalogue.attributes.values import MAX_ATTRIBUTES
from service.errors import Unprocessable
from service.platform.http import metadata
from service.platform.http.merge_patch import merged, stored

TOO_MANY: Final = f"The item would have more than {MAX_ATTRIBUTES} attributes: set some of them to `null`."


def changed(before: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """What the row will have of them, where a patch's values set them. Raises Unprocessable for too many
    attributes, or too much metadata.
    """
    page = {}
    if "images" in values:
        page["images"] = stored(values["images"] or [])
    if "attributes" in values:
        attributes = merged(from_json(before.attributes), values["attributes"])
        if len(attributes) > MAX_ATTRIBUTES:
            raise Unprocessable.at("/attributes", TOO_MANY, "too_long")
        page["attributes"] = stored(attributes)
    if "metadata" in values:
        page["metadata"] = metadata.changed(before.metadata, values["metadata"])
    return page
