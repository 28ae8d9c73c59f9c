"""The kinds of request that are compared."""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import shop
from load import request
from services import Running


@dataclass
class Side:
    """A service, and what its requests are made of."""

    running: Running
    items: list[int]
    tokens: list[str]
    tags: dict[int, str] = field(default_factory=dict)
    #: Requests made so far, by kind: which item, customer or words the next has.
    turns: dict[str, itertools.count] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.running.kind.name

    @property
    def ours(self) -> bool:
        return self.name == "tradepost"

    @property
    def base(self) -> str:
        return shop.V1 if self.ours else ""

    @property
    def members(self) -> str:
        """Tradepost has one route for all; the peers have one for those who are signed in."""
        return shop.V1 if self.ours else "/members"

    def hot(self, turn: int) -> int:
        return self.items[turn % shop.HOT]

    def bearer(self, turn: int) -> str:
        return f"Bearer {self.tokens[turn % len(self.tokens)]}"


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    #: Requests a second, of which each service can do more.
    rate: int
    make: Callable[[Side, int], bytes]
    status: bytes = b"200"
    #: Of those that have no entity tags.
    tutorial: bytes = b"200"
    #: Of orders no more than there are customers may be unpaid.
    orders: bool = False
    #: Where it is the same request as another to the peers, they are not asked again.
    as_row: str = ""

    def expected(self, side: Side) -> bytes:
        return self.tutorial if side.name == "tutorial" else self.status

    def requests(self, side: Side, count: int) -> list[bytes]:
        turns = side.turns.setdefault(self.key, itertools.count())
        return [self.make(side, next(turns)) for _ in range(count)]


def _item(side: Side, turn: int) -> bytes:
    return request("GET", f"{side.base}/items/{side.hot(turn)}")


def _known_item(side: Side, turn: int) -> bytes:
    tag = side.tags.get(side.hot(turn), '"1"')
    return request("GET", f"{side.base}/items/{side.hot(turn)}", If_None_Match=tag)


def _list(side: Side, _: int) -> bytes:
    return request("GET", f"{side.base}/items?limit=20")


def _search(side: Side, turn: int) -> bytes:
    return request("GET", f"{side.base}/items?limit=20&search={shop.words(turn)}")


def _item_signed_in(side: Side, turn: int) -> bytes:
    return request("GET", f"{side.members}/items/{side.hot(turn)}", Authorization=side.bearer(turn))


def _item_past_the_cache(side: Side, turn: int) -> bytes:
    path, bearer = f"{side.members}/items/{side.hot(turn)}", side.bearer(turn)
    return request("GET", path, Authorization=bearer, Cache_Control="no-cache")


def _list_signed_in(side: Side, turn: int) -> bytes:
    return request("GET", f"{side.members}/items?limit=20", Authorization=side.bearer(turn))


def _profile(side: Side, turn: int) -> bytes:
    path = f"{shop.V1}/users/profile" if side.ours else "/profile"
    return request("GET", path, Authorization=side.bearer(turn))


def _own_orders(side: Side, turn: int) -> bytes:
    return request("GET", f"{side.base}/orders?limit=20", Authorization=side.bearer(turn))


def _order(side: Side, turn: int) -> bytes:
    """The key is sent to all; only Tradepost does something with it."""
    body = shop.order([side.hot(turn), side.hot(turn + 7)])
    headers = {"Content_Type": "application/json", "Idempotency_Key": secrets.token_hex(16)}
    return request("POST", f"{side.base}/orders", body, Authorization=side.bearer(turn), **headers)


ROWS = (
    Row("item", "item", 400, _item),
    Row("not_modified", "item, 304", 400, _known_item, status=b"304"),
    Row("list", "list of 20", 200, _list),
    Row("search", "search", 40, _search),
    Row("item_signed_in", "item, signed in", 400, _item_signed_in),
    Row("item_uncached", "item, signed in, `no-cache`", 400, _item_past_the_cache, as_row="item_signed_in"),
    Row("list_signed_in", "list of 20, signed in", 200, _list_signed_in),
    Row("profile", "profile", 300, _profile),
    Row("own_orders", "own orders, 20", 100, _own_orders),
    Row("order", "order of two lines", 50, _order, status=b"201", tutorial=b"201", orders=True),
)
