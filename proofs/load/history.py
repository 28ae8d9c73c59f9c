"""What clients sent and what came of it: an append-only record, in memory and as JSON lines on disk."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

#: Codes of a 503 that say that nothing was done. Any other lost answer leaves the outcome unknown.
NOTHING_DONE: Final = frozenset({"unavailable", "overloaded"})
#: Codes after which the same request under the same key is sent again.
TRY_AGAIN: Final = frozenset({"idempotency_key_in_use", "too_many_requests", "slow_down"})
#: The error of a call whose client did not wait for the answer, on purpose.
ABANDONED: Final = "abandoned by the client"


@dataclass(slots=True)
class Call:
    """One request. `begin` and `end` are seconds of the monotonic clock of the machine.

    `sent` has what matters of the request, `body` what matters of the answer, `digest` all of its bytes.
    Tokens are named by the beginning of their hash.
    """

    client: str
    kind: str
    operation: str
    method: str
    path: str
    begin: float
    end: float = 0.0
    credential: str | None = None
    key: str | None = None
    sent: dict[str, Any] = field(default_factory=dict)
    status: int | None = None
    code: str | None = None
    body: Any = None
    digest: str | None = None
    version: int | None = None
    replayed: bool = False
    mark: str | None = None
    retry_after: str | None = None
    media: str | None = None
    error: str | None = None
    number: int = 0

    @property
    def done(self) -> bool:
        """What was asked for was done, or shown."""
        return self.status is not None and self.status < 400

    @property
    def refused(self) -> bool:
        """What was asked for was not done, for certain."""
        if self.status is None:
            return False
        return 400 <= self.status < 500 or (self.status == 503 and self.code in NOTHING_DONE)

    @property
    def unknown(self) -> bool:
        """It may have been done, or may still be."""
        return not (self.done or self.refused)

    @property
    def settled(self) -> bool:
        """The client knows enough, and does not send it again."""
        return self.status is not None and self.status < 500 and self.code not in TRY_AGAIN

    @property
    def good(self) -> bool:
        """The service did its work, be it that it refused what was asked for."""
        return self.settled and self.status not in {401, 429}


class History:
    """All calls in the order of their ends. `folder` gets `history.jsonl`; without it nothing is written."""

    def __init__(self, folder: Path | None = None) -> None:
        self.calls: list[Call] = []
        self.wall = time.time() - time.monotonic()
        #: Of each kind of client, when its last call with a good answer began and ended.
        self.last_good: dict[str, tuple[float, float]] = {}
        self._file = (folder / "history.jsonl").open("a") if folder is not None else None
        self.write({"wall": self.wall})

    def add(self, call: Call) -> None:
        call.number = len(self.calls)
        self.calls.append(call)
        if call.good and call.begin >= self.last_good.get(call.kind, (0.0, 0.0))[0]:
            self.last_good[call.kind] = call.begin, call.end
        self.write({"call": asdict(call)})

    def write(self, line: dict[str, Any]) -> None:
        """Anything else that helps to understand a failed run, such as a fault that was injected."""
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def first_good_after(self, moment: float) -> float | None:
        """Seconds from `moment` (monotonic) to the end of the first good answer that was asked for since."""
        ends = [call.end for call in self.calls if call.good and call.begin >= moment]
        return min(ends) - moment if ends else None

    def bad_answers(self) -> list[Call]:
        """Answers that no fault excuses: a 5xx but a 503 problem with Retry-After."""
        return [
            call
            for call in self.calls
            if call.status is not None
            and call.status >= 500
            and not (call.status == 503 and call.retry_after and call.code)
        ]

    @classmethod
    def read(cls, file: Path) -> Self:
        """One that a run has written."""
        made = cls()
        for line in file.read_text().splitlines():
            record = json.loads(line)
            made.wall = record.get("wall", made.wall)
            if "call" in record:
                made.calls.append(Call(**record["call"]))
        return made
