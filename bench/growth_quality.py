"""What the bounds of the search lose: its first twenty results against those of ranking every match.

    python bench/growth_quality.py FILE

FILE has a name a line. Each becomes an item, and searches are made of the names: a word, two words of one
name, a word with a letter missing, a part of a word; 60 of each, by one seed. Overlap is the share of the
twenty that both have. NDCG weighs what the search shows by the rank that it has when every match is ranked,
and by its place: 1 is as good as the full order. It prints a table of docs/scaling.md.
"""

import asyncio
import math
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import asyncpg

from service.catalogue import service as items
from service.catalogue.repository import Filters
from service.cli import migrate
from service.dev import embedded
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.database.pagination import Page

SHOWN, SEARCHES, SEED = 20, 60, 20261130
#: Every match, by the formula of service/catalogue/search.py, for words without special characters.
FULL = """
    SELECT id, (name ILIKE '%' || $1 || '%')::int + ts_rank(search, websearch_to_tsquery('english', $1))
        + word_similarity($1, name) + similarity($1, name) AS rank
    FROM items
    WHERE search @@ websearch_to_tsquery('english', $1) OR name ILIKE '%' || $1 || '%' OR $1 <% name
    ORDER BY rank DESC, id
"""


def searches(names: list[str]) -> dict[str, list[str]]:
    dice = random.Random(SEED)

    def drawn(make: Callable[[list[str]], str | None]) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < SEARCHES:
            words = [word for word in re.findall(r"[a-z]+", dice.choice(names).lower()) if len(word) > 3]
            if words and (made := make(words)):
                found[made] = None
        return list(found)

    def typo(words: list[str]) -> str | None:
        word = max(words, key=len)
        place = dice.randrange(1, len(word) - 1)
        return word[:place] + word[place + 1 :] if len(word) > 6 else None

    def part(words: list[str]) -> str | None:
        word = max(words, key=len)
        return word[1:6] if len(word) > 6 else None

    return {
        "a word": drawn(dice.choice),
        "two words": drawn(lambda words: " ".join(dice.sample(words, 2)) if len(words) > 1 else None),
        "a word with a letter missing": drawn(typo),
        "five letters of a word": drawn(part),
    }


async def compared(database: Database, raw: asyncpg.Connection, words: str) -> tuple[float, float, int]:
    """Overlap, NDCG, and how many match."""
    full = await raw.fetch(FULL, words)
    if not full:
        return 1.0, 1.0, 0
    ranks = {row["id"]: row["rank"] for row in full}
    async with database.reading() as session:
        rows = await items.find(session, None, Page(SHOWN), Filters(), search=words, sort=None)
    shown = [row["id"] for row in rows]
    best = [row["id"] for row in full[:SHOWN]]
    gains = [
        sum(ranks[item] / math.log2(place + 2) for place, item in enumerate(ids)) for ids in (shown, best)
    ]
    return len({*shown} & {*best}) / len(best), gains[0] / gains[1], len(full)


async def measure(url: str, names: list[str]) -> None:
    raw = await asyncpg.connect(url)
    await raw.execute("SET pg_trgm.word_similarity_threshold = 0.4")
    await raw.execute(
        "INSERT INTO items (sku, name, price)"
        " SELECT n, name, 1 FROM unnest($1::text[]) WITH ORDINALITY AS given (name, n)",
        names,
    )
    await raw.execute("VACUUM ANALYZE")
    database = Database(url, Settings(environment="test"))
    print("| searches for | matches, median | overlap of 20, mean | NDCG of 20, mean | NDCG, least |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind, many in searches(names).items():
        found = [await compared(database, raw, words) for words in many]
        overlaps, gains, matches = zip(*found, strict=True)
        means = f"{statistics.mean(overlaps):.2f} | {statistics.mean(gains):.3f} | {min(gains):.2f}"
        print(f"| {kind} | {statistics.median(matches):,.0f} | {means} |", flush=True)
    await database.close()
    await raw.close()


def main() -> int:
    names = Path(sys.argv[1]).read_text().splitlines()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        with embedded.start(Path(name) / "database", durable=False) as server:
            migrate.upgrade(server.url.replace("postgresql://", "postgresql+asyncpg://"))
            asyncio.run(measure(server.url, names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
