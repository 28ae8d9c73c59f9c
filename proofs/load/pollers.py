"""Copies of the catalogue and the posts, kept up to date by `updated_since`."""

from typing import Any, ClassVar, Final

from proofs.load.client import Client

BEGINNING: Final = "1970-01-01T00:00:00Z"
LISTS: Final = ("items", "items/removed", "posts", "posts/removed")
PAGE: Final = 100
#: Rounds of polling after the other clients have ended.
LAST_ROUNDS: Final = 40


def change_facts(body: list[dict[str, Any]]) -> list[list[Any]]:
    return [[row["id"], row.get("version")] for row in body]


class Poller(Client):
    kind: ClassVar[str] = "poller"
    pause: ClassVar[tuple[float, float]] = (0.3, 0.9)

    async def prepare(self) -> None:
        self._marks = dict.fromkeys(LISTS, BEGINNING)

    async def step(self) -> None:
        await self._poll(self.random.choice(LISTS))

    async def finish(self) -> None:
        """Once the others have ended: every list, to its end."""
        await self.load.others_ended.wait()
        for name in LISTS:
            for _ in range(LAST_ROUNDS):
                if await self._poll(name):
                    break

    async def _poll(self, name: str) -> bool:
        """Whether that was all, for now."""
        mark = self._marks[name]
        call = await self.insist(
            "list.poll",
            "GET",
            f"/{name}?updated_since={mark}&limit={PAGE}",
            keep=change_facts,
            sent={"list": name, "since": mark, "limit": PAGE},
        )
        if not call.done or call.mark is None:
            return False
        self._marks[name] = call.mark
        return len(call.body) < PAGE
