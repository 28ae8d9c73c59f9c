"""A client that remembers the lost time: what it holds from then must never lead to something else."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tests.server.process import PASSWORD

BEGINNING: Final = "1970-01-01T00:00:00Z"
MARK: Final = "next-updated-since"
LIMIT: Final = 100
POSITION: Final = "change-position"
#: The lists that change in the lost time.
FOLLOWED: Final = ("/items", "/stock", "/orders", "/admin/users")
#: Units there are, and those that are ordered.
STOCK: Final = 5
ORDERED: Final = 2
#: The header of a request that is sent again.
KEY: Final = {"Idempotency-Key": "witness-order"}
OWN: Final = ("/users/profile", "/users/profile/export")
#: Of an access token, or none: a client of the API.
Open = Callable[[str | None], httpx2.AsyncClient]


@dataclass
class Witness:
    """`before` the point that is restored, `in_the_lost_time` after it, and `after` the restore."""

    administrator: str
    #: Placed before the point, so that no webhook is called for it.
    order: int = 0
    _item: str = ""
    #: Changed in the lost time alone.
    _other: int = 0
    _answer: bytes = b""
    _tag: str = ""
    _token: str = ""
    _user: int = 0
    _mark: str = ""
    _copy: dict[int, Any] = field(default_factory=dict)
    #: Positions of the lists, from before and from the lost time.
    _held: dict[str, str] = field(default_factory=dict)
    _lost: dict[str, str] = field(default_factory=dict)

    async def before(self, opened: Open) -> None:
        async with opened(None) as anonymous:
            token = await _signed_in(anonymous, self.administrator)
        async with opened(token) as admin:
            item = {"name": "Witness", "price": "1.00", "stock": STOCK}
            made = (await admin.post("/items", json=item)).raise_for_status()
            other = (await admin.post("/items", json=item)).raise_for_status()
            self._item, self._other = f"/items/{made.json()['id']}", other.json()["id"]
            placed = await self._placed(admin)
            self._held = await _positions(admin)
            await _changes(admin, BEGINNING)  # a client that polls, so that the changes have their places
        self.order, self._answer = placed.json()["id"], placed.content

    async def in_the_lost_time(self, opened: Open) -> None:
        """Change a price, open an account, sell an item, and read as a client that keeps copies does."""
        async with opened(None) as anonymous:
            admin = await _signed_in(anonymous, self.administrator)
            self._user = await _registered(anonymous, "lost@shop.example")
            self._token = await _signed_in(anonymous, "lost@shop.example")
        async with opened(admin) as client:
            await _priced(client, self._item, "2.00")
            async with opened(None) as anonymous:
                # What staff is shown has a tag of its content too.
                self._tag = (await anonymous.get(self._item)).raise_for_status().headers["etag"]
            await _ordered(client, int(self._item.rpartition("/")[2]))
            await _priced(client, f"/items/{self._other}", "2.00")
            rows, self._mark = await _changes(client, BEGINNING)
            self._lost = await _positions(client)
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
        async with opened(admin) as client, opened(None) as anonymous:
            faults += await self._versions(client, anonymous)
            faults += await self._followed(client)
            faults += await self._positions(client)
            faults += await self._kept_order(client)
        return faults

    async def _placed(self, client: httpx2.AsyncClient) -> httpx2.Response:
        line = {"product_id": self._other, "quantity": ORDERED}
        return (await client.post("/orders", json=line, headers=KEY)).raise_for_status()

    async def _kept_order(self, client: httpx2.AsyncClient) -> list[str]:
        """An order from before the point is the same when it is sent again, and can be cancelled."""
        faults = []
        if (await self._placed(client)).content != self._answer:
            faults.append(f"the restored order {self.order} is answered otherwise when it is sent again")
        (await client.post(f"/orders/{self.order}/cancel", json={})).raise_for_status()
        stock = (await client.get(f"/items/{self._other}/stock")).raise_for_status().json()["quantity"]
        if stock != STOCK:
            faults.append(
                f"the restored order {self.order} was cancelled, and there are {stock} units, not {STOCK}"
            )
        return faults

    async def _versions(self, client: httpx2.AsyncClient, anonymous: httpx2.AsyncClient) -> list[str]:
        await _priced(client, self._item, "3.00")
        faults = []
        cached = await anonymous.get(self._item, headers={"If-None-Match": self._tag})
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

    async def _positions(self, client: httpx2.AsyncClient) -> list[str]:
        """What is wrong with going on from a position: one of the lost time has seen what is not there."""
        faults = []
        for when, positions, due in (("before", self._held, 200), ("then", self._lost, 410)):
            for path, position in positions.items():
                answer = await client.get(path, params={"changes_after": position, "limit": LIMIT})
                if answer.status_code != due:
                    faults.append(f"{path} answers a position of {when} with {answer.status_code}, not {due}")
        return faults


async def _positions(client: httpx2.AsyncClient) -> dict[str, str]:
    answers = {path: await client.get(path, params={"changes_after": "now"}) for path in FOLLOWED}
    return {path: answer.raise_for_status().headers[POSITION] for path, answer in answers.items()}


async def _ordered(client: httpx2.AsyncClient, item_id: int) -> None:
    body = {"product_id": item_id, "quantity": 1}
    answer = await client.post("/orders", json=body, headers={"Idempotency-Key": secrets.token_hex(16)})
    answer.raise_for_status()


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
