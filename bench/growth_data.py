"""A shop of any size for bench/growth.py: items, customers and orders, by COPY.

Names are made of real words, as a shop's are: few words are in many names, and many words in few. The number
of different words grows with the catalogue, but less than it does. All is drawn from one seed, so that two
runs measure the same shop.
"""

import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

#: Per item.
ORDERS, ITEMS_PER_USER = 5, 10
SEED: Final = 20261130
FIRST_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
DAYS: Final = 1_000
#: What a shop sells, by category; the first of each are the most frequent.
NOUNS: Final = {
    "Furniture": "chair table desk shelf sofa bed wardrobe stool bench cabinet dresser armchair nightstand",
    "Kitchen": "pan knife bowl kettle toaster blender grinder colander spatula saucepan casserole whisk",
    "Beverages": "coffee tea juice lemonade cider syrup espresso cocoa kombucha tonic cordial punch",
    "Confections": "chocolate biscuits marmalade fudge caramel nougat truffle shortbread marzipan toffee",
    "Produce": "apples pears tomatoes onions potatoes carrots mushrooms spinach cabbage lentils beans",
    "Seafood": "salmon herring tuna shrimp mackerel caviar anchovies sardines oysters mussels crab",
    "Garden": "shovel rake hose planter trellis pruner wheelbarrow gloves fertilizer seeds compost hedge",
    "Clothing": "shirt jacket trousers sweater socks scarf cardigan blouse raincoat mittens waistcoat belt",
    "Shoes": "boots sneakers sandals loafers slippers clogs moccasins trainers brogues wellingtons",
    "Lighting": "lamp bulb lantern chandelier spotlight torch candle sconce projector dimmer",
    "Toys": "puzzle blocks doll train kite dominoes marbles yoyo teddy robot scooter",
    "Stationery": "pencil notebook envelope stapler folder ruler eraser calendar binder sharpener",
    "Tools": "hammer screwdriver drill saw wrench pliers chisel clamp sander ladder toolbox",
    "Electronics": "cable charger keyboard speaker monitor headphones adapter microphone router camera",
    "Bathroom": "towel soap mirror shampoo brush faucet curtain sponge razor lotion",
    "Sports": "ball racket bicycle helmet skates dumbbell tent backpack paddle snorkel",
}
QUALITIES: Final = (
    "classic small large folding organic red blue white black green light premium round soft compact portable"
    " dark sweet double wide mini heavy natural smooth waterproof vintage modern rustic quiet deluxe sturdy"
    " handmade reversible adjustable insulated crunchy spiced smoked roasted salted"
)
MATERIALS: Final = (
    "steel oak cotton leather glass plastic pine wool bamboo ceramic copper linen walnut rubber marble canvas"
    " silk aluminium granite velvet cork brass titanium birch"
)
#: Brands are made of these: their number grows with the catalogue.
SYLLABLES: Final = (
    "nor vik al ta ber lin sun da mar ko pel ra tor en sol vi gra na quin ze lux or bra dy fen wick hol me"
    " cas par dun ro kel sey lo vant mir el ash ford tri on"
)
STATES: Final = ("placed", "paid", "shipped", "delivered", "cancelled")
Progress = Callable[[str], None]


def progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Drawn:
    """Values by rank, where the n-th is drawn 1/n as often as the first."""

    def __init__(self, values: Iterable[str], dice: random.Random) -> None:
        self.values = list(values)
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, len(self.values) + 1)))
        self._dice = dice

    def many(self, count: int) -> list[str]:
        return self._dice.choices(self.values, cum_weights=self._weights, k=count)


def brands(count: int, dice: random.Random) -> list[str]:
    made: dict[str, None] = {}
    parts = SYLLABLES.split()
    while len(made) < count:
        made["".join(dice.choices(parts, k=dice.choice((2, 3, 3, 4)))).capitalize()] = None
    return list(made)


def items(count: int) -> Iterable[tuple[str, ...]]:
    """Fields of COPY, for the columns ITEMS."""
    dice = random.Random(SEED)
    categories = Drawn(NOUNS, dice)
    nouns = {name: Drawn(words.split(), dice) for name, words in NOUNS.items()}
    qualities, materials = Drawn(QUALITIES.split(), dice), Drawn(MATERIALS.split(), dice)
    makers = Drawn(brands(int(20 * count**0.5), dice), dice)
    for first in range(1, count + 1, 1_000):
        rows = min(1_000, count + 1 - first)
        drawn = zip(
            categories.many(rows), makers.many(rows), qualities.many(rows), materials.many(rows), strict=True
        )
        for number, (category, maker, quality, material) in enumerate(drawn, start=first):
            noun = nouns[category].many(1)[0]
            name = f"{maker} {quality} {noun}" if dice.random() < 0.5 else f"{quality} {material} {noun}"
            if dice.random() < 0.6:
                name += f" {dice.randrange(1, 400)} {dice.choice(('cm', 'g', 'ml', 'pcs'))}"
            described = f"A {quality} {noun} of {material} by {maker}, for every day."
            price = f"{dice.lognormvariate(3, 1) + 0.5:.2f}"
            availability = dice.choices(("in_stock", "low_stock", "out_of_stock"), (93, 5, 2))[0]
            active = "f" if dice.random() < 0.02 else "t"
            yield (
                str(number), f"G-{number}", name[0].upper() + name[1:], described, category, price,
                availability, active, moment(number / count), moment(number / count),
            )  # fmt: skip


def moment(share: float) -> str:
    return (FIRST_DAY + timedelta(days=DAYS * share)).isoformat()


def users(count: int) -> Iterable[tuple[str, ...]]:
    dice, parts = random.Random(SEED), SYLLABLES.split()
    for number in range(1, count + 1):
        name = f"{dice.choice(parts).title()}{dice.choice(parts)} {dice.choice(parts).title()}son"
        yield str(number), f"user{number}@shop.example", name, moment(number / count)


def orders(count: int, users: int) -> Iterable[tuple[str, ...]]:
    """Of two lines each. The last ones are open, and a few of all are cancelled."""
    dice = random.Random(SEED)
    for number in range(1, count + 1):
        age = 1 - number / count
        state = "delivered" if age > 0.01 else dice.choice(STATES[:4])
        state = "cancelled" if dice.random() < 0.03 else state
        at = moment(number / count)
        reached = ("placed", "cancelled") if state == "cancelled" else STATES[: STATES.index(state) + 1]
        events = ",".join(f'{{"status":"{each}","at":"{at[:19]}.000000Z","by":"staff"}}' for each in reached)
        times = [at if each in reached else "\\N" for each in STATES[1:]]
        yield (str(number), str(dice.randrange(1, users + 1)), state, f"[{events}]", at, *times)


def lines(orders: int, items: int) -> Iterable[tuple[str, ...]]:
    dice = random.Random(SEED)
    step = max(1, items // 2 - 1)
    for order in range(1, orders + 1):
        item = dice.randrange(1, items + 1)
        yield str(order), str(item), "1"
        yield str(order), str((item + step - 1) % items + 1), "2"


async def _packed(rows: Iterable[tuple[str, ...]], total: int, what: str) -> AsyncIterator[bytes]:
    began = time.monotonic()
    source, done = iter(rows), 0
    while batch := list(itertools.islice(source, 5_000)):
        yield ("\n".join(map("\t".join, batch)) + "\n").encode()
        done += len(batch)
        if time.monotonic() - began > 10:
            began = time.monotonic()
            progress(f"{what}: {done:,} of {total:,}")


ITEMS = "id, sku, name, description, category, price, availability, is_active, created_at, updated_at"


async def fill(connection: asyncpg.Connection, size: int) -> None:
    """`size` items, a tenth as many users, five times as many orders.

    Much as pg_restore does it: but for items, triggers and foreign keys are off meanwhile, and indexes come
    after the rows.
    """
    orders_count, users_count = size * ORDERS, size // ITEMS_PER_USER
    await connection.execute("SET maintenance_work_mem = '512MB'; SET work_mem = '256MB'")
    indexes = await _drop_indexes(connection)
    # What triggers keep of items is part of what is measured: the words of names, counts and changes.
    await _copy(connection, "items", ITEMS, items(size), size)
    await connection.execute(f"SELECT sequence_changes({size})")
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("INSERT INTO stock (item_id, quantity) SELECT id, 100 FROM items")
    await connection.execute("ALTER TABLE users ALTER password_hash SET DEFAULT 'none'")
    await _copy(connection, "users", "id, email, full_name, created_at", users(users_count), users_count)
    await connection.execute("ALTER TABLE users ALTER password_hash DROP DEFAULT")
    await _orders(connection, orders_count, users_count, size)
    for number, definition in enumerate(indexes, start=1):
        progress(f"index {number} of {len(indexes)}")
        await connection.execute(definition)
    await connection.execute("SET session_replication_role = origin")
    for table in ("items", "users", "orders"):
        await connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
        )


async def _orders(connection: asyncpg.Connection, count: int, users: int, items: int) -> None:
    """What is alike in all of them is a default meanwhile, and not in what is copied."""
    same = {
        "orders": {
            "customer_name": "'Maria Anders'", "shipping": "'standard'", "subtotal": "20", "discount": "0",
            "shipping_fee": "0", "total": "20", "currency": "'USD'",
        },
        "order_lines": {"name": "'Chai'", "quantity": "1", "unit_price": "10", "line_total": "10"},
    }  # fmt: skip
    for table, columns in same.items():
        defaults = ", ".join(f"ALTER {name} SET DEFAULT {value}" for name, value in columns.items())
        await connection.execute(f"ALTER TABLE {table} {defaults}")
    times = ", ".join(f"{state}_at" for state in STATES[1:])
    columns = f"id, user_id, status, events, placed_at, {times}"
    await _copy(connection, "orders", columns, orders(count, users), count)
    await _copy(connection, "order_lines", "order_id, product_id, position", lines(count, items), 2 * count)
    for table, columns in same.items():
        await connection.execute(
            f"ALTER TABLE {table} {', '.join(f'ALTER {name} DROP DEFAULT' for name in columns)}"
        )


async def _drop_indexes(connection: asyncpg.Connection) -> list[str]:
    """Those that hold no constraint, of the large tables; how to make each again."""
    rows = await connection.fetch(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index"
        " WHERE indrelid = ANY (ARRAY['items', 'orders', 'order_lines', 'users']::regclass[])"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    for row in rows:
        await connection.execute(f"DROP INDEX {row['name']}")
    return [row["definition"] for row in rows]


async def _copy(
    connection: asyncpg.Connection, table: str, columns: str, rows: Iterable[tuple[str, ...]], total: int
) -> None:
    names = columns.split(", ")
    await connection.copy_to_table(table, source=_packed(rows, total, table), columns=names)
    progress(f"{table}: {total:,}")
