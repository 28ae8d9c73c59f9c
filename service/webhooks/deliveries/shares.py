"""How many tries one webhook may have under way: a receiver that hangs must not hold up the others."""

from collections import Counter
from typing import Final

#: In one worker, for a webhook whose last answer was good and quick, and for any other.
SHARE: Final = 8
SMALL_SHARE: Final = 2
QUICK_SECONDS: Final = 2.0


class Shares:
    """Those of one worker, which needs no lock: nothing here waits."""

    def __init__(self) -> None:
        self._under_way: Counter[int] = Counter()
        self._quick: set[int] = set()
        self._held: set[int] = set()

    def room(self, webhook_id: int) -> int:
        share = SHARE if webhook_id in self._quick else SMALL_SHARE
        return max(0, share - self._under_way[webhook_id])

    def take(self, webhook_id: int) -> None:
        self._under_way[webhook_id] += 1

    def give_back(self, webhook_id: int) -> None:
        self._under_way[webhook_id] -= 1

    def note(self, webhook_id: int, seconds: float, *, good: bool) -> None:
        if good and seconds < QUICK_SECONDS:
            self._quick.add(webhook_id)
        else:
            self._quick.discard(webhook_id)

    def hold(self, webhook_id: int) -> None:
        """Somebody waits for room, who has to be woken."""
        self._held.add(webhook_id)

    def release(self, webhook_id: int) -> bool:
        """Whether somebody waited: whoever asks wakes them. Whoever comes from now on holds anew."""
        waited = webhook_id in self._held
        self._held.discard(webhook_id)
        return waited
