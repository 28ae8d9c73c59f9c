"""What can be held about the image and about compose.yaml without building anything."""

import importlib.util
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker

from service.platform.config import Settings, generate_key, load_settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = ("migrate", "api", "worker")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?:\s*;\s*(.+?))?\s*\\?$", re.MULTILINE)


def program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Of the environment that runs the tests."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def instructions(stage: str) -> list[tuple[str, str]]:
    """Those of a stage, which a pattern for its FROM names; lines that go on are one."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    _, body = re.split(rf"^FROM {stage}$", text, flags=re.MULTILINE)
    lines = re.split(r"^FROM ", body, flags=re.MULTILINE)[0].splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


class TestDockerfile:
    def test_the_linter_has_nothing_to_say(self) -> None:
        answer = program("hadolint", "Dockerfile")
        assert (answer.returncode, answer.stdout) == (0, "")

    def test_every_rule_that_is_waived_is_known(self) -> None:
        waived = re.findall(r"hadolint ignore=(\S+)", DOCKERFILE)
        assert waived == ["DL3008"]  # binutils of the base's own Debian, in a stage that is thrown away

    def test_what_is_copied_is_there_and_let_in(self) -> None:
        copied = re.findall(r"^COPY (?!--from)(\S+) \S+$", DOCKERFILE, re.MULTILINE)
        allowed = {
            line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
        }
        assert set(copied) == allowed
        assert [name for name in copied if not (ROOT / name).exists()] == []

    def test_nothing_else_is_let_in(self) -> None:
        rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in "#!"]
        assert rules == ["*", "**/__pycache__", "**/*.pyc"]

    def test_one_base_by_name(self) -> None:
        stages = re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)
        assert stages == ["python:3.13-slim AS base", "base AS build", "build AS dev", "base"]

    def test_what_the_released_stage_runs(self) -> None:
        final = dict(instructions("base"))
        assert json.loads(final["ENTRYPOINT"]) == ["tradepost"]
        assert json.loads(final["CMD"]) == ["serve"]
        assert (final["USER"], final["EXPOSE"], final["STOPSIGNAL"]) == (
            "10001:10001",
            "8000 9090",
            "SIGTERM",
        )
        assert "HEALTHCHECK" not in final

    def test_installs_wheels_of_the_lock_alone(self) -> None:
        installs = [text for name, text in instructions("base AS build") if "pip" in text and name == "RUN"]
        assert len(installs) == 1
        for option in ("--require-hashes", "--only-binary :all:", "--no-deps", "requirements.lock"):
            assert option in installs[0]

    def test_modules_that_are_compiled_by_name_exist(self) -> None:
        sys_path = ROOT / "tools" / "image_contents.py"
        spec = importlib.util.spec_from_file_location("image_contents", sys_path)
        assert spec is not None
        assert spec.loader is not None
        contents = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(contents)
        missing = [name for name in contents.LATE if importlib.util.find_spec(name) is None]
        assert missing == []


def test_tests_run_on_what_the_image_installs() -> None:
    pins = PIN.findall((ROOT / "requirements.lock").read_text())
    assert len(pins) > 50
    here = {name: version for name, version, marker in pins if not marker or Marker(marker).evaluate()}
    assert {name: metadata.version(name) for name in here} == here


class TestCompose:
    def test_has_the_form_of_the_specification(self) -> None:
        answer = program("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
        assert (answer.returncode, answer.stdout) == (0, "ok -- validation done\n")

    def test_settings_exist(self) -> None:
        known = {name.upper() for name in Settings.model_fields}
        for name in OURS:
            assert set(COMPOSE["services"][name]["environment"]) - known == set()

    def test_secrets_must_be_given(self) -> None:
        settings = COMPOSE["services"]["api"]["environment"]
        assert settings["SECRET_KEY"].startswith("${SECRET_KEY:?")
        assert "${POSTGRES_PASSWORD:?" in settings["DATABASE_URL"]
        password = COMPOSE["services"]["database"]["environment"]["POSTGRES_PASSWORD"]
        assert password.startswith("${POSTGRES_PASSWORD:?")

    def test_each_service_is_given_the_secrets_that_it_needs(self) -> None:
        keys = {"SECRET_KEY", "SECRET_KEYS_ACCEPTED"}
        expected = {
            "migrate": {"DATABASE_URL", "ADMIN_EMAIL", "ADMIN_PASSWORD"},
            "api": {"DATABASE_URL", *keys},
            "worker": {"DATABASE_URL", "SMTP_URL", *keys},
        }
        everything = set.union(*expected.values())
        given = {name: everything & COMPOSE["services"][name]["environment"].keys() for name in OURS}
        assert given == expected

    def test_its_settings_are_usable(self) -> None:
        """With the two secrets and the defaults, the service would start."""
        given = {"SECRET_KEY": generate_key(), "POSTGRES_PASSWORD": "secret"}
        for name in OURS:
            text = COMPOSE["services"][name]["environment"]
            values = {key: filled_in(value, given) for key, value in text.items()}
            settings = load_settings(values, env_file=None, signs=name != "migrate")
            assert settings.environment == "production"
            assert settings.database_url is not None
            assert settings.database_url.get_secret_value().endswith(
                "tradepost:secret@database:5432/tradepost"
            )

    @pytest.mark.parametrize("name", OURS)
    def test_runs_as_a_pod_would(self, name: str) -> None:
        service = COMPOSE["services"][name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp:size=64m,mode=1777"]
        assert service["command"] == ["serve" if name == "api" else name]

    def test_begins_in_order(self) -> None:
        healthy, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
        needs = {name: COMPOSE["services"][name]["depends_on"] for name in OURS}
        after = {"database": healthy, "migrate": done}
        assert needs == {"migrate": {"database": healthy}, "api": after, "worker": after}

    def test_the_data_are_where_postgresql_18_keeps_them(self) -> None:
        database = COMPOSE["services"]["database"]
        assert database["image"] == "postgres:18"
        assert database["volumes"] == ["data:/var/lib/postgresql"]
        assert "data" in COMPOSE["volumes"]

    def test_nothing_is_open_to_the_network(self) -> None:
        ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
        assert ports == ["127.0.0.1:${PORT:-8000}:8000", "127.0.0.1:${METRICS_PORT:-9090}:9090"]
        assert COMPOSE["networks"]["inside"] == {"internal": True}
        assert COMPOSE["services"]["database"]["networks"] == ["inside"]

    def test_stops_later_than_the_service_does(self) -> None:
        patience = Settings(environment="test").graceful_timeout
        for name in OURS:
            assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > patience


def filled_in(text: str, given: dict[str, str]) -> str:
    """As compose replaces ${NAME}, ${NAME:-default} and ${NAME:?message}."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda found: given.get(found[1]) or (found[3] if found[2] == "-" else ""),
        text,
    )
