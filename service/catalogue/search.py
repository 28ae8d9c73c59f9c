"""The ranked search of the catalogue: whole words, parts of words, and words with a typo.

How much it does is bounded, however large the catalogue is (docs/adr/0038). It gathers candidates from
indexes that give the best first, and stops when it has enough. The first RANKED of them are ranked, the
others follow in the order in which they were found. Every page gathers the same candidates in the same order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    TextClause,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue.models import Item
from service.catalogue.repository import Filters, documents
from service.platform.database import Session
from service.platform.database.pagination import Chosen, Page

MAX_RESULTS: Final = 1_000
#: Candidates that are ranked, which is the dearest part: those of the first pages.
RANKED: Final = 100
#: Entries of an index that are looked at for candidates of one kind.
LOOKED_AT: Final = 1_000
#: Words of the search that may be parts of words, or have a typo: the longest.
TOKENS: Final = 5
#: Words of the catalogue that are compared with each of them.
COMPARED: Final = 2_000

_ENGLISH: Final[Any] = literal_column("'english'::regconfig")

#: The word of the search that the fewest names have, and how many do, counted up to LOOKED_AT.
_RAREST: Final = text(f"""
    SELECT lexeme, names FROM unnest(tsvector_to_array(to_tsvector('english', :words))) AS lexeme,
        LATERAL (SELECT count(*) AS names FROM (
            SELECT FROM item_words WHERE item_words.lexeme = lexeme.lexeme LIMIT {LOOKED_AT}
        ) AS first_names) AS counted
    ORDER BY names LIMIT 1
""").bindparams(bindparam("words", type_=Text))

#: Items with this word in their names, the shortest names first: of those that have all words of the search,
#: they are the most alike to it.
_NAMED: Final = f"""
    SELECT item_id, 0 AS place FROM item_words WHERE lexeme = :lexeme
    ORDER BY length, item_id LIMIT {LOOKED_AT}
"""

#: Items with a word in their names that a word of the search may stand for: by the longest word of the
#: search first, the word most alike to it first, and of each the shortest names first. A nested loop keeps
#: the order.
_MEANT: Final = f"""
    SELECT item_id, row_number() OVER () AS place FROM (
        SELECT lexeme, token, max(alike) AS alike FROM (
            SELECT token FROM regexp_split_to_table(lower(:words), '[^[:alnum:]]+') AS token
            WHERE char_length(token) >= 3
            GROUP BY token ORDER BY char_length(token) DESC, token LIMIT {TOKENS}
        ) AS tokens, LATERAL (
            SELECT lexeme, (word LIKE '%' || token || '%')::integer
                + word_similarity(token, word) + similarity(token, word) AS alike
            FROM (
                SELECT lexeme, word FROM name_words WHERE word LIKE '%' || token || '%' OR token <% word
                LIMIT {COMPARED}
            ) AS compared
            ORDER BY alike DESC, word LIMIT {LOOKED_AT}
        ) AS similar_words
        GROUP BY lexeme, token ORDER BY char_length(token) DESC, token, alike DESC, lexeme
    ) AS meant, LATERAL (
        SELECT item_id FROM item_words WHERE item_words.lexeme = meant.lexeme
        ORDER BY length, item_id LIMIT {LOOKED_AT}
    ) AS found
    LIMIT {LOOKED_AT}
"""


_words: Final = bindparam("words", type_=Text)
_query: Final[Any] = func.websearch_to_tsquery(_ENGLISH, bindparam("query", type_=Text))
_in_text: Final = Item.search.bool_op("@@")(_query)
_contained: Final = Item.name.ilike(bindparam("pattern", type_=Text))
_alike: Final = or_(_contained, _words.bool_op("<%")(Item.name))
_most: Final = bindparam("most", type_=Integer)
_rank: Final = (
    cast(_contained, Integer)
    + func.ts_rank(Item.search, _query)
    + func.word_similarity(_words, Item.name)
    + func.similarity(_words, Item.name)
)


@dataclass(frozen=True, slots=True)
class _Statements:
    """Of searches with the same filters, whatever their values: to build them takes longer than to search."""

    named: Select[Any]
    in_text: Select[Any]
    meant: Select[Any]
    page: Select[Any]


@lru_cache(maxsize=256)
def _statements(chosen: Chosen) -> _Statements:
    passing = documents(chosen)
    named = text(_NAMED).bindparams(bindparam("lexeme", type_=Text))
    return _Statements(
        named=_looked_at(passing, named, _in_text),
        # In the order of the table, by an index that gives all matches at once.
        in_text=passing.with_only_columns(Item.id).where(_in_text).limit(_most),
        meant=_looked_at(passing, text(_MEANT).bindparams(_words), _alike),
        page=_page(passing),
    )


def _looked_at(passing: Select[Any], entries: TextClause, matches: ColumnElement[bool]) -> Select[Any]:
    """Those of the entries that match, in their order, and the last one that was looked at.

    A subquery for each entry, and no join, so that no more are looked at than needed.
    """
    looked_at = entries.columns(column("item_id", BigInteger), column("place", BigInteger))
    entry = looked_at.subquery("looked_at").c
    passes = passing.with_only_columns(matches).where(Item.id == entry.item_id)
    last = entry.place == literal_column(str(LOOKED_AT))
    return select(entry.item_id, entry.place).where(or_(passes.scalar_subquery(), last)).limit(_most)


def _page(passing: Select[Any]) -> Select[Any]:
    """A page of what was found: of the first RANKED by their rank, of the others in their order."""
    ids = bindparam("ids", type_=ARRAY(BigInteger))
    found = func.unnest(ids).table_valued("id", with_ordinality="place", name="found").render_derived()
    is_ranked = found.c.place <= literal_column(str(RANKED))
    return (
        passing.join(found, found.c.id == Item.id)
        .where(or_(_in_text, _alike))
        .order_by(is_ranked.desc(), case((is_ranked, _rank)).desc(), case((is_ranked, Item.id)))
        .order_by(found.c.place)
        .limit(bindparam("wanted", type_=Integer))
        .offset(bindparam("offset", type_=Integer))
    )


async def search(session: Session, page: Page, filters: Filters, words: str, *, withdrawn: bool) -> list[Any]:
    """The best match first, at most MAX_RESULTS in all. A cursor holds an offset: ranks are no keys."""
    offset: int = page.after[0] if page.after is not None else page.skip
    wanted = min(page.fetch, MAX_RESULTS - offset)
    if wanted <= 0:
        return []
    gathering = _Gathering(session, filters, words, withdrawn=withdrawn, most=max(RANKED, offset + wanted))
    await gathering.run()
    page.partial = gathering.partial
    rows = await gathering.rows(wanted, offset)
    if len(rows) > page.limit:
        page.next = (offset + page.limit,)
    return rows[: page.limit]


class _Gathering:
    """The candidates of a search, at most so many, the best first."""

    def __init__(self, session: Session, filters: Filters, words: str, *, withdrawn: bool, most: int) -> None:
        self.session, self.words, self.most = session, words, most
        chosen, values = filters.chosen(withdrawn=withdrawn)
        self.statements = _statements(chosen)
        self.values = values | {
            "words": words,
            "query": _without_negation(words),
            "pattern": _containing(words),
            "most": most,
        }
        #: In their order, each once.
        self.found: dict[int, None] = {}
        #: Whether there may be matches that were not looked at, beside those found.
        self.partial = False

    async def run(self) -> None:
        rarest = await self.session.one(_RAREST, {"words": self.words})
        if rarest is not None and rarest["names"]:
            await self._look_at(self.statements.named, {"lexeme": rarest["lexeme"]})
        if rarest is not None and not self._enough:
            self._add(await self.session.values(self.statements.in_text, self.values))
        if not self._enough:
            last = await self._look_at(self.statements.meant, {})
            self.partial = last == LOOKED_AT and not self._enough

    @property
    def _enough(self) -> bool:
        return len(self.found) >= self.most

    async def _look_at(self, statement: Select[Any], values: dict[str, Any]) -> int:
        """Add the candidates; the place of the last row that was read."""
        rows = await self.session.rows(statement, self.values | values)
        self._add([row["item_id"] for row in rows])
        return rows[-1]["place"] if rows else 0

    def _add(self, ids: Sequence[int]) -> None:
        self.found.update(dict.fromkeys(ids))

    async def rows(self, wanted: int, offset: int) -> list[Any]:
        values = {"ids": list(self.found)[: self.most], "wanted": wanted, "offset": offset}
        return list(await self.session.rows(self.statements.page, self.values | values))


def _without_negation(words: str) -> str:
    """Without negation: `-word` would find every other item, by reading the whole table."""
    return re.sub(r"(?<!\w)-", " ", words)


def _containing(words: str) -> str:
    r"""A pattern for ILIKE in which `%`, `_` and `\` stand for themselves."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", words) + "%"
