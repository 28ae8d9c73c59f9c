"""Text of settings: a value that can be used, or a fault that names the setting and does not show it."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ConfigError
from service.platform.config import Settings, load_settings
from tests.fuzz.profile import fuzzed, pieces
from tests.platform.config.test_config import KEY

#: By setting: parts of its grammar. All others are given the same kinds of text, too.
GRAMMARS: Final[dict[str, tuple[str, ...]]] = {
    "PAYMENT_WINDOW": ("24", "h", "m", "d", "w", "P", "T", "1", "H", "-", "9" * 9, ".", "\u00b2", "\u0661"),
    "RATE_LIMIT_DEFAULT": ("300", "/", "minute", "second", "hour", "day", ";", "0", "9" * 8),
    "DATABASE_URL": (
        "postgresql", "postgres", "+asyncpg", "+psycopg", "://", "u", ":", "p%zz", "@", "db", "/shop", "?",
        "host=", "/run", ",", "5432", "[::1]", "[", "]", "sslmode=", "require", "&", "99999", "options=-c%20",
    ),
    "DATABASE_DIRECT_URL": (
        "postgresql://", "u:p", "@", "db", ":", "x", "/shop", "?sslmode=", "verify-full", "[", "]", ",",
    ),
    "REDIS_URL": ("redis", "rediss", "://", ":", "p", "@", "h", "/0", "[", "]", "?", "99999"),
    "SMTP_URL": ("smtp", "smtps", "://", "u:p", "@", "h", ":25", "[", "]", "99999"),
    "PUBLIC_URL": ("https://", "shop.example", ":", "99999", "/", "?", "#", "@", "[", "\u2100", "\u3002"),
    "CORS_ORIGINS": ("https://", "shop.example", ",", "*", ":", "/", "null", "[", "]"),
    "TRUSTED_PROXIES": ("10.0.0.0", "/8", ",", "::", "/0", "/", "fd00::", "%eth0", "999"),
    "ALLOWED_HOSTS": ("shop.example", "*.", ",", "[::1]", ":", "*", "_"),
    "SHIPPING_RATES": (
        "standard", "=", "4.90", ",", "express", "{", "}", '"', ":", "[", "1e400", "NaN", "-0", "9" * 5_000,
    ),
    "MAIL_FROM": ("shop@example.com", "<", ">", '"', "The Shop ", "\\", ",", "(", ")", "@"),
    "SELLER": ("The Shop", "\n", ","),
    "CURRENCY": ("USD", "usd", "\u00df"),
    "WEB_CONCURRENCY": ("2", "-", "e", ".", "0", "\u0662", "_"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("https://", "c.example", ":", "4317", "/", "[", "]"),
    "SECRET_KEYS_ACCEPTED": (KEY, ",", " ", "a"),
    "WEATHER_URL": ("https://", "w.example", "/v1", "?", "[", "]", ":", "x"),
}  # fmt: skip
#: Long enough to be recognised in a message, and in no setting's advice.
CANARY: Final = "c4n4ry-c4n4ry"


def test_each_is_a_setting() -> None:
    assert {name.lower() for name in GRAMMARS} <= Settings.model_fields.keys()


@pytest.mark.parametrize("name", GRAMMARS)
@fuzzed
@given(data=st.data())
def test_of_any_text(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    text = data.draw(pieces(*GRAMMARS[name], CANARY)).replace("\0", "")
    environ = {"ENVIRONMENT": "test", "SECRET_KEY": KEY, "DATA_DIR": str(tmp_path_factory.getbasetemp())}
    environ |= {"DATABASE_URL": "postgresql://u:p@db/shop", name: text}
    faults: tuple[str, ...] = ()
    try:
        load_settings(environ, env_file=None)
    except ConfigError as refusal:
        faults = refusal.faults
    assert all(name in fault for fault in faults)
    assert all(CANARY not in fault for fault in faults)
