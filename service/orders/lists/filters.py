"""Which orders a list is about."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any


@dataclass(frozen=True, slots=True)
class Filters:
    user_id: int | None = None
    status: str | None = None
    #: Both days are included.
    placed_from: date | None = None
    placed_until: date | None = None
    reference: str | None = None
    external_id: str | None = None
    search: str | None = None
    metadata: str | None = None

    def values(self) -> dict[str, Any]:
        """Those of the statement's conditions, by their names."""
        return {
            "user_id": self.user_id,
            "status": self.status,
            "placed_from": datetime.combine(self.placed_from, time.min, UTC) if self.placed_from else None,
            "placed_until": datetime.combine(self.placed_until, time.max, UTC) if self.placed_until else None,
            "reference": self.reference,
            "external_id": self.external_id,
            "search": self.search,
            "metadata": self.metadata,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What a search stands for: the orders of these customers, and the one with this number."""

    customer_ids: list[int]
    order_id: int | None
