"""What came of the requests."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field

MAX_EXAMPLES = 20


@dataclass
class Counts:
    """What came of it. Only the first failures are kept in full."""

    outages: bool = False
    answered: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    refused: int = 0
    orders: int = 0
    wrong: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    longest: float = 0.0
    begin: float = field(default_factory=time.monotonic)

    def fail(self, what: str, *, status: int | None) -> None:
        """`status` is None without a response."""
        if self.outages and status in {None, 500, 503}:
            self.refused += 1
            return
        self.failed += 1
        if len(self.first) < MAX_EXAMPLES:
            self.first.append(f"{time.monotonic() - self.begin:8.2f} s  {what}")

    @property
    def went_well(self) -> bool:
        return bool(self.answered) and not self.failed and not self.wrong

    def summary(self) -> str:
        seconds = time.monotonic() - self.begin
        lines = [f"FAIL {one}" for one in [*self.first, *self.wrong]]
        lines += [f"{number:8} {what}" for what, number in sorted(self.answered.items())]
        lines.append(
            f"{self.answered.total()} requests answered as they should be, {self.failed} failed,"
            f" in {seconds:.0f} s; the longest took {self.longest:.2f} s"
        )
        if self.outages:
            lines.append(f"{self.refused} requests refused or without a response, which outages may cause")
        if self.orders:
            lines.append(f"{self.orders} orders are there once each, {len(self.wrong)} faults found")
        result = {
            "requests": self.answered.total() + self.failed + self.refused,
            "failed": self.failed,
            "refused": self.refused,
            "orders": self.orders,
            "wrong": len(self.wrong),
            "longest": round(self.longest, 2),
            "seconds": round(seconds, 1),
        }
        return "\n".join([*lines, json.dumps(result)])
