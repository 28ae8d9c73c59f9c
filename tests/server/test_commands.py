"""The command line, each command a process of its own in a folder that is not the repository."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from service import __version__
from service.__main__ import COMMANDS
from service.identity import Passwords
from service.platform.config import Settings, generate_key
from tests.helpers.client import V1
from tests.helpers.waiting import wait_until
from tests.server.process import (
    PASSWORD,
    REPOSITORY,
    alive,
    cloned_database,
    environment,
    get,
    started,
    tradepost,
)

ADMIN = "ada@shop.example"
NEEDS_READING = "dac_read_search"


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        yield url


def accounts(url: str) -> list[dict[str, Any]]:
    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT email, is_admin, password_hash FROM users ORDER BY id")
            return [dict(row) for row in rows]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def opens(password: str, stored: str) -> bool:
    passwords = Passwords()
    try:
        return asyncio.run(passwords.verify(stored, password))
    finally:
        passwords.close()


class TestHelp:
    def test_lists_every_command(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "--help")
        assert (answer.returncode, answer.stderr) == (0, "")
        for name, command in COMMANDS.items():
            assert f"    {name}" in answer.stdout
            assert command.help in " ".join(answer.stdout.split())

    def test_version(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "--version")
        assert (answer.returncode, answer.stdout) == (0, f"tradepost {__version__}\n")

    def test_unknown_command(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "destroy")
        assert (answer.returncode, answer.stdout) == (2, "")
        assert "invalid choice: 'destroy'" in answer.stderr


class TestConfiguration:
    def test_check_config_shows_what_is_in_force(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "check-config", PORT=8123, SECRET_KEY=generate_key())
        assert (answer.returncode, answer.stderr) == (0, "")
        rows = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())
        assert (rows["PORT"], rows["SECRET_KEY"]) == ("8123", "set")
        assert rows.pop("Configuration") == "is valid"
        assert set(rows) == {name.upper() for name in Settings.model_fields}

    def test_check_config_lists_every_fault(self, tmp_path: Path) -> None:
        answer = tradepost(tmp_path, "check-config", PORT="abcport", LOG_FORMAT="xmlish")
        assert (answer.returncode, answer.stdout) == (78, "")
        assert [line.split(":")[0] for line in answer.stderr.splitlines()] == [
            "PORT",
            "LOG_FORMAT",
            "Configuration is not valid",
        ]
        assert "abcport" not in answer.stderr
        assert "xmlish" not in answer.stderr

    def test_generated_keys_are_accepted(self, tmp_path: Path) -> None:
        first, second = (tradepost(tmp_path, "generate-key").stdout for _ in range(2))
        assert first != second
        answer = tradepost(tmp_path, "check-config", SECRET_KEY=first.removesuffix("\n"))
        assert answer.returncode == 0


class TestCreateAdmin:
    def test_reads_the_password_from_standard_input(self, tmp_path: Path, database: str) -> None:
        made = tradepost(tmp_path, "create-admin", ADMIN, stdin=f"{PASSWORD}\n", DATABASE_URL=database)
        assert made.returncode == 0, made.stderr
        assert made.stdout.splitlines()[-1].startswith(f"Administrator {ADMIN} created, with id ")
        [account] = accounts(database)
        assert (account["email"], account["is_admin"]) == (ADMIN, True)
        assert opens(PASSWORD, account["password_hash"])
        assert PASSWORD not in made.stdout + made.stderr

    def test_without_an_address_both_come_from_the_settings(self, tmp_path: Path, database: str) -> None:
        """As a Job has them: from files of a Secret, with no terminal and no key."""
        (tmp_path / "secrets").mkdir()
        password = f"{generate_key()}-1"
        for name, value in {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": password}.items():
            (tmp_path / "secrets" / name).write_text(value)
        secrets = tmp_path / "secrets"
        made = tradepost(
            tmp_path, "create-admin", ENVIRONMENT="production", DATABASE_URL=database, SECRETS_DIR=secrets
        )
        assert made.returncode == 0, made.stderr
        [account] = accounts(database)
        assert (account["email"], account["is_admin"]) == (ADMIN, True)
        assert opens(password, account["password_hash"])
        assert password not in made.stdout + made.stderr

    def test_without_either_it_says_what_to_set(self, tmp_path: Path, database: str) -> None:
        answer = tradepost(tmp_path, "create-admin", DATABASE_URL=database)
        assert (answer.returncode, answer.stderr.splitlines()[1:]) == (
            78, ["  ADMIN_EMAIL: is missing; name the address, or set it and ADMIN_PASSWORD"],
        )  # fmt: skip
        assert accounts(database) == []

    def test_production_refuses_a_password_that_is_published(self, tmp_path: Path, database: str) -> None:
        production = {"ENVIRONMENT": "production", "DATABASE_URL": database, "SECRET_KEY": generate_key()}
        for password in ("Northwind1", PASSWORD):
            answer = tradepost(tmp_path, "create-admin", ADMIN, stdin=f"{password}\n", **production)
            assert (answer.returncode, answer.stderr.splitlines()[-1]) == (
                1, "password: is published with the source code; choose another",
            )  # fmt: skip
        assert accounts(database) == []
        made = tradepost(tmp_path, "create-admin", ADMIN, stdin=f"{generate_key()}-1\n", **production)
        assert made.returncode == 0, made.stderr

    @pytest.mark.slow
    def test_refusals_change_nothing(self, tmp_path: Path, database: str) -> None:
        def refused(email: str, password: str) -> str:
            before = accounts(database)
            answer = tradepost(tmp_path, "create-admin", email, stdin=f"{password}\n", DATABASE_URL=database)
            assert answer.returncode == 1
            assert accounts(database) == before
            return answer.stderr

        assert "password: Password must be at least 8 characters" in refused(ADMIN, "short1")
        assert refused("nonsense", PASSWORD).startswith("email: ")
        tradepost(tmp_path, "create-admin", ADMIN, stdin=PASSWORD, DATABASE_URL=database)
        assert len(accounts(database)) == 1
        assert "There is an account with this e-mail address." in refused(ADMIN.upper(), PASSWORD)

    @pytest.mark.slow
    def test_prepares_an_empty_database_in_development(self, tmp_path: Path) -> None:
        with cloned_database(template=None) as url:
            made = tradepost(tmp_path, "create-admin", ADMIN, stdin=PASSWORD, DATABASE_URL=url)
            assert made.returncode == 0, made.stderr
            assert [account["is_admin"] for account in accounts(url)] == [True]


@pytest.mark.slow
class TestMigrate:
    def test_four_at_once(self, tmp_path: Path) -> None:
        """On an empty database, each with the same first administrator to make."""
        with cloned_database(template=None) as url:
            settings = {"DATABASE_URL": url, "ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
            env = environment(tmp_path, **settings)
            command = [sys.executable, "-m", "service", "migrate"]
            processes = [
                subprocess.Popen(
                    command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                for _ in range(4)
            ]
            outputs = [process.communicate() for process in processes]
            assert [process.returncode for process in processes] == [0] * 4, outputs
            assert [errors for _, errors in outputs] == [""] * 4
            events = [json.loads(line)["event"] for output, _ in outputs for line in output.splitlines()]
            assert events.count("schema.migrated") == 4
            assert events.count("administrator.created") == 1
            [account] = accounts(url)
            assert (account["email"], account["is_admin"]) == (ADMIN, True)
            assert opens(PASSWORD, account["password_hash"])

    def test_never_promotes_an_account(self, tmp_path: Path, database: str) -> None:
        with started(tmp_path / "service", DATABASE_URL=database) as service:
            service.wait_until_up().register(ADMIN)
        before = accounts(database)
        settings = {"DATABASE_URL": database, "ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": "another-word-2"}
        answer = tradepost(tmp_path, "migrate", **settings)
        assert answer.returncode == 78
        assert answer.stderr.splitlines()[1:] == [
            "  ADMIN_EMAIL: belongs to an ordinary account, which is never promoted; choose another"
        ]
        assert accounts(database) == before
        assert [account["is_admin"] for account in before] == [False]

    def test_makes_no_second_administrator(self, tmp_path: Path, database: str) -> None:
        tradepost(tmp_path, "create-admin", ADMIN, stdin=PASSWORD, DATABASE_URL=database)
        before = accounts(database)
        settings = {
            "DATABASE_URL": database,
            "ADMIN_EMAIL": "second@shop.example",
            "ADMIN_PASSWORD": PASSWORD,
        }
        assert tradepost(tmp_path, "migrate", **settings).returncode == 0
        assert accounts(database) == before


@pytest.mark.slow
class TestExportOpenapi:
    def test_is_the_same_whatever_the_settings(self, tmp_path: Path) -> None:
        plain = tradepost(tmp_path, "export-openapi")
        other = tradepost(
            tmp_path,
            "export-openapi",
            ENVIRONMENT="production",
            PUBLIC_URL="https://shop.example",
            DOCS_ENABLED="true",
            LOG_LEVEL="DEBUG",
            PYTHONHASHSEED=7,
        )
        assert (plain.returncode, plain.stderr, other.stderr) == (0, "", "")
        assert plain.stdout == other.stdout
        document = json.loads(plain.stdout)
        assert document["openapi"].startswith("3.1")
        assert f"{V1}/users" in document["paths"]


@pytest.mark.slow
class TestDevelopment:
    def test_restarts_when_a_file_changes(self, tmp_path: Path, database: str) -> None:
        code = tmp_path / "code"
        shutil.copytree(
            REPOSITORY / "service", code / "service", ignore=shutil.ignore_patterns("__pycache__")
        )
        with started(tmp_path, module=("service", "dev"), DATABASE_URL=database, PYTHONPATH=code) as service:
            service.wait_until_up()
            assert get(f"{service.url}/health").json()["version"] == __version__
            wait_until(lambda: f"Tradepost: {service.url}/" in service.stderr)
            (code / "service" / "__init__.py").write_text('__version__ = "99.0"\n')

            def changed() -> bool:
                # A request during the restart gets no response: only developers see that.
                with suppress(httpx2.TransportError):
                    return bool(get(f"{service.url}/health").json()["version"] == "99.0")
                return False

            wait_until(changed)
            processes = service.descendants()
            assert service.stop() == 0
            wait_until(lambda: not any(alive(process.pid) for process in processes))
            assert {line["logger"] for line in service.lines()} >= {"uvicorn.error", "service.main"}

    def test_uvicorn_with_the_factory(self, tmp_path: Path, database: str) -> None:
        module = ("uvicorn", "--factory", "service.main:create_app", "--port", "0")
        with started(tmp_path, module=module, DATABASE_URL=database) as service:
            wait_until(lambda: "Uvicorn running on http" in service.stdout + service.stderr)
            text = (service.stdout + service.stderr).split("running on http://127.0.0.1:")[1]
            service.port = int(text.split()[0])
            assert service.wait_until_up().register("maria@shop.example")
            service.stop()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
class TestOrdinaryUser:
    def test_serves_with_a_database_of_its_own(self, tmp_path: Path) -> None:
        """Of root's rights one to read is left, for the code may stand in a folder that is root's."""
        capabilities = f"-all,+{NEEDS_READING}"
        wrapper = (
            *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
            "--securebits=+no_setuid_fixup",
            *(f"--{kind}={capabilities}" for kind in ("bounding-set", "inh-caps", "ambient-caps")),
        )
        home = tmp_path / "home"
        home.mkdir()
        shutil.chown(home, "nobody")
        with started(home, wrapper=wrapper, ENVIRONMENT="development") as service:
            assert service.wait_until_up().register("maria@shop.example")
            assert (home / "data" / "postgres").owner() == "nobody"
            processes = service.descendants()
            assert service.stop() == 0
            assert not any(alive(process.pid) for process in processes)
