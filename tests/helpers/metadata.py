"""Metadata, for tests that look at what has it and what has not."""

from collections.abc import Mapping
from typing import Any


def in_events(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What staff was shown, as an event has it."""
    return {name: value for name, value in shown.items() if name != "metadata"}
