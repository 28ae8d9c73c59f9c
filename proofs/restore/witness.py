"""A client that remembers the lost time: what it holds from then must never lead to something else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tests.server.process import PASSWORD

BEGINNING: Final = "1970-01-01T00:00:00Z"
MARK: Final = "next-updated-since"
LIMIT: Final = 100
OWN: Final = ("/users/profile", "/users/profile/export")
#: Of an access token, or none: a client of the API.
Open = Callable[[str | None], httpx2.AsyncClient]


@dataclass
class Witness:
    """`before` the point that is restored, `in_the_lost_time` after it, and `after` the restore."""

    administrator: str
    _item: str = ""
    _tag: str = ""
    _token: str = ""
    _user: int = 0
    _mark: str = ""
    _copy: dict[int, Any] = field(default_factory=dict)

    async def before(self, opened: Open) -> None:
        async with opened(None) as anonymous:
            token = await _signed_in(anonymous, self.administrator)
        async with opened(token) as admin:
            item = {"name": "Witness", "price": "1.00", "stock": 1}
            made = (await admin.post("/items", json=item)).raise_for_status()
        self._item = f"/items/{made.json()['id']}"

    async def in_the_lost_time(self, opened: Open) -> None:
        """Change a price, open an account, and read all items as a client that keeps a copy does."""
        async with opened(None) as anonymous:
            admin = await _signed_in(anonymous, self.administrator)
            self._user = await _registered(anonymous, "lost@shop.example")
            self._token = await _signed_in(anonymous, "lost@shop.example")
        async with opened(admin) as client:
            self._tag = (await _priced(client, self._item, "2.00")).headers["etag"]
            rows, self._mark = await _changes(client, BEGINNING)
        self._copy = {row["id"]: row for row in rows}

    async def after(self, opened: Open) -> list[str]:
        """What is wrong, as sentences."""
        async with opened(None) as anonymous:
            admin = await _signed_in(anonymous, self.administrator)
            user = await _registered(anonymous, "found@shop.example")
        faults = [] if user > self._user else [f"account {user} has a number that a lost one had"]
        async with opened(self._token) as lost:
            answers = {path: (await lost.get(path)).status_code for path in OWN}
        faults += [
            f"{path} answers the access token of a lost account with {status}, not 401"
            for path, status in answers.items()
            if status != 401
        ]
        async with opened(admin) as client:
            faults += await self._versions(client)
            faults += await self._followed(client)
        return faults

    async def _versions(self, client: httpx2.AsyncClient) -> list[str]:
        await _priced(client, self._item, "3.00")
        faults = []
        cached = await client.get(self._item, headers={"If-None-Match": self._tag})
        if cached.status_code != 200:
            faults.append(f"a lost version of an item is answered {cached.status_code}: it is not the newest")
        change = await client.patch(self._item, json={"price": "4.00"}, headers={"If-Match": self._tag})
        if change.status_code != 412:
            faults.append(f"a change of a lost version of an item is answered {change.status_code}, not 412")
        return faults

    async def _followed(self, client: httpx2.AsyncClient) -> list[str]:
        """The copy, with what came since its mark, is what there is, but for items that are lost."""
        rows, _ = await _changes(client, self._mark)
        self._copy |= {row["id"]: row for row in rows}
        there = {row["id"]: row for row in (await _changes(client, BEGINNING))[0]}
        wrong = [number for number, row in there.items() if self._copy.get(number) != row]
        return (
            [f"items {wrong} of a client's copy are not as they are, after polling from its mark"]
            if wrong
            else []
        )


async def _signed_in(client: httpx2.AsyncClient, email: str) -> str:
    form = {"grant_type": "password", "username": email, "password": PASSWORD}
    return str((await client.post("/auth/token", data=form)).raise_for_status().json()["access_token"])


async def _registered(client: httpx2.AsyncClient, email: str) -> int:
    body = {"email": email, "password": PASSWORD, "full_name": "Maria Anders"}
    return int((await client.post("/users", json=body)).raise_for_status().json()["id"])


async def _priced(client: httpx2.AsyncClient, item: str, price: str) -> httpx2.Response:
    answer = await client.patch(item, json={"price": price}, headers={"If-Match": "*"})
    return answer.raise_for_status()


async def _changes(client: httpx2.AsyncClient, since: str) -> tuple[list[dict[str, Any]], str]:
    """All items that were changed since, and the mark for the next time."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get("/items", params={"updated_since": since, "limit": LIMIT})
        rows = answer.raise_for_status().json()
        found += rows
        if since == answer.headers[MARK] or len(rows) < LIMIT:
            return found, answer.headers[MARK]
        since = answer.headers[MARK]
