"""The shop that all have: 10,000 items, 100 customers, 20 orders each; and who is signed in."""

import json
import secrets
import time
import urllib.parse
import urllib.request
from typing import Any

import asyncpg
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from install import PEERS
from load import Load, request
from services import ADMIN, PASSWORD

ITEMS, CUSTOMERS, ORDERS_EACH = 10_000, 100, 20
#: Items that are read and ordered: what customers look at is a small part of a catalogue.
HOT = 100
V1 = "/api/v1"
PRICE = "12.50"
HOME = {"street": "1 Bench Street", "city": "Berlin", "postal_code": "12209", "country": "DE"}
#: Access tokens of Tradepost last ten minutes.
SIGN_IN_SECONDS = 240
COLOURS = (
    "amber", "azure", "black", "bronze", "coral", "cream", "crimson", "cyan", "ebony", "gold", "green",
    "indigo", "ivory", "jade", "lilac", "lime", "magenta", "maroon", "mint", "ochre", "olive", "orange",
    "pearl", "pink", "plum", "purple", "red", "rose", "ruby", "russet", "sand", "scarlet", "sienna",
    "silver", "teal", "umber", "violet", "white", "wine", "yellow",
)  # fmt: skip
THINGS = (
    "anvil", "apron", "basket", "bench", "blanket", "bottle", "bowl", "broom", "bucket", "candle", "carpet",
    "chair", "chest", "clock", "coat", "cup", "curtain", "cushion", "desk", "drawer", "fork", "frame",
    "glove", "hammer", "hat", "jar", "jug", "kettle", "knife", "ladder", "lamp", "lantern", "mirror", "mug",
    "needle", "oven", "pan", "pillow", "plate", "pot", "rake", "rope", "saw", "scarf", "shelf", "shovel",
    "spoon", "stool", "table", "towel",
)  # fmt: skip
MAKES = ("oak", "steel", "linen", "glass", "leather")


def item(number: int) -> dict[str, Any]:
    """Each pair of colour and thing is in five items, one a material."""
    colour, rest = number % len(COLOURS), number // len(COLOURS)
    thing, make = rest % len(THINGS), rest // len(THINGS) % len(MAKES)
    return {
        "sku": f"B-{number}",
        "name": f"{COLOURS[colour].title()} {THINGS[thing]} of {MAKES[make]}, size {number % 9}",
        "description": "Described in a sentence or two, as is usual in a shop, with what it is made of.",
        "category": THINGS[thing],
    }


def words(turn: int) -> str:
    """Another search each time, for thousands of turns: what people type is seldom in a cache."""
    turn = turn * 7_919 % (len(COLOURS) * len(THINGS))
    return urllib.parse.quote_plus(f"{COLOURS[turn % len(COLOURS)]} {THINGS[turn // len(COLOURS)]}")


def customer(number: int) -> str:
    return f"customer{number}@tradepost.example"


class Tokens:
    """Access tokens of the peers: one key, ES256 as Tradepost's are."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public_key = public.decode()

    def issue(self) -> list[str]:
        expires = int(time.time()) + 86_400
        return [
            jwt.encode({"sub": str(number + 1), "exp": expires}, self._key, "ES256")
            for number in range(CUSTOMERS)
        ]


async def create_databases(server: str, names: list[str]) -> None:
    """One for each peer, filled once and copied."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute("CREATE DATABASE peers")
        await _fill(server.rpartition("/")[0] + "/peers")
        for name in names:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE peers")
    finally:
        await connection.close()


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute((PEERS / "schema.sql").read_text())
        items = [item(number) for number in range(ITEMS)]
        await connection.executemany(
            "INSERT INTO items (sku, name, description, category, price, stock)"
            " VALUES ($1, $2, $3, $4, 12.50, 1000000)",
            [tuple(each.values()) for each in items],
        )
        await connection.executemany(
            "INSERT INTO users (email, full_name, hashed_password) VALUES ($1, 'Maria Anders', 'none')",
            [(customer(number),) for number in range(CUSTOMERS)],
        )
        await connection.execute(
            "INSERT INTO orders (user_id, status, total) SELECT u, 'paid', 25"
            f" FROM generate_series(1, {ORDERS_EACH}) n, generate_series(1, {CUSTOMERS}) u"
        )
        await connection.execute(
            "INSERT INTO order_lines (order_id, product_id, name, quantity, unit_price)"
            " SELECT o.id, i.id, i.name, 1, i.price FROM orders o, generate_series(0, 1) n"
            f" JOIN items i ON true WHERE i.id = (o.id + n * 7) % {HOT} + 1"
        )
    finally:
        await connection.close()


async def analyze(server: str, names: list[str]) -> str:
    """All tables as a running database has them; the version of the server."""
    for name in names:
        connection = await asyncpg.connect(server.rpartition("/")[0] + f"/{name}")
        try:
            await connection.execute("VACUUM (ANALYZE)")
            version = str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()
    return version


def order(product_ids: list[int]) -> bytes:
    lines = [{"product_id": each, "quantity": 1, "unit_price": PRICE} for each in product_ids]
    return json.dumps({"lines": lines, "ship_to": HOME}).encode()


class Tradepost:
    """Its shop, made over its API, and its customers' access tokens."""

    def __init__(self, port: int) -> None:
        self._url, self._load = f"http://127.0.0.1:{port}{V1}", Load(port)
        self.admin = self._sign_in(ADMIN)
        self.items: list[int] = []
        self.tags: dict[int, str] = {}
        self.tokens: list[str] = []

    def close(self) -> None:
        self._load.close()

    def fill(self, customers: int = CUSTOMERS, orders_each: int = ORDERS_EACH) -> None:
        self._customers = [customer(number) for number in range(customers)]
        for first in range(0, ITEMS, 1_000):
            some = [
                item(number) | {"price": PRICE, "stock": 1_000_000} for number in range(first, first + 1_000)
            ]
            self.items += [each["id"] for each in self._call("/items/batch", self.admin, some)]
        for each in self.items[:HOT]:
            with urllib.request.urlopen(f"{self._url}/items/{each}", timeout=60) as answer:
                self.tags[each] = answer.headers["ETag"]
        bodies = [
            json.dumps({"email": email, "password": PASSWORD, "full_name": "Maria Anders"}).encode()
            for email in self._customers
        ]
        register = [request("POST", f"{V1}/users", body, Content_Type="application/json") for body in bodies]
        self._load.saturate(register, b"201", once=True)
        self.sign_in()
        for number in range(orders_each):
            orders = [
                self.order(token, [self.items[(turn + number + step) % HOT] for step in (0, 7)])
                for turn, token in enumerate(self.tokens)
            ]
            self.settle(self._load.saturate(orders, b"201", once=True).bodies)

    def order(self, token: str, product_ids: list[int]) -> bytes:
        headers = {"Content_Type": "application/json", "Idempotency_Key": secrets.token_hex(16)}
        body = order(product_ids)
        return request("POST", f"{V1}/orders", body, Authorization=f"Bearer {token}", **headers)

    def settle(self, orders: list[bytes]) -> None:
        """Have these orders paid, as a shop's are: what a customer may leave unpaid is bounded."""
        headers = {"Authorization": f"Bearer {self.admin}", "Content_Type": "application/json"}
        paid = [
            request("POST", f"{V1}/orders/{json.loads(each)['id']}/pay", b'{"reference": "bench"}', **headers)
            for each in orders
        ]
        self._load.saturate(paid, b"200", once=True)

    def stay_signed_in(self) -> None:
        """Sign all in again in time, and show each token once: its first use costs more than is measured."""
        if time.monotonic() - self._signed_in > SIGN_IN_SECONDS:
            self.sign_in()

    def sign_in(self) -> None:
        self.admin = self._sign_in(ADMIN)
        forms = [_form(email) for email in self._customers]
        headers = {"Content_Type": "application/x-www-form-urlencoded"}
        requests = [request("POST", f"{V1}/auth/token", form, **headers) for form in forms]
        answers = [json.loads(body) for body in self._load.saturate(requests, b"200", once=True).bodies]
        self.tokens[:] = [answer["access_token"] for answer in answers]
        shown = [
            request("GET", f"{V1}/users/profile", Authorization=f"Bearer {token}") for token in self.tokens
        ]
        self._load.saturate(shown, b"200", once=True)
        self._signed_in = time.monotonic()

    def _call(self, path: str, token: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        call = urllib.request.Request(self._url + path, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(call, timeout=60) as answer:
            return json.loads(answer.read())

    def _sign_in(self, email: str) -> str:
        with urllib.request.urlopen(self._url + "/auth/token", _form(email), timeout=60) as answer:
            return str(json.loads(answer.read())["access_token"])


def _form(email: str) -> bytes:
    return urllib.parse.urlencode(
        {"grant_type": "password", "username": email, "password": PASSWORD}
    ).encode()
