"""The ranked search of the catalogue: whole words, parts of words, and words with a typo."""

import re
from typing import Any, Final

from sqlalchemy import Integer, cast, func, literal, literal_column, or_

from service.catalogue.models import Item
from service.catalogue.repository import Filters, chosen
from service.platform.database import Session
from service.platform.database.pagination import Page

MAX_RESULTS: Final = 1_000
_ENGLISH: Final[Any] = literal_column("'english'::regconfig")


async def search(session: Session, page: Page, filters: Filters, words: str, *, withdrawn: bool) -> list[Any]:
    """The best match first, at most MAX_RESULTS in all. A cursor holds an offset: ranks are no keys.

    Each of the three conditions has a GIN index. How alike two words must be is set on the
    connection, because only the operator `<%` uses the index.
    """
    offset: int = page.after[0] if page.after is not None else page.skip
    wanted = min(page.fetch, MAX_RESULTS - offset)
    if wanted <= 0:
        return []
    query = func.websearch_to_tsquery(_ENGLISH, _without_negation(words))
    contained = Item.name.ilike(_containing(words))
    matches = or_(
        Item.search.bool_op("@@")(query),
        contained,
        literal(words).bool_op("<%")(Item.name),
    )
    rank = (
        cast(contained, Integer)
        + func.ts_rank(Item.search, query)
        + func.word_similarity(words, Item.name)
        + func.similarity(words, Item.name)
    )
    statement = chosen(filters, withdrawn=withdrawn).where(matches).order_by(rank.desc(), Item.id)
    rows = await session.rows(statement.limit(wanted).offset(offset))
    if len(rows) > page.limit:
        page.next = (offset + page.limit,)
    return list(rows[: page.limit])


def _without_negation(words: str) -> str:
    """Without negation: `-word` would find every other item, by reading the whole table."""
    return re.sub(r"(?<!\w)-", " ", words)


def _containing(words: str) -> str:
    r"""A pattern for ILIKE in which `%`, `_` and `\` stand for themselves."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", words) + "%"
