"""Commands in pods of their own, run as the rendered CronJobs would have a cluster run them."""

import asyncio
import base64
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest

from service.dev import embedded
from service.platform.config import generate_key
from tests.helpers.rows import rows_of
from tests.pods.rendered import RELEASE, Container, containers, steps
from tests.pods.sandbox import DATABASE_HOST, Network, Running, network, pod
from tests.server.process import REPOSITORY, cloned_database, statement

pytestmark = pytest.mark.slow

ADMIN, SECOND = "ada@shop.example", "grace@shop.example"
#: Production refuses those that stand in the repository.
PASSWORD: Final = f"{generate_key()}-1"
BROKEN: Final = (
    "SET session_replication_role = replica; UPDATE stock SET quantity = quantity + 1 WHERE item_id = 1"
)


def secret(name: str, **values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def values_of(database: str) -> dict[str, Any]:
    split = urlsplit(database)
    netloc = f"{split.netloc.rpartition('@')[0]}@{DATABASE_HOST}:5432"
    url = urlunsplit(split._replace(netloc=netloc))
    return {"secrets": {"secretKey": generate_key(), "databaseUrl": url}}


def with_files(container: Container, folder: str, files: dict[str, bytes]) -> Container:
    """As a volume of files would be mounted."""
    mounted = {Path(folder) / name: content for name, content in files.items()}
    return replace(container, secrets=container.secrets | mounted)


def run(container: Container, apart: Network) -> Running:
    with pod(container, apart) as job:
        running = job.run()
        running.ended()
        assert job.written() == {"/tmp": []}
    return running


@pytest.fixture(scope="module")
def apart(database: str) -> Iterator[Network]:
    with network(database) as made:
        yield made


@pytest.fixture(scope="module")
def commands(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Container]:
    account = secret(f"{RELEASE}-tradepost-create-admin", ADMIN_EMAIL=SECOND, ADMIN_PASSWORD=PASSWORD)
    return containers(values_of(database), tmp_path_factory.mktemp("values"), account)


@pytest.fixture(scope="module")
def shop(commands: dict[str, Container], apart: Network) -> None:
    """A migrated database with the sample's files in it."""
    assert run(commands["migrate"], apart).ended() == 0
    files = {file.name: file.read_bytes() for file in (REPOSITORY / "sample").glob("*.csv")}
    imported = run(with_files(commands["import"], "/import", files), apart)
    # Six orders break a rule of shipping, which is a failed Job: the rest is in.
    assert imported.ended() == 1, imported.stdout + imported.stderr
    assert "refused: 6\n" in imported.stderr


class TestMigrate:
    async def test_without_it_commands_say_what_is_missing(
        self, commands: dict[str, Container], apart: Network
    ) -> None:
        checked = run(commands["verify"], apart)
        assert (checked.ended(), checked.stdout) == (69, "")
        assert checked.stderr.startswith("Nothing was checked: the schema is at no revision")
        created = run(commands["create-admin"], apart)
        assert (created.ended(), created.stderr) == (
            1, "The database lacks the tables of this build: run `tradepost migrate` first.\n"
        )  # fmt: skip


@pytest.mark.usefixtures("shop")
class TestCommands:
    async def test_import_reads_the_files_of_its_volume(self, database: str) -> None:
        assert await rows_of(database, "SELECT count(*) FROM orders") == [(824,)]

    async def test_create_admin_makes_the_one_of_its_secret(
        self, commands: dict[str, Container], apart: Network, database: str
    ) -> None:
        assert commands["create-admin"].args == ["create-admin"]
        created = run(commands["create-admin"], apart)
        assert (created.ended(), created.stderr) == (0, "")
        assert created.stdout.startswith(f"Administrator {SECOND} created, with id ")
        assert PASSWORD not in created.stdout
        assert await rows_of(database, "SELECT email FROM users WHERE is_admin") == [(SECOND,)]
        again = run(commands["create-admin"], apart)
        assert again.ended() == 1
        assert again.stderr.startswith("There is an account with this e-mail address.")

    def test_check_config_connects(self, commands: dict[str, Container], apart: Network) -> None:
        checked = run(commands["check-config"], apart)
        assert (checked.ended(), checked.stderr) == (0, "")
        assert checked.stdout.splitlines()[-3:] == [
            "Configuration is valid", "DATABASE_URL: connected", "DATABASE_DIRECT_URL: connected"
        ]  # fmt: skip

    def test_verify_finds_nothing_and_then_what_was_broken(
        self, commands: dict[str, Container], apart: Network, database: str
    ) -> None:
        assert "SECRET_KEY" not in {path.name for path in commands["verify"].secrets}
        checked = run(commands["verify"], apart)
        assert (checked.ended(), checked.stderr) == (0, "")
        assert checked.stdout.splitlines()[-1] == "No faults"
        statement(database, BROKEN)
        broken = run(commands["verify"], apart)
        assert (broken.ended(), broken.stdout.splitlines()[-1]) == (1, "1 fault")
        statement(database, BROKEN.replace("+ 1", "- 1"))
        assert run(commands["verify"], apart).ended() == 0


def dump(database: str, worker: timedelta) -> bytes:
    """Of a shop in which a worker last ran so long ago."""
    since = f"now() - interval '{worker.total_seconds()} seconds'"
    columns, values = "expression, entrypoint, last_run", f"'every', 'upkeep', {since}"
    row = f"INSERT INTO pgqueuer_schedules ({columns}) VALUES ({values})"
    statement(database, "DELETE FROM pgqueuer_schedules", row)
    program = str(embedded._binaries() / "pg_dump")
    command = [program, "--format=custom", "--no-owner", "--no-privileges", database]
    return subprocess.run(command, check=True, capture_output=True).stdout


def moved(value: str, path: str) -> str:
    """The test's server has a database of that name already."""
    return re.sub(r"^(postgresql://tradepost@127\.0\.0\.1:5432)/tradepost$", rf"\1{path}", value)


@pytest.mark.usefixtures("shop")
class TestRehearsal:
    @pytest.fixture
    def rehearsed(self) -> Iterator[str]:
        """An empty database, on a server whose superuser is called as that of the pod's own PostgreSQL."""
        with cloned_database(template=None) as url:
            assert urlsplit(url).username == "tradepost"
            yield url

    def rehearse(
        self, rehearsed: str, folder: Path, apart: Network, dumps: dict[str, bytes]
    ) -> list[Running]:
        """Until a step fails, as a pod does it."""
        rehearsal = {"enabled": True, "dump": {"volume": {"persistentVolumeClaim": {"claimName": "dumps"}}}}
        values = values_of(rehearsed) | {"tasks": {"rehearsal": rehearsal}}
        split = urlsplit(rehearsed)
        # The pod's own PostgreSQL trusts who is in the pod, and has one database.
        trusted = {"PGPASSWORD": str(split.password)}
        path = {"PATH": f"{embedded._binaries()}:/usr/bin:/bin"}
        found: list[Running] = []
        for rendered in steps(values, folder, "rehearsal"):
            restores = rendered.name == "restore"
            own = {name: moved(value, split.path) for name, value in rendered.environment.items()}
            environment = own | trusted | (path if restores else {})
            database = f"--dbname={split.path.removeprefix('/')}"
            command = [each.replace("--dbname=tradepost", database) for each in rendered.command]
            step = replace(rendered, command=command, environment=environment)
            found.append(run(with_files(step, "/dumps", dumps if restores else {}), apart))
            if found[-1].ended():
                break
        return found

    def test_a_dump_of_today_is_restored_and_found_right(
        self, rehearsed: str, apart: Network, database: str, tmp_path: Path
    ) -> None:
        recent = dump(database, timedelta(hours=2))
        restored, _, checked = self.rehearse(rehearsed, tmp_path, apart, {"new.dump": recent})
        assert restored.stdout == "Restoring /dumps/new.dump\n"
        assert (checked.ended(), checked.stderr) == (0, "")
        assert checked.stdout.splitlines()[-1] == "No faults"
        assert asyncio.run(rows_of(rehearsed, "SELECT count(*) FROM orders")) == [(824,)]

    def test_an_old_one_fails_though_it_is_right(
        self, rehearsed: str, apart: Network, database: str, tmp_path: Path
    ) -> None:
        old = dump(database, timedelta(days=3))
        *_, checked = self.rehearse(rehearsed, tmp_path, apart, {"old.dump": old})
        assert (checked.ended(), checked.stdout.splitlines()[-1]) == (1, "No faults")
        assert checked.stderr.splitlines() == [
            "These data are too old: a worker last ran 72.0 hours ago, and --max-age is 26 hours"
        ]

    def test_so_does_one_with_a_fault(
        self, rehearsed: str, apart: Network, database: str, tmp_path: Path
    ) -> None:
        statement(database, BROKEN)
        broken = dump(database, timedelta(0))
        statement(database, BROKEN.replace("+ 1", "- 1"))
        *_, checked = self.rehearse(rehearsed, tmp_path, apart, {"broken.dump": broken})
        assert (checked.ended(), checked.stdout.splitlines()[-1]) == (1, "1 fault")

    def test_half_a_dump_and_none_end_it_at_once(
        self, rehearsed: str, apart: Network, database: str, tmp_path: Path
    ) -> None:
        whole = dump(database, timedelta(0))
        [half] = self.rehearse(rehearsed, tmp_path, apart, {"half.dump": whole[: len(whole) // 2]})
        assert half.ended() != 0
        assert "pg_restore: error" in half.stderr
        [none] = self.rehearse(rehearsed, tmp_path, apart, {"README": b""})
        assert none.ended() != 0
        assert "/dumps/*.dump" in none.stderr

    def test_a_restored_database_of_the_operators_is_checked_where_it_is(
        self, apart: Network, database: str, tmp_path: Path
    ) -> None:
        restored = values_of(database)["secrets"]["databaseUrl"]
        dump(database, timedelta(hours=1))
        rehearsal = {"enabled": True, "database": {"secretName": "restored"}}
        values = values_of("postgresql://nobody@127.0.0.1:9/none") | {"tasks": {"rehearsal": rehearsal}}
        others = secret("restored", uri=restored)
        migrate, check = (run(each, apart) for each in steps(values, tmp_path, "rehearsal", others))
        assert (migrate.ended(), check.ended()) == (0, 0)
        assert check.stdout.splitlines()[-1] == "No faults"
