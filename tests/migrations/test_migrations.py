"""Migrations on databases of their own: they make what the models say, and never wait for long."""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service.cli import migrate
from service.errors import Unavailable
from service.migrations.tables import Base
from service.platform.config import Settings
from service.platform.database.errors import sqlstate, translate
from service.platform.database.schema import required_revision
from tests.conftest import for_sqlalchemy
from tests.helpers.rows import rows_of
from tests.helpers.waiting import PATIENCE_SECONDS, wait_until
from tests.server.process import cloned_database, environment, statement

#: Everything about our tables that PostgreSQL knows, but for the order of columns; partitions come
#: and go by the calendar.
CATALOGUE = """
WITH ours AS (
    SELECT oid, relname::text AS name FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname <> 'alembic_version'
)
SELECT name, 'table' AS kind, '' AS definition FROM ours
UNION ALL SELECT name, 'constraint', conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
    FROM ours JOIN pg_constraint ON conrelid = ours.oid
UNION ALL SELECT name, 'index', pg_get_indexdef(indexrelid) FROM ours JOIN pg_index ON indrelid = ours.oid
UNION ALL SELECT name, 'column', concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
        'identity=' || attidentity::text, 'generated=' || attgenerated::text, pg_get_expr(adbin, adrelid))
    FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
ORDER BY 1, 2, 3
"""
#: A later revision that needs a table for itself.
LATER = """
from alembic import op
import sqlalchemy as sa

revision = "later"
down_revision = {head!r}


def upgrade() -> None:
    op.create_table("wishes", sa.Column("id", sa.Integer(), primary_key=True))
    op.add_column("users", sa.Column("nickname", sa.Text()))
"""


@pytest.fixture
def empty() -> Iterator[str]:
    with cloned_database(template=None) as url:
        yield url


def config(url: str) -> Config:
    return migrate.alembic_config(for_sqlalchemy(url))


def head() -> str:
    found = ScriptDirectory.from_config(config("postgresql://nowhere/none")).get_current_head()
    assert found is not None
    return found


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    return asyncio.run(rows_of(url, query))


def revision(url: str) -> list[tuple[Any, ...]]:
    return rows(url, "SELECT version_num FROM alembic_version")


def lock_key() -> int:
    """The migrations' own; their module runs them when it is imported."""
    source = (Path(migrate.__file__).parents[1] / "migrations" / "env.py").read_text()
    return int(source.partition("ADVISORY_LOCK = ")[2].split()[0])


def by_models(url: str) -> None:
    """Make the tables from the models, as if there had never been a migration."""

    async def create() -> None:
        engine = create_async_engine(for_sqlalchemy(url))
        async with engine.begin() as connection:
            await connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            await connection.run_sync(Base.metadata.create_all)
        await engine.dispose()

    asyncio.run(create())


class TestRevisions:
    def test_a_build_finds_those_that_alembic_finds(self) -> None:
        """By reading the files: a process that serves does not import Alembic."""
        script = ScriptDirectory.from_config(config("postgresql://nowhere/none"))
        every = {each.revision for each in script.walk_revisions()}
        assert required_revision() == (head(), frozenset(every - {head()}))


class TestModels:
    def test_say_what_the_migrations_make(self) -> None:
        with cloned_database() as migrated:
            command.check(config(migrated))

    def test_are_reproduced_exactly(self, empty: str) -> None:
        """Constraints, indexes and defaults too, which Alembic's comparison leaves out."""
        by_models(empty)
        with cloned_database() as migrated:
            # No model describes the queue's tables: their statements are written in SQL.
            made = [row for row in rows(migrated, CATALOGUE) if not row[0].startswith("pgqueuer")]
            assert rows(empty, CATALOGUE) == made


class TestUpgrade:
    def test_there_and_back_and_there_again(self, empty: str) -> None:
        command.upgrade(config(empty), "head")
        first = rows(empty, CATALOGUE)
        assert ("users", "table", "") in first
        command.downgrade(config(empty), "base")
        assert rows(empty, CATALOGUE) == []
        assert revision(empty) == []
        command.upgrade(config(empty), "head")
        assert rows(empty, CATALOGUE) == first
        assert revision(empty) == [(head(),)]

    def test_a_second_time_changes_nothing(self, empty: str) -> None:
        migrate.upgrade(for_sqlalchemy(empty))
        before = rows(empty, CATALOGUE)
        migrate.upgrade(for_sqlalchemy(empty))
        assert rows(empty, CATALOGUE) == before

    def test_as_sql_makes_the_same(self, empty: str) -> None:
        offline = config(empty)
        offline.output_buffer = io.StringIO()
        command.upgrade(offline, "head", sql=True)
        statement(empty, offline.output_buffer.getvalue())
        with cloned_database() as migrated:
            assert rows(empty, CATALOGUE) == rows(migrated, CATALOGUE)
        assert revision(empty) == [(head(),)]


class TestLocks:
    def test_a_table_in_use_fails_the_migration_and_changes_nothing(self, tmp_path: Path) -> None:
        """The wait is short: behind an ALTER TABLE that waits, every later query waits too."""
        (tmp_path / "later.py").write_text(LATER.format(head=head()))
        with cloned_database() as url:
            later = config(url)
            known = Path(migrate.__file__).parents[1] / "migrations" / "versions"
            later.set_main_option("version_locations", f"{known}{os.pathsep}{tmp_path}")
            later.set_main_option("path_separator", "os")
            before = rows(url, CATALOGUE)
            with asyncio.Runner() as runner:
                reader = runner.run(asyncpg.connect(url))
                runner.run(reader.execute("BEGIN; SELECT count(*) FROM users"))
                try:
                    with pytest.raises(DBAPIError) as refusal:
                        command.upgrade(later, "later")
                finally:
                    runner.run(reader.close())
            assert sqlstate(refusal.value) == "55P03"
            meaning = translate(refusal.value)
            assert isinstance(meaning, Unavailable)
            assert meaning.detail == "The database took too long. Try again shortly."
            assert meaning.cause == "another transaction holds a lock, and did not end in time"
            assert rows(url, CATALOGUE) == before
            assert revision(url) == [(head(),)]
            command.upgrade(later, "later")
            assert revision(url) == [("later",)]

    @pytest.mark.parametrize("found", [None, "of_a_newer_build"], ids=["head", "newer"])
    def test_where_nothing_is_to_be_done_no_lock_is_waited_for(self, found: str | None) -> None:
        """A Job that is run again, or that of the build before; to wait would be a fault here."""
        with cloned_database() as url:
            if found is not None:
                statement(url, f"UPDATE alembic_version SET version_num = '{found}'")
            statement(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET lock_timeout = '1s'")
            with asyncio.Runner() as runner:
                other = runner.run(asyncpg.connect(url))
                runner.run(other.execute(f"SELECT pg_advisory_lock({lock_key()})"))
                try:
                    assert migrate.run(Settings(environment="test", database_url=for_sqlalchemy(url))) == 0
                    with pytest.raises(Unavailable):
                        migrate.upgrade(for_sqlalchemy(url))
                finally:
                    runner.run(other.close())
            assert revision(url) == [(found or head(),)]

    @pytest.mark.slow
    def test_one_waits_for_another(self, empty: str, tmp_path: Path) -> None:
        waiting = """SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
                     WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"""
        with asyncio.Runner() as runner:
            other = runner.run(asyncpg.connect(empty))
            runner.run(other.execute(f"SELECT pg_advisory_lock({lock_key()})"))
            process = subprocess.Popen(
                [sys.executable, "-m", "service", "migrate"],
                cwd=tmp_path,
                env=environment(tmp_path, DATABASE_URL=empty),
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                wait_until(lambda: process.poll() is None and rows(empty, waiting) == [(1,)])
                assert rows(empty, CATALOGUE) == []
                runner.run(other.close())
                output, _ = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
                process.wait()
        assert process.returncode == 0
        assert json.loads(output.splitlines()[-1])["event"] == "schema.migrated"
        assert revision(empty) == [(head(),)]
