"""What each setting accepts, as which value, and in which words it refuses the rest."""

import hashlib
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PosixPath

import pytest
from pydantic import SecretStr

from service.errors import ConfigError
from service.platform.config import load_settings

#: As short as a key may be, the same in every process, and in no file: production refuses what is published.
KEY, OTHER_KEY = (hashlib.sha256(name).hexdigest()[:32] for name in (b"the key", b"the other one"))
PRODUCTION = {"ENVIRONMENT": "production", "SECRET_KEY": KEY, "DATABASE_URL": "postgresql://u:p@db/shop"}
CYRILLIC = str.maketrans("0123456789abcdef", "абвгдежзийклмноп")
DEFAULT = "; correct it or leave it out for the default"
MAKE_ONE = "; make one with `tradepost generate-key`"
NOT_A_URL = "is not a URL; check its host and port, and encode special characters"
PARAMETERS = (
    "sslmode, host, port, target_session_attrs, prepared_statement_cache_size, options, sslpassword,"
    " sslrootcert, sslcert, sslkey, sslcrl, ssl_min_protocol_version, ssl_max_protocol_version"
)
HTTP = "must be a URL that starts with http:// or https://"
DURATION = "is not a duration; write seconds, 90m, 24h, 30d or ISO 8601 (P1DT12H)"
RANGE = "is out of range; write more than 0 and at most 3660d"
RATES = "is not a list of rates; write standard=0.00,express=4.90 or JSON"
LIMIT = "is not a rate limit; write it like 300/minute, or several as 10/minute;100/hour"
ORIGIN = "is not an origin; write scheme://host[:port] without a path, or *"
PUBLIC = "must be scheme://host[:port][/path] and nothing else"
ADDRESS = "is not an e-mail address; write one like shop@example.com"
BARE = "is not a bare e-mail address; write one like admin@example.com"
CENTS = "Decimal input should have no more than 2 decimal places"
COMMON = "is refused: Password is one of the most common ones; choose another"
GUESSED = "is well known or easily guessed"
WIDE = (
    "is wider than /{}, so that nearly every client could make up its address; name the proxies' own"
    " addresses or networks"
)
HOST_NAME = "is not a host name; write one like shop.example or *.shop.example, without a port"
NETWORK = "is not a network; write it like 10.0.0.0/8, without host bits"
REFUSED_PARAMETER = f"has the parameter connect_timeout, which is not taken; only {PARAMETERS} work"
UNKNOWN_PARAMETER = f"has an unknown parameter; only {PARAMETERS} work"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder: no `.env`, and a place for the generated key."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refusal:
        load_settings(environ)
    return refusal.value.faults


class TestValues:
    """One row a rule: a setting, its text, and its value or its fault."""

    @pytest.mark.parametrize(
        ("name", "given", "value"),
        [
            ("host", "::", "::"),
            ("log_level", "debug", "DEBUG"),
            ("sample", "1", True),
            ("docs_enabled", "no", False),
            ("database_pool_timeout", "0.5", 0.5),
            ("database_max_overflow", "0", 0),
            ("payment_window", "90", timedelta(seconds=90)),
            ("payment_window", "90s", timedelta(seconds=90)),
            ("payment_window", "90m", timedelta(minutes=90)),
            ("payment_window", "24h", timedelta(days=1)),
            ("payment_window", "30d", timedelta(days=30)),
            ("payment_window", "2w", timedelta(days=14)),
            ("payment_window", "P1DT12H", timedelta(hours=36)),
            ("rate_limit_default", "10/second;7/day", "10/second;7/day"),
            (
                "trusted_proxies",
                "10.0.0.0/8, fd00::/8,192.0.2.1",
                (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8"), IPv4Network("192.0.2.1/32")),
            ),
            ("trusted_proxies", "::ffff:10.0.0.0/104", (IPv4Network("10.0.0.0/8"),)),
            ("trusted_proxies", "2400:cb00::/32", (IPv6Network("2400:cb00::/32"),)),
            ("trusted_proxy_hops", "2", 2),
            (
                "allowed_hosts",
                "Shop.Example., *.shop.example,[::1]",
                ("shop.example", "*.shop.example", "::1"),
            ),
            ("hsts_max_age", "365d", timedelta(days=365)),
            (
                "cors_origins",
                "https://Shop.Example, http://x:80,http://y:81",
                ("https://shop.example", "http://x", "http://y:81"),
            ),
            ("cors_origins", "*", ("*",)),
            (
                "cors_origins",
                (
                    "capacitor://localhost,ionic://localhost,tauri://localhost,"
                    "chrome-extension://abcdefghijklmnopabcdefghijklmnop,https://[::1]:8443"
                ),
                (
                    "capacitor://localhost",
                    "ionic://localhost",
                    "tauri://localhost",
                    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                    "https://[::1]:8443",
                ),
            ),
            ("public_url", "https://shop.example/api/", "https://shop.example/api"),
            ("mail_from", "The Shop <shop@Example.com>", "The Shop <shop@example.com>"),
            ("admin_email", "ann@Example.com", "ann@example.com"),
            ("secret_keys_accepted", f"{KEY}, {OTHER_KEY}", (SecretStr(KEY), SecretStr(OTHER_KEY))),
            ("redis_url", "rediss://:pw@cache:6379/0", SecretStr("rediss://:pw@cache:6379/0")),
            ("drain_file", "/run/drain", PosixPath("/run/drain")),
        ],
    )
    def test_parsed(self, name: str, given: str, value: object) -> None:
        partner = {"ADMIN_PASSWORD": "correct horse 1"} if name == "admin_email" else {}
        got = getattr(load_settings({name.upper(): given} | partner), name)
        assert (got, type(got)) == (value, type(value))

    @pytest.mark.parametrize(
        ("name", "given", "message"),
        [
            ("ENVIRONMENT", "prod", f"must be 'development', 'test' or 'production'{DEFAULT}"),
            ("HOST", "tcp://10.0.0.1", "is not a host name or address; write one like 0.0.0.0"),
            ("PORT", "tcp://10.0.0.1:8000", f"is not a whole number{DEFAULT}"),
            ("PORT", "0", f"must be greater than or equal to 1{DEFAULT}"),
            ("PORT", "65536", f"must be less than or equal to 65535{DEFAULT}"),
            ("METRICS_PORT", "8000", "is the same as PORT; choose another"),
            ("SAMPLE", "perhaps", f"is neither true nor false{DEFAULT}"),
            ("WEB_CONCURRENCY", "0", f"must be greater than or equal to 1{DEFAULT}"),
            ("GRACEFUL_TIMEOUT", "4", f"must be greater than or equal to 5{DEFAULT}"),
            ("LOG_LEVEL", "loud", f"must be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'{DEFAULT}"),
            ("LOG_FORMAT", "xml", f"must be 'json' or 'console'{DEFAULT}"),
            ("READINESS_DATABASE", "maybe", f"must be 'soft' or 'hard'{DEFAULT}"),
            ("DATABASE_POOLER", "pgbouncer", "is not a host and a port; write them like pgbouncer:6432"),
            ("DATABASE_POOL_TIMEOUT", "soon", f"is not a number{DEFAULT}"),
            ("DATABASE_STATEMENT_TIMEOUT", "inf", f"must be a finite number{DEFAULT}"),
            ("PUBLIC_URL", "shop.example", HTTP),
            ("PUBLIC_URL", "https://u:p@shop.example", PUBLIC),
            ("PUBLIC_URL", "https://shop.example/?a=1", PUBLIC),
            ("CORS_ORIGINS", "https://a.example,https://b.example/path", f"entry 2 {ORIGIN}"),
            ("CORS_ORIGINS", "https://a.example/", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "https://u@a.example", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "null", f"entry 1 {HTTP}"),
            ("CORS_ORIGINS", "capacitor://localhost/", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "capacitor://localhost/app", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "https://*.shop.example", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "capacitor://", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "https://a.example:99999", f"entry 1 {ORIGIN}"),
            ("CORS_ORIGINS", "https://a.example?x", f"entry 1 {ORIGIN}"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.1/8", f"entry 2 {NETWORK}"),
            ("TRUSTED_PROXIES", "0.0.0.0/0", f"entry 1 {WIDE.format(8)}"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,128.0.0.0/1", f"entry 2 {WIDE.format(8)}"),
            ("TRUSTED_PROXIES", "::/0", f"entry 1 {WIDE.format(16)}"),
            ("TRUSTED_PROXIES", "2000::/3", f"entry 1 {WIDE.format(16)}"),
            ("TRUSTED_PROXIES", "fc00::/7", f"entry 1 {WIDE.format(8)}"),
            ("TRUSTED_PROXIES", "::ffff:0.0.0.0/96", f"entry 1 {WIDE.format(8)}"),
            ("TRUSTED_PROXY_HOPS", "0", f"must be greater than or equal to 1{DEFAULT}"),
            ("ALLOWED_HOSTS", "shop.example,https://shop.example", f"entry 2 {HOST_NAME}"),
            ("ALLOWED_HOSTS", "shop.example:8000", f"entry 1 {HOST_NAME}"),
            ("ALLOWED_HOSTS", "*", f"entry 1 {HOST_NAME}"),
            ("HSTS_MAX_AGE", "always", DURATION),
            ("REDIS_URL", "http://cache", "must be a URL that starts with redis:// or rediss://"),
            ("REDIS_URL", "redis://", "names no host; write scheme://host"),
            ("WEATHER_URL", "https://a b", NOT_A_URL),
            ("RATE_LIMIT_DEFAULT", "300/fortnight", LIMIT),
            ("RATE_LIMIT_RESET", "0/minute", LIMIT),
            ("RATE_LIMIT_SIGN_IN", "10/minute;", LIMIT),
            ("CURRENCY", "usd", "is not a currency code; write three capitals like USD"),
            ("SHIPPING_RATES", "express", RATES),
            ("SHIPPING_RATES", '{"express": ', RATES),
            ("SHIPPING_RATES", "drone=1.00", f"must be 'standard', 'express' or 'overnight'{DEFAULT}"),
            ("SHIPPING_RATES", "express=-0.01", f"must be greater than or equal to 0{DEFAULT}"),
            (
                "SHIPPING_RATES",
                "express=4.905",
                f"{CENTS}{DEFAULT}",
            ),
            ("RESERVED_UNITS_LIMIT", "0", f"must be greater than or equal to 1{DEFAULT}"),
            ("CANCELLED_ORDERS_LIMIT", "many", f"is not a whole number{DEFAULT}"),
            ("PAYMENT_WINDOW", "tomorrow", DURATION),
            ("PAYMENT_WINDOW", "-1", DURATION),
            ("PAYMENT_WINDOW", "0", RANGE),
            ("RETENTION_AUDIT", "99999999w", RANGE),
            ("MAIL_FROM", "shop", ADDRESS),
            ("MAIL_FROM", "A\nBcc: x <shop@example.com>", ADDRESS),
            ("ADMIN_EMAIL", "Ann <ann@example.com>", BARE),
            ("ADMIN_PASSWORD", "short 1", "is refused: Password must be at least 8 characters"),
            ("ADMIN_PASSWORD", "1" + "x" * 128, "is refused: Password must be at most 128 characters"),
            ("ADMIN_PASSWORD", "no digit in it", "is refused: Password must contain at least one digit"),
            ("ADMIN_PASSWORD", "12345678", COMMON),
            ("ADMIN_PASSWORD", "password1", COMMON),
            ("ADMIN_PASSWORD", "PassWord1", COMMON),
            ("SECRET_KEYS_ACCEPTED", f"{KEY},short", f"entry 2 is shorter than 32 bytes{MAKE_ONE}"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", HTTP),
        ],
    )
    def test_refused(self, name: str, given: str, message: str) -> None:
        assert faults({name: given}) == (f"{name}: {message}",)

    @pytest.mark.parametrize(
        ("name", "given", "partner", "advice"),
        [
            ("ADMIN_EMAIL", "ann@example.com", "ADMIN_PASSWORD", "set both or neither"),
            ("ADMIN_PASSWORD", "correct horse 1", "ADMIN_EMAIL", "set both or neither"),
            ("DATABASE_DIRECT_URL", "postgres://h/d", "DATABASE_URL", "set both"),
            ("DATABASE_POOLER", "pgbouncer:6432", "DATABASE_URL", "set both"),
            ("SMTP_URL", "smtp://mail", "MAIL_FROM", "write the sender's address"),
        ],
    )
    def test_needs_a_partner(self, name: str, given: str, partner: str, advice: str) -> None:
        assert faults({name: given}) == (f"{partner}: is missing while {name} is set; {advice}",)

    @pytest.mark.parametrize(
        ("given", "rates"),
        [
            ("standard=0.00,express=4.9", ("0.00", "4.90", "0.00")),
            (" express = 4 , overnight=19.95", ("0.00", "4.00", "19.95")),
            ('{"standard": 1, "express": 4.90, "overnight": "19.95"}', ("1.00", "4.90", "19.95")),
            ("express=-0", ("0.00", "0.00", "0.00")),
            ("", ("0.00", "0.00", "0.00")),
        ],
    )
    def test_shipping_rates_are_decimals_of_two_places(self, given: str, rates: tuple[str, ...]) -> None:
        got = load_settings({"SHIPPING_RATES": given}).shipping_rates
        assert tuple(got) == ("standard", "express", "overnight")
        assert tuple(map(str, got.values())) == rates
        assert {type(rate) for rate in got.values()} == {Decimal}

    @pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_DIRECT_URL"])
    @pytest.mark.parametrize(
        ("given", "rest"),
        [
            ("postgres://u:p@h/d", "u:p@h/d"),
            ("postgresql://u:p%40%2F@h:5433/d", "u:p%40%2F@h:5433/d"),
            ("postgresql+asyncpg://u@[::1]:5432/d?ssl=require", "u@[::1]:5432/d?ssl=require"),
            ("postgres://h/d?sslmode=verify-full&channel_binding=require", "h/d?ssl=verify-full"),
            ("postgres:///d?host=/run/postgresql", "/d?host=%2Frun%2Fpostgresql"),
            (
                "postgres://u:p@h1,h2:5433/d?target_session_attrs=primary",
                "u:p@h1,h2:5433/d?target_session_attrs=primary",
            ),
            ("postgres://h/d?options=-c%20geqo%3Doff", "h/d?options=-c+geqo%3Doff"),
        ],
    )
    def test_database_urls_are_normalised(self, name: str, given: str, rest: str) -> None:
        settings = load_settings({"DATABASE_URL": "postgres://other/d", name: given})
        url = getattr(settings, name.lower())
        assert url == SecretStr(f"postgresql+asyncpg://{rest}")
        assert settings.database_direct_url == url

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                "mysql://u:p@h/d",
                "must be a URL that starts with postgresql:// or postgres:// or postgresql+asyncpg://",
            ),
            ("postgres://u:p@h", "names no database; end it with /name"),
            ("postgres://u:p@h:port/d", NOT_A_URL),
            ("postgres://u:p#1@h/d", NOT_A_URL),
            ("postgres://u:p@h/d#1", NOT_A_URL),
            ("postgres://u:p@[h/d", NOT_A_URL),
            ("postgres://u:p@h h/d", NOT_A_URL),
            (
                "postgres://h/d?connect_timeout=3",
                REFUSED_PARAMETER,
            ),
            ("postgres://h/d?secret=1", UNKNOWN_PARAMETER),
            (
                "postgres://h/d?sslrootcert=/nowhere/ca.pem",
                (
                    "names a file in sslrootcert that cannot be read (No such file or directory);"
                    " name the file of the certificate authority"
                ),
            ),
            ("postgres://h1:5432,h2:port/d", NOT_A_URL),
            (
                "postgres://h/d?target_session_attrs=master",
                (
                    "has an unknown target_session_attrs;"
                    " use one of any, read-write, read-only, primary, standby, prefer-standby"
                ),
            ),
            (
                "postgres://h/d?prepared_statement_cache_size=many",
                "has a prepared_statement_cache_size that is not a whole number",
            ),
            (
                "postgres://h/d?sslmode=yes",
                "has an unknown sslmode; use one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
        ],
    )
    def test_database_urls_are_refused(self, given: str, message: str) -> None:
        assert faults({"DATABASE_URL": given}) == (f"DATABASE_URL: {message}",)

    @pytest.mark.parametrize("environment", ["development", "test", "production"])
    @pytest.mark.parametrize(
        ("key", "message"),
        [
            (KEY[:-1], "is shorter than 32 bytes"),
            ("changethis", "is shorter than 32 bytes"),
            ("x" * 64, GUESSED),
            ("abcabcdabc" * 5, GUESSED),
            ("9r4t" * 8 + "9r", GUESSED),
            ("0123456789abcdefghijklmnopqrstuvwxyz", GUESSED),
            ("aabbccddeeaabbccddeffaabbccdeeffa", GUESSED),
            ("k" * 20 + "0123456789abcdefghij", GUESSED),
            ("aZ3$kQ7!" * 4 + "another end", GUESSED),
            ("abc123abd124abe125abf126abg127abh128", GUESSED),
            ("a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7", GUESSED),
            ("cGFzc3dvcmQtZm9yLWV2ZXJ5Ym9keS0xMjM=", GUESSED),
            ("".join(f"{ord(each):x}" for each in "change-this-please"), GUESSED),
            ("qazwsxedcrfvtgbyhnujmikolp123456", GUESSED),
            ("Tradepost-of-our-shop-in-2026-#17", GUESSED),
            ("Change-This-91b0d7f4c5e8a26k3-please", GUESSED),
            ("my-SECRET-key-91b0d7f4c5e8a26k3-zv", GUESSED),
            (
                "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
                GUESSED,
            ),
        ],
    )
    def test_weak_keys_are_refused_everywhere(self, environment: str, key: str, message: str) -> None:
        accepted = {"SECRET_KEYS_ACCEPTED": f"{OTHER_KEY},{key}"}
        assert faults(PRODUCTION | {"ENVIRONMENT": environment, "SECRET_KEY": key} | accepted) == (
            f"SECRET_KEY: {message}{MAKE_ONE}",
            f"SECRET_KEYS_ACCEPTED: entry 2 {message}{MAKE_ONE}",
        )

    @pytest.mark.parametrize("key", [KEY, OTHER_KEY[:16].translate(CYRILLIC)])
    def test_strong_keys_are_taken(self, key: str) -> None:
        assert load_settings(PRODUCTION | {"SECRET_KEY": key}).secret_key == SecretStr(key)
