"""The revision of the schema that this build works on."""

from functools import cache
from pathlib import Path

from alembic.script import ScriptDirectory

from service.platform.database import Database


@cache
def required_revision() -> tuple[str, frozenset[str]]:
    """The schema revision that this build needs, and the older ones that it knows."""
    script = ScriptDirectory(str(Path(__file__).parents[2] / "migrations"))
    needed = script.get_current_head()
    known = {revision.revision for revision in script.walk_revisions()}
    if needed is None:
        raise RuntimeError("service/migrations has no revision")
    return needed, frozenset(known - {needed})


def is_usable(revision: str | None) -> bool:
    """Whether this build works on that revision: its own, or one that it does not know, which a newer build
    has made, whose migrations keep older builds working.
    """
    _, older = required_revision()
    return revision is not None and revision not in older


async def has_schema(database: Database) -> bool:
    """Whether this build works on the database's schema. Raises Unavailable without a database."""
    return is_usable(await database.revision())
