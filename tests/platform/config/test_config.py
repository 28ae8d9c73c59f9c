"""Settings: where each value comes from, what is refused and how, and that `.env.example` is true."""

import hashlib
import re
import stat
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.cli import check_config, generate_key
from service.errors import ConfigError
from service.platform.config import EXIT_CONFIG, Settings, describe, load_settings
from service.platform.config.cgroup import default_workers

#: As short as a key may be, the same in every process, and in no file: production refuses what is published.
KEY, OTHER_KEY = (hashlib.sha256(name).hexdigest()[:32] for name in (b"the key", b"the other one"))
CANARY = "c4n4ry"
PRODUCTION = {"ENVIRONMENT": "production", "SECRET_KEY": KEY, "DATABASE_URL": "postgresql://u:p@db/shop"}
EXAMPLE = Path(__file__).parents[3] / ".env.example"
WRITTEN = dict(re.findall(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
#: In the example for those who read it, but the SDK's business, not ours.
FOR_THE_SDK = {
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}
DEFAULT = "; correct it or leave it out for the default"
MAKE_ONE = "; make one with `tradepost generate-key`"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder: no `.env`, and a place for the generated key."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(environ: Mapping[str, str], env_file: Path | None = Path(".env")) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refusal:
        load_settings(environ, env_file=env_file)
    return refusal.value.faults


class TestSources:
    #: Weakest first; each adds PORT from one more source to those before it.
    SOURCES = (".env", ".env with PORT_FILE", "SECRETS_DIR", "PORT_FILE", "environment")

    def write(self, folder: Path, source: str, value: str) -> dict[str, str]:
        """Set PORT to `value` at `source`; the environment that it needs."""
        if source == ".env":
            (folder / ".env").write_text(f"PORT={value}\n")
        elif source == ".env with PORT_FILE":
            (folder / "from-env-file").write_text(f"{value}\n")
            (folder / ".env").write_text("PORT_FILE=from-env-file\n")
        elif source == "SECRETS_DIR":
            (folder / "mounted").mkdir()
            (folder / "mounted" / "PORT").write_text(f"{value}\n")
            return {"SECRETS_DIR": "mounted"}
        elif source == "PORT_FILE":
            (folder / "named").write_text(f"{value}\n")
            return {"PORT_FILE": "named"}
        else:
            return {"PORT": value}
        return {}

    @pytest.mark.parametrize("source", SOURCES)
    def test_each_source_alone(self, folder: Path, source: str) -> None:
        assert load_settings(self.write(folder, source, "8111")).port == 8111

    @pytest.mark.parametrize(
        ("weaker", "stronger"),
        [
            (".env", "SECRETS_DIR"),
            (".env", "PORT_FILE"),
            (".env", "environment"),
            (".env with PORT_FILE", "SECRETS_DIR"),
            (".env with PORT_FILE", "PORT_FILE"),
            (".env with PORT_FILE", "environment"),
            ("SECRETS_DIR", "PORT_FILE"),
            ("SECRETS_DIR", "environment"),
        ],
    )
    def test_the_stronger_wins(self, folder: Path, weaker: str, stronger: str) -> None:
        environ = self.write(folder, weaker, "8111") | self.write(folder, stronger, "8222")
        assert load_settings(environ).port == 8222

    @pytest.mark.parametrize("where", ["environment", ".env"])
    def test_a_name_and_its_file_are_a_fault(self, folder: Path, where: str) -> None:
        variables = {"PORT": "8111", "PORT_FILE": "named"}
        (folder / "named").write_text("8111")
        if where == ".env":
            (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
            variables = {}
        assert faults(variables) == ("PORT: is set twice, directly and as PORT_FILE; remove one of them",)

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "8333")
        assert load_settings().port == 8333

    def test_constructing_reads_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "8333")
        (folder / ".env").write_text("METRICS_PORT=9333\n")
        settings = Settings(secret_key=KEY)
        assert (settings.port, settings.metrics_port) == (8000, 9090)
        assert [path.name for path in folder.iterdir()] == [".env"]

    @pytest.mark.parametrize(
        "environ",
        [{"PORT": ""}, {"PORT": "", "PORT_FILE": ""}, {"port": "8111"}, {"TRADEPOST_PORT": "tcp://x"}],
    )
    def test_what_is_empty_or_unknown_is_not_set(self, environ: dict[str, str]) -> None:
        assert load_settings(environ).port == 8000

    def test_an_empty_name_beside_its_file_is_no_conflict(self, folder: Path) -> None:
        (folder / "named").write_text("8111")
        assert load_settings({"PORT": "", "PORT_FILE": "named"}).port == 8111

    def test_an_empty_file_is_not_set(self, folder: Path) -> None:
        (folder / "named").write_text("\n")
        assert load_settings({"PORT_FILE": "named"}).port == 8000

    @pytest.mark.parametrize(
        ("content", "value"),
        [
            ("Shop", "Shop"),
            ("Shop\n", "Shop"),
            ("Shop\r\n", "Shop"),
            ("Shop\n\n", "Shop\n"),
            (" Shop ", " Shop "),
        ],
    )
    def test_one_newline_at_the_end_is_stripped(self, folder: Path, content: str, value: str) -> None:
        (folder / "named").write_bytes(content.encode())
        assert load_settings({"SELLER_FILE": "named"}).seller == value

    @pytest.mark.parametrize("spelling", ["SECRET_KEY", "secret_key"])
    def test_secrets_in_either_spelling(self, folder: Path, spelling: str) -> None:
        (folder / spelling).write_text(KEY + "\n")
        settings = load_settings({"SECRETS_DIR": str(folder)})
        assert settings.secret_key == SecretStr(KEY)
        assert settings.secrets_dir == folder

    def test_capitals_win_and_folders_are_passed_over(self, folder: Path) -> None:
        (folder / "seller").write_text("small")
        (folder / "SELLER").write_text("capital")
        (folder / "port").mkdir()
        settings = load_settings({"SECRETS_DIR": str(folder)})
        assert (settings.seller, settings.port) == ("capital", 8000)

    def test_secrets_dir_from_the_env_file(self, folder: Path) -> None:
        (folder / "mounted").mkdir()
        (folder / "mounted" / "seller").write_text("Mounted")
        (folder / ".env").write_text("SECRETS_DIR=mounted\nSELLER=Local\n")
        assert load_settings({}).seller == "Mounted"

    @pytest.mark.parametrize("environ", [{"ENVIRONMENT": "test"}, PRODUCTION])
    def test_the_env_file_is_for_development(self, folder: Path, environ: dict[str, str]) -> None:
        (folder / ".env").write_text("PORT=8111\n")
        assert load_settings(environ).port == 8000

    def test_the_env_file_cannot_choose_the_environment(self, folder: Path) -> None:
        (folder / ".env").write_text("ENVIRONMENT=test\n")
        assert faults({}) == (
            "ENVIRONMENT: is set in .env, which is for development only; set it in the environment",
        )

    def test_another_env_file_or_none(self, folder: Path) -> None:
        (folder / ".env").write_text("PORT=8111\n")
        (folder / "other").write_text("PORT=8222\n")
        assert load_settings({}, env_file=Path("other")).port == 8222
        assert load_settings({}, env_file=None).port == 8000

    def test_files_that_cannot_be_read(self, folder: Path) -> None:
        (folder / "latin").write_bytes(b"\xff")
        (folder / ".env").write_bytes(b"PORT=\xff")
        environ = {
            "SELLER_FILE": f"/nowhere/{CANARY}",
            "SECRET_KEY_FILE": str(folder),
            "MAIL_FROM_FILE": str(folder / "latin"),
            "SECRETS_DIR": str(folder / CANARY),
        }
        advice = "; correct the path or permissions"
        assert faults(environ) == (
            ".env: cannot be read (not UTF-8 text); correct or remove it",
            f"SECRETS_DIR: is not a readable folder (No such file or directory){advice}",
            f"SECRET_KEY: cannot be read from SECRET_KEY_FILE (Is a directory){advice}",
            f"SELLER: cannot be read from SELLER_FILE (No such file or directory){advice}",
            f"MAIL_FROM: cannot be read from MAIL_FROM_FILE (not UTF-8 text){advice}",
        )

    def test_an_unreadable_secret_is_one_fault(self) -> None:
        """Not also "missing", nor a fault of the setting that goes with it."""
        environ = PRODUCTION | {"SECRET_KEY": "", "SECRET_KEY_FILE": "x", "ADMIN_EMAIL": "a@b.example"}
        environ["ADMIN_PASSWORD_FILE"] = "x"
        reason = "(No such file or directory); correct the path or permissions"
        assert faults(environ) == (
            f"SECRET_KEY: cannot be read from SECRET_KEY_FILE {reason}",
            f"ADMIN_PASSWORD: cannot be read from ADMIN_PASSWORD_FILE {reason}",
        )


class TestRules:
    def test_defaults_follow_the_environment_and_the_public_url(self) -> None:
        local, production = (
            load_settings({}),
            load_settings(PRODUCTION | {"PUBLIC_URL": "https://s.example/"}),
        )
        assert (local.host, local.docs_enabled, local.token_issuer) == ("127.0.0.1", True, "tradepost")
        assert (production.host, production.docs_enabled) == ("0.0.0.0", False)  # noqa: S104
        assert production.token_issuer == "https://s.example"
        assert load_settings(PRODUCTION | {"DOCS_ENABLED": "true"}).docs_enabled is True

    def test_production_names_all_that_it_misses_and_refuses(self) -> None:
        environ = {
            "ENVIRONMENT": "production",
            "SAMPLE": "true",
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "PORT": "x",
        }
        expected = (
            f"PORT: is not a whole number{DEFAULT}",
            "SAMPLE: is refused in production; remove it",
            "DATABASE_URL: is missing; write postgresql://user:password@host:5432/name",
            f"SECRET_KEY: is missing{MAKE_ONE}",
            "WEBHOOK_ALLOW_PRIVATE: is refused in production, for it opens the inner network; remove it",
        )
        assert faults(environ) == expected
        with pytest.raises(ConfigError) as direct:
            Settings(**{name.lower(): value for name, value in environ.items()})  # type: ignore[arg-type]
        assert direct.value.faults == expected
        assert not Path(".data").exists()

    @pytest.mark.parametrize("environment", ["development", "test"])
    def test_elsewhere_both_are_allowed(self, environment: str) -> None:
        allowed = {"ENVIRONMENT": environment, "SAMPLE": "true", "WEBHOOK_ALLOW_PRIVATE": "true"}
        settings = load_settings(allowed)
        assert (settings.sample, settings.webhook_allow_private, settings.database_url) == (True, True, None)

    def test_any_origin_with_credentials_is_refused(self) -> None:
        assert faults({"CORS_ORIGINS": "https://a.example,*", "CORS_CREDENTIALS": "true"}) == (
            "CORS_ORIGINS: is * while CORS_CREDENTIALS is on; list the origins",
        )

    @pytest.mark.parametrize(
        ("environ", "endpoint"),
        [
            ({}, None),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/otlp?key=k"}, "http://c/otlp/v1/traces?key=k"),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/in"}, "http://t/in"),
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"},
                "http://t",
            ),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, None),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, None),
        ],
    )
    def test_tracing_needs_an_endpoint(self, environ: dict[str, str], endpoint: str | None) -> None:
        assert load_settings(environ).traces_endpoint == endpoint

    @pytest.mark.parametrize("signal", ["LOGS", "METRICS"])
    def test_logs_and_metrics_are_sent_where_that_is_chosen(self, signal: str) -> None:
        def endpoint(**environ: str) -> str | None:
            return str(getattr(load_settings(environ), f"{signal.lower()}_endpoint") or "") or None

        chosen, all_ = (
            {f"OTEL_{signal}_EXPORTER": "otlp"},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/otlp?k=v"},
        )
        own = {f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://own/in"}
        assert endpoint(**all_, **own) is None
        assert endpoint(**chosen, **all_) == f"http://c/otlp/v1/{signal.lower()}?k=v"
        assert endpoint(**chosen, **all_, **own) == "http://own/in"
        assert endpoint(**chosen, **all_, OTEL_SDK_DISABLED="true") is None
        assert endpoint(**chosen, OTEL_SDK_DISABLED="true") is None
        missing = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT: is missing while OTEL_{signal}_EXPORTER is otlp"
        assert faults(chosen) == (f"{missing}; set it, or OTEL_EXPORTER_OTLP_ENDPOINT for all",)
        assert faults({f"OTEL_{signal}_EXPORTER": "console"}) == (
            f"OTEL_{signal}_EXPORTER: must be 'none' or 'otlp'; correct it or leave it out for the default",
        )


class TestSilence:
    #: Text may be anything; a path is checked when it is opened.
    FREE = frozenset(
        (
            "SELLER",
            "TOKEN_ISSUER",
            "TOKEN_AUDIENCE",
            "OTEL_SERVICE_NAME",
            "OTEL_TRACES_EXPORTER",
            "DRAIN_FILE",
        )
    )

    def test_every_fault_is_listed_and_no_value_is(self, folder: Path) -> None:
        environ = {name.upper(): f"{CANARY} 1://{CANARY}" for name in Settings.model_fields}
        environ |= {"ADMIN_PASSWORD": CANARY, "DATA_DIR": f"{CANARY}/folder", "SECRET_KEY": ""}
        (folder / CANARY).write_text("a file where a folder should be")
        environ["ENVIRONMENT"] = ""
        with pytest.raises(ConfigError) as refusal:
            load_settings(environ)
        named = [line.partition(": ")[0] for line in refusal.value.faults]
        expected = [name.upper() for name in Settings.model_fields if name.upper() not in self.FREE]
        assert named == [name for name in expected if name not in {"ENVIRONMENT", "SECRET_KEY"}]
        for shown in (str(refusal.value), repr(refusal.value), repr(refusal.value.__context__)):
            assert CANARY not in shown

    def test_secrets_are_never_shown(self) -> None:
        password = f"pw-{CANARY}-1"
        environ = PRODUCTION | {
            "DATABASE_URL": f"postgres://u:{password}@h/d",
            "DATABASE_DIRECT_URL": f"postgres://u:{password}@h/d",
            "SECRET_KEY": KEY + CANARY,
            "SECRET_KEYS_ACCEPTED": OTHER_KEY + CANARY,
            "ADMIN_EMAIL": "ann@example.com",
            "ADMIN_PASSWORD": password,
            "REDIS_URL": f"redis://:{password}@h",
            "SMTP_URL": f"smtp://u:{password}@h",
            "MAIL_FROM": "shop@example.com",
            "WEATHER_URL": f"https://w.example/v1?apikey={CANARY}",
            "WEATHER_GEOCODING_URL": f"https://{CANARY}@w.example/v1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://u:{CANARY}@c.example",
        }
        settings = load_settings(environ)
        assert CANARY not in f"{settings!r} {settings} {describe(settings)}"
        shown = dict(describe(settings))
        assert [name for name in environ if shown[name] != "set"] == [
            "ENVIRONMENT",
            "ADMIN_EMAIL",
            "MAIL_FROM",
        ]

    def test_describe_shows_the_rest_as_it_is_written(self) -> None:
        shown = {
            "PORT": "8111",
            "CORS_ORIGINS": "https://a.example,https://b.example",
            "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
            "SHIPPING_RATES": "standard=0.00,express=4.90,overnight=0.00",
            "DATABASE_POOL_TIMEOUT": "2.5",
            "PAYMENT_WINDOW": "3600",
            "SAMPLE": "true",
        }
        described = describe(load_settings(shown))
        assert [name for name, _ in described] == [name.upper() for name in Settings.model_fields]
        assert {name: value for name, value in described if name in shown} == shown
        assert (
            dict(described)["REDIS_URL"]
            == dict(described)["CORS_ORIGINS" if not shown else "SMTP_URL"]
            == "not set"
        )

    def test_settings_cannot_be_changed(self) -> None:
        settings = Settings(secret_key=KEY)
        with pytest.raises(ValidationError, match="Instance is frozen"):
            settings.port = 1  # type: ignore[misc]
        assert settings.port == 8000

    def test_an_unknown_argument_is_refused(self) -> None:
        with pytest.raises(ConfigError) as refusal:
            Settings(prot=1)  # type: ignore[call-arg]
        assert refusal.value.faults == (f"prot: Extra inputs are not permitted{DEFAULT}",)


class TestGeneratedKey:
    def test_it_is_kept_and_private(self, folder: Path) -> None:
        first, second = load_settings({"DATA_DIR": "kept/here"}), load_settings({"DATA_DIR": "kept/here"})
        file = folder / "kept" / "here" / "secret-key"
        assert first.secret_key == second.secret_key == SecretStr(file.read_text())
        assert len(file.read_text()) == 64
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in file.parent.iterdir()] == ["secret-key"]

    def test_a_given_key_makes_no_file(self, folder: Path) -> None:
        assert load_settings({"SECRET_KEY": KEY}).secret_key == SecretStr(KEY)
        assert list(folder.iterdir()) == []

    def test_processes_that_start_at_once_agree(self, folder: Path) -> None:
        with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
            seen = list(pool.map(load_keys, [folder] * 3))
        kept = [(folder / str(number) / "secret-key").read_text() for number in range(100)]
        assert seen == [kept] * 3
        assert len(set(kept)) == 100

    def test_a_folder_that_cannot_be_written(self, folder: Path) -> None:
        (folder / "file").write_text("")
        assert faults({"DATA_DIR": "file/under", "PORT": "x"}) == (
            f"PORT: is not a whole number{DEFAULT}",
            "DATA_DIR: cannot keep a key (Not a directory); make it writable or set SECRET_KEY",
        )

    def test_constructing_makes_a_random_key(self, folder: Path) -> None:
        assert len({Settings().secret_key.get_secret_value() for _ in range(3)}) == 3
        assert list(folder.iterdir()) == []


def load_keys(folder: Path) -> list[str]:
    """The keys of a hundred folders, for processes that race through them."""
    folders = [str(folder / str(number)) for number in range(100)]
    return [load_settings({"DATA_DIR": name}).secret_key.get_secret_value() for name in folders]


def test_the_default_of_workers_is_counted() -> None:
    assert load_settings({}).web_concurrency == default_workers()
    assert load_settings({"WEB_CONCURRENCY": "17"}).web_concurrency == 17


class TestExample:
    #: No text can say them: made, or counted on the machine.
    MADE = frozenset({"SECRET_KEY", "WEB_CONCURRENCY"})

    def test_it_names_every_setting_and_no_other(self) -> None:
        assert set(WRITTEN) == {name.upper() for name in Settings.model_fields} | FOR_THE_SDK

    def test_its_defaults_are_the_defaults(self) -> None:
        real = dict(describe(load_settings({})))
        written = dict(describe(load_settings({name: value for name, value in WRITTEN.items() if value})))
        assert {name: written[name] for name in real if name not in self.MADE} == {
            name: value for name, value in real.items() if name not in self.MADE
        }
        empty = {name for name, value in WRITTEN.items() if not value} - FOR_THE_SDK - self.MADE
        assert empty == {name for name, value in real.items() if value == "not set"}

    def test_a_copy_changes_nothing(self, folder: Path) -> None:
        (folder / ".env").write_text(EXAMPLE.read_text())
        assert load_settings({}) == load_settings({}, env_file=None)

    def test_no_setting_is_another_ones_file(self) -> None:
        names = set(Settings.model_fields)
        assert {name for name in names if f"{name}_file" in names} == set()


class TestCommands:
    def test_check_config_with_a_good_configuration(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.environment(monkeypatch, PRODUCTION)
        assert check_config.run() == 0
        out, err = capsys.readouterr()
        rows = [line.split(maxsplit=1) for line in out.splitlines()[:-1]]
        assert rows == [[name, value] for name, value in describe(load_settings())]
        assert (out.splitlines()[-1], err) == ("Configuration is valid", "")

    def test_check_config_with_faults(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.environment(monkeypatch, {"ENVIRONMENT": "production", "DATABASE_URL": "postgres://h/d"})
        assert check_config.run() == EXIT_CONFIG == 78
        expected = f"SECRET_KEY: is missing{MAKE_ONE}\nConfiguration is not valid: 1 fault\n"
        assert capsys.readouterr() == ("", expected)

    def test_generate_key_prints_a_key_that_is_taken(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate_key.run() == 0
        key = capsys.readouterr().out.removesuffix("\n")
        assert re.fullmatch("[A-Za-z0-9_-]{64}", key)
        assert load_settings(PRODUCTION | {"SECRET_KEY": key}).secret_key == SecretStr(key)

    def environment(self, monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
            monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
