"""The types of the settings: how the text of an environment variable becomes a checked value.

Every refusal is a clause that follows the setting's name and says what to write instead. It never
quotes the value, so the messages of the standard library and of other packages, which do, end here.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from email.utils import formataddr, parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from service.platform.config import password_policy
from service.platform.config.database_url import database_url
from service.platform.config.email_addresses import normalised
from service.platform.config.secret_key_policy import strong_key
from service.platform.config.urls import origin, split_url

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NO_RATE = Decimal("0.00")
_LONGEST = timedelta(days=3660)


def _good_password(password: SecretStr) -> SecretStr:
    """What the API would refuse is refused here, too."""
    value = password_policy.normalised(password.get_secret_value())
    if broken := password_policy.fault(value):
        raise ValueError(f"is refused: {broken.demand}")
    return SecretStr(value)


def _url(*schemes: str) -> Callable[[Any], Any]:
    def check(value: str | SecretStr) -> str | SecretStr:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not split_url(text, *schemes).hostname:
            raise ValueError("names no host; write scheme://host")
        return value

    return check


def _public_url(value: str) -> str:
    parts = split_url(value, "http", "https")
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be scheme://host[:port][/path] and nothing else")
    return parts.geturl().rstrip("/")


def _list(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("is not a network; write it like 10.0.0.0/8, without host bits") from None


def _narrow(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A proxy with an address in the network may state the client's address: refuse one that is too wide."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        network = IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    widest = 8 if network.version == 4 or network.is_private else 16
    if network.prefixlen < widest:
        raise ValueError(
            f"is wider than /{widest}, so that nearly every client could make up its address;"
            " name the proxies' own addresses or networks"
        )
    return network


def _host_name(value: str) -> str:
    name = value.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*", name):
        raise ValueError("is not a host name; write one like shop.example or *.shop.example, without a port")
    return name


def _mailbox(value: str) -> str:
    """`shop@example.com` or `The Shop <shop@example.com>`, safe to stand in a header."""
    name, address = parseaddr(value)
    try:
        checked = normalised(address)
    except ValueError:
        checked = ""
    if not checked or not value.isprintable():
        raise ValueError("is not an e-mail address; write one like shop@example.com")
    return formataddr((name, checked)) if name else checked


def _address(value: str) -> str:
    if "<" in value:
        raise ValueError("is not a bare e-mail address; write one like admin@example.com")
    return _mailbox(value)


def _duration(value: object) -> object:
    if not isinstance(value, str) or value.startswith("P"):
        return value
    match = re.fullmatch("([0-9]{1,8})([smhdw]?)", value.strip())
    if not match:
        raise ValueError("is not a duration; write seconds, 90m, 24h, 30d or ISO 8601 (P1DT12H)")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _reasonable(value: timedelta) -> timedelta:
    """Within what PostgreSQL's dates stand when it is taken from today."""
    if not timedelta(0) < value <= _LONGEST:
        raise ValueError(f"is out of range; write more than 0 and at most {_LONGEST.days}d")
    return value


def _rates(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        if value.lstrip().startswith("{"):
            return json.loads(value, parse_float=Decimal)
        return {name.strip(): price for name, price in (part.split("=") for part in value.split(","))}
    except (ValueError, RecursionError):
        raise ValueError("is not a list of rates; write standard=0.00,express=4.90 or JSON") from None


def _every_rate(rates: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    """All three kinds, with two places; `abs` because minus zero is not below zero."""
    kinds = ("standard", "express", "overnight")
    return {kind: abs(rates.get(kind, _NO_RATE)).quantize(_NO_RATE) for kind in kinds}


def _matches(pattern: str, advice: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(advice)
        return value

    return AfterValidator(check)


Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0, le=1000)]
Units = Annotated[int, Field(ge=1, le=1_000_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1000)]
#: An end has parts, each a share of it: with less the smallest would be shorter than what it is for takes.
Patience = Annotated[int, Field(ge=5, le=1000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Host = Annotated[str, _matches(r"[\w.:%-]+", "is not a host name or address; write one like 0.0.0.0")]
Currency = Annotated[str, _matches("[A-Z]{3}", "is not a currency code; write three capitals like USD")]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]
Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_reasonable)]
StrongKey = Annotated[SecretStr, AfterValidator(strong_key)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(database_url)]
HostPort = Annotated[
    str,
    _matches(
        "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}",
        "is not a host and a port; write them like pgbouncer:6432",
    ),
]
Password = Annotated[SecretStr, AfterValidator(_good_password)]
Address = Annotated[str, AfterValidator(_address)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(origin)], ...], BeforeValidator(_list)]
HttpUrl = Annotated[str, AfterValidator(_url("http", "https"))]
RedisUrl = Annotated[SecretStr, AfterValidator(_url("redis", "rediss"))]
SmtpUrl = Annotated[SecretStr, AfterValidator(_url("smtp", "smtps"))]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
ProxyNetworks = Annotated[tuple[Annotated[Network, AfterValidator(_narrow)], ...], BeforeValidator(_list)]
#: No chain of proxies is longer; who sends more wants to be read for a long time.
MOST_HOPS: Final = 32
Hops = Annotated[int, Field(ge=1, le=MOST_HOPS)]
HostNames = Annotated[tuple[Annotated[str, AfterValidator(_host_name)], ...], BeforeValidator(_list)]
StrongKeys = Annotated[tuple[StrongKey, ...], BeforeValidator(_list)]
RateLimit = Annotated[
    str,
    _matches(
        "[1-9][0-9]{0,6}/(second|minute|hour|day)(;[1-9][0-9]{0,6}/(second|minute|hour|day))*",
        "is not a rate limit; write it like 300/minute, or several as 10/minute;100/hour",
    ),
]
Rate = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
ShippingRates = Annotated[
    Mapping[Literal["standard", "express", "overnight"], Rate],
    BeforeValidator(_rates),
    AfterValidator(_every_rate),
]
