"""DATABASE_URL: what of libpq's addresses works here, and what is refused by its name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode

from pydantic import SecretStr

from service.platform.config.urls import NOT_A_URL, split_url

_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_TLS_VERSIONS: Final = ("ssl_min_protocol_version", "ssl_max_protocol_version")
#: Handed to the driver. `ssl` is its name for `sslmode`.
_WORKING: Final = (
    "ssl",
    "host",
    "port",
    "target_session_attrs",
    "prepared_statement_cache_size",
    "options",
    "sslpassword",
    *_FILES,
    *_TLS_VERSIONS,
)
#: What libpq knows and the service does not take: some of it the service sets itself.
_REFUSED: Final = (
    "application_name", "client_encoding", "connect_timeout", "database", "dbname",
    "fallback_application_name",
    "gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "krbsrvname", "load_balance_hosts", "passfile", "password", "replication",
    "require_auth", "requirepeer", "service", "sslcertmode", "sslcompression", "sslnegotiation", "sslsni",
    "tcp_user_timeout", "user",
)  # fmt: skip
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "ssl": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    **dict.fromkeys(_TLS_VERSIONS, ("TLSv1.2", "TLSv1.3")),
}
_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")
#: `user:password@` and then several hosts, each with or without a port.
_SEVERAL: Final = re.compile(
    r"(?P<scheme>[\w+]+)://(?P<user>[^/?#@]*@)?(?P<hosts>[\w.-]+(:\d+)?(,[\w.-]+(:\d+)?)+)(?P<rest>/.*)",
    re.ASCII,
)


def database_url(url: SecretStr) -> SecretStr:
    """The URL as `connections.engine` takes it, from any form that libpq's users write."""
    value, several = url.get_secret_value(), _SEVERAL.fullmatch(url.get_secret_value())
    if several is not None:
        value = f"{several['scheme']}://{several['user'] or ''}several{several['rest']}"
    parts = split_url(value, *_SCHEMES)
    netloc = parts.netloc if several is None else f"{several['user'] or ''}{several['hosts']}"
    if not parts.path.strip("/"):
        raise ValueError("names no database; end it with /name")
    if parts.fragment:
        raise ValueError(NOT_A_URL)  # most often a password with a bare "#"
    query = {("ssl" if name == "sslmode" else name): value for name, value in parse_qsl(parts.query)}
    query.pop("channel_binding", None)  # asyncpg negotiates it by itself and refuses the word
    _check(query)
    query_text = f"?{urlencode(query)}" if query else ""
    return SecretStr(f"postgresql+asyncpg://{netloc}{parts.path}{query_text}")


def _check(query: Mapping[str, str]) -> None:
    for name, value in query.items():
        if name not in _WORKING:
            # An unknown name may be part of a password.
            known = (
                f"the parameter {name}, which is not taken" if name in _REFUSED else "an unknown parameter"
            )
            working = ("sslmode" if each == "ssl" else each for each in _WORKING)
            raise ValueError(f"has {known}; only {', '.join(working)} work")
        if value not in _VALUES.get(name, (value,)):
            shown = "sslmode" if name == "ssl" else name
            raise ValueError(f"has an unknown {shown}; use one of {', '.join(_VALUES[name])}")
        if name == "prepared_statement_cache_size" and not value.isdecimal():
            raise ValueError(f"has a {name} that is not a whole number")
        if name in _FILES:
            _check_file(name, value)


def _check_file(name: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as fault:
        advice = "name the file of the certificate authority" if name == "sslrootcert" else "correct its path"
        raise ValueError(f"names a file in {name} that cannot be read ({fault.strerror}); {advice}") from None
