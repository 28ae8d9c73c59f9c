"""The revision of the schema that this build works on."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from service.platform.database import Database

VERSIONS: Final = Path(__file__).parents[2] / "migrations" / "versions"
#: As Alembic's template writes them, and a test compares the outcome with Alembic's.
_REVISION: Final = re.compile(r"^revision = ['\"](.+)['\"]$", re.MULTILINE)
_DOWN_REVISION: Final = re.compile(r"^down_revision = ['\"](.+)['\"]$", re.MULTILINE)


@cache
def required_revision() -> tuple[str, frozenset[str]]:
    """The schema revision that this build needs, and the older ones that it knows.

    Alembic would have to be imported for it in every process that serves, which takes time and memory.
    """
    texts = [file.read_text() for file in VERSIONS.glob("*.py")]
    known = {revision for text in texts for revision in _REVISION.findall(text)}
    older = {revision for text in texts for revision in _DOWN_REVISION.findall(text)}
    (needed,) = known - older
    return needed, frozenset(older)


def is_usable(revision: str | None) -> bool:
    """Whether this build works on that revision: its own, or one that it does not know, which a newer build
    has made, whose migrations keep older builds working.
    """
    _, older = required_revision()
    return revision is not None and revision not in older


async def has_schema(database: Database) -> bool:
    """Whether this build works on the database's schema. Raises Unavailable without a database."""
    return is_usable(await database.revision())
