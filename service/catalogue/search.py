"""The ranked search of the catalogue: whole words, parts of words, and words with a typo.

How much it does is bounded, however large the catalogue is (docs/adr/0038). It gathers candidates from
indexes that give the best first, and stops when it has enough. The first RANKED of them are ranked, the
others follow in the order in which they were found. Every page gathers the same candidates in the same order.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    TextualSelect,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.catalogue.models import Item
from service.catalogue.repository import Filters, chosen
from service.platform.database import Session
from service.platform.database.pagination import Page

MAX_RESULTS: Final = 1_000
#: Candidates that are ranked, which is the dearest part: those of the first pages.
RANKED: Final = 100
#: Entries of an index that are looked at for candidates of one kind.
LOOKED_AT: Final = 1_000
#: Words of the catalogue that a part of a word, or a word with a typo, may stand for.
SIMILAR: Final = 20

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
            SELECT DISTINCT token FROM regexp_split_to_table(lower(:words), '[^[:alnum:]]+') AS token
            WHERE char_length(token) >= 3
        ) AS tokens, LATERAL (
            SELECT lexeme, (word LIKE '%' || token || '%')::integer
                + word_similarity(token, word) + similarity(token, word) AS alike
            FROM name_words WHERE word LIKE '%' || token || '%' OR token <% word
            ORDER BY alike DESC, word LIMIT {SIMILAR}
        ) AS similar_words
        GROUP BY lexeme, token ORDER BY char_length(token) DESC, token, alike DESC, lexeme
    ) AS meant, LATERAL (
        SELECT item_id FROM item_words WHERE item_words.lexeme = meant.lexeme
        ORDER BY length, item_id LIMIT {LOOKED_AT}
    ) AS found
    LIMIT {LOOKED_AT}
"""


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
        self.chosen = chosen(filters, withdrawn=withdrawn)
        self.query = func.websearch_to_tsquery(_ENGLISH, _without_negation(words))
        self.in_text = Item.search.bool_op("@@")(self.query)
        self.contained = Item.name.ilike(_containing(words))
        self.alike = or_(self.contained, literal(words).bool_op("<%")(Item.name))
        #: In their order, each once.
        self.found: dict[int, None] = {}
        #: Whether there may be matches that were not looked at, beside those found.
        self.partial = False

    async def run(self) -> None:
        rarest = await self.session.one(_RAREST, {"words": self.words})
        if rarest is not None and rarest["names"]:
            named = text(_NAMED).bindparams(bindparam("lexeme", rarest["lexeme"], type_=Text))
            await self._look_at(named, self.in_text)
        if rarest is not None and not self._enough:
            # In the order of the table, by an index that gives all matches at once.
            everywhere = self.chosen.with_only_columns(Item.id).where(self.in_text).limit(self.most)
            self._add(await self.session.values(everywhere))
        if not self._enough:
            meant = text(_MEANT).bindparams(bindparam("words", self.words, type_=Text))
            last = await self._look_at(meant, self.alike)
            self.partial = last == LOOKED_AT and not self._enough

    @property
    def _enough(self) -> bool:
        return len(self.found) >= self.most

    async def _look_at(self, entries: Any, matches: ColumnElement[bool]) -> int:
        """Add those of the entries that match, in their order; the place of the last row that was read.

        A subquery for each entry, and no join, so that no more are looked at than needed.
        """
        looked_at = _entries(entries).subquery("looked_at")
        passes = self.chosen.with_only_columns(matches).where(Item.id == looked_at.c.item_id)
        statement = select(looked_at.c.item_id, looked_at.c.place).where(
            or_(passes.scalar_subquery(), looked_at.c.place == literal_column(str(LOOKED_AT)))
        )
        rows = await self.session.rows(statement.limit(self.most))
        self._add([row["item_id"] for row in rows])
        return rows[-1]["place"] if rows else 0

    def _add(self, ids: Sequence[int]) -> None:
        self.found.update(dict.fromkeys(ids))

    async def rows(self, wanted: int, offset: int) -> list[Any]:
        """A page of them: of the first RANKED by their rank, of the others in their order."""
        ids = bindparam(None, list(self.found)[: self.most], type_=ARRAY(BigInteger))
        found = func.unnest(ids).table_valued("id", with_ordinality="place", name="found")
        found = found.render_derived()
        rank = (
            cast(self.contained, Integer)
            + func.ts_rank(Item.search, self.query)
            + func.word_similarity(self.words, Item.name)
            + func.similarity(self.words, Item.name)
        )
        is_ranked = found.c.place <= literal_column(str(RANKED))
        statement = (
            self.chosen.join(found, found.c.id == Item.id)
            .where(or_(self.in_text, self.alike))
            .order_by(is_ranked.desc(), case((is_ranked, rank)).desc(), case((is_ranked, Item.id)))
            .order_by(found.c.place)
        )
        return list(await self.session.rows(statement.limit(wanted).offset(offset)))


def _entries(statement: Any) -> TextualSelect:
    entries: TextualSelect = statement.columns(column("item_id", BigInteger), column("place", BigInteger))
    return entries


def _without_negation(words: str) -> str:
    """Without negation: `-word` would find every other item, by reading the whole table."""
    return re.sub(r"(?<!\w)-", " ", words)


def _containing(words: str) -> str:
    r"""A pattern for ILIKE in which `%`, `_` and `\` stand for themselves."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", words) + "%"
