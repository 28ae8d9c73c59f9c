"""Whether a series of measurements grows: the median of the slopes between all pairs of points (Theil-Sen).

Up to 29 % of the points may be anything, such as peaks or a moment in which a process was replaced: they move
it little. A least-squares line would follow them.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

#: What comes before is warm-up: caches fill, and processes have not seen every kind of request.
WARM_UP: Final = 1 / 3
Point = tuple[float, float]


@dataclass(frozen=True)
class Bound:
    """How much of its level a quantity may grow from the end of the warm-up on, and how much in any case: the
    larger of the two.
    """

    share: float
    least: float


@dataclass(frozen=True)
class Growth:
    """Level and growth within the time that counts, and the growth that it may have."""

    level: float
    grown: float
    allowed: float
    seconds: float

    @property
    def per_hour(self) -> float:
        return self.grown / self.seconds * 3_600

    @property
    def too_much(self) -> bool:
        return self.grown > self.allowed


def growth(points: Sequence[Point], bound: Bound) -> Growth:
    """`points` are seconds and values, in the order of time.

    Raises ValueError where fewer than three of them count.
    """
    begin, end = points[0][0], points[-1][0]
    counted = [point for point in points if point[0] >= begin + (end - begin) * WARM_UP]
    if len(counted) < 3:
        raise ValueError(f"{len(counted)} points say nothing")
    slope = statistics.median(
        (later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in combinations(counted, 2)
    )
    seconds = counted[-1][0] - counted[0][0]
    level = statistics.median(value for _, value in counted)
    return Growth(level, slope * seconds, max(bound.share * level, bound.least), seconds)
