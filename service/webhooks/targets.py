"""Which URLs webhooks may have, and which IP addresses their hosts: protection against SSRF.

A URL is parsed by one strict pattern, so that no two parsers can take it for different hosts.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal, Self

from service.webhooks.address_ranges import Address, is_public

MAX_URL_LENGTH: Final = 2_000
MAX_HOST_LENGTH: Final = 253
#: Seconds for one look-up; then the host counts as unresolvable.
LOOKUP_SECONDS: Final = 5.0
MAX_LOOKUPS: Final = 16
#: Ports below are those of other protocols; only that of HTTPS is allowed.
FIRST_FREE_PORT: Final = 1024
HTTPS: Final = 443
HTTP: Final = 80

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TEXT: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
_QUERY: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
#: RFC 3986 without credentials, fragments and characters that are not ASCII.
PATTERN: Final = (
    rf"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*)"
    rf"(?::(?P<port>[1-9][0-9]{{0,4}}))?(?P<path>/{_TEXT})?(?P<query>\?{_QUERY})?"
)
_TARGET: Final = re.compile(PATTERN)
#: The last label of what the system's resolver reads as an IPv4 address: 0x7f.1, 127.1, 017700000001.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")

Reason = Literal["malformed", "plain_http", "bad_port", "unresolvable", "private_address"]
Resolve = Callable[[str], Awaitable[list[Address]]]

DETAILS: Final[dict[Reason, str]] = {
    "malformed": "Send a URL such as https://erp.example.com/hooks, in ASCII, without user name, password and"
    " fragment; an IP address only in its usual form.",
    "plain_http": "Send a URL that begins with https://.",
    "bad_port": "Use port 443 or one from 1024 on.",
    "unresolvable": "The host's name has no address. Check its spelling and its DNS entry.",
    "private_address": "The host has an address that is not public. Use a host of which every address is.",
}


class TargetRefused(Exception):
    """A target that gets no request. `detail` is public: it does not name the addresses that were found."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = DETAILS[reason]


@dataclass(frozen=True, slots=True)
class Target:
    scheme: str
    #: In lower case, an IPv6 address without its brackets.
    host: str
    port: int
    path_and_query: str

    @classmethod
    def parse(cls, url: str, *, allow_private: bool = False) -> Self:
        """Raises TargetRefused. `allow_private` allows http, any port and hosts of one label as well."""
        match = _TARGET.fullmatch(url) if len(url) <= MAX_URL_LENGTH else None
        if match is None:
            raise TargetRefused("malformed")
        scheme, host = match["scheme"], match["host"].lower().strip("[]")
        if len(host) > MAX_HOST_LENGTH or not _is_canonical(host, bracketed=match["host"].startswith("[")):
            raise TargetRefused("malformed")
        port = int(match["port"] or (HTTPS if scheme == "https" else HTTP))
        if port > 65_535:
            raise TargetRefused("bad_port")
        if not allow_private:
            _check_public(scheme, host, port)
        return cls(scheme, host, port, (match["path"] or "/") + (match["query"] or ""))

    @property
    def literal(self) -> Address | None:
        """The IP address, where the host is one."""
        return _literal(self.host)

    @property
    def authority(self) -> str:
        """The Host header: without the port where that is the scheme's default."""
        return self._authority(self.host)

    def url_at(self, address: Address) -> str:
        """The same URL with this IP address as its host."""
        return f"{self.scheme}://{self._authority(str(address))}{self.path_and_query}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path_and_query}"

    def _authority(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return host if self.port == (HTTPS if self.scheme == "https" else HTTP) else f"{host}:{self.port}"


def _literal(host: str) -> Address | None:
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def _is_canonical(host: str, *, bracketed: bool) -> bool:
    """Whether the host is a name, or an IP address in its usual form."""
    if bracketed:
        return ":" in host and _literal(host) is not None
    return _literal(host) is not None or not _NUMBER.fullmatch(host.rpartition(".")[2])


def _check_public(scheme: str, host: str, port: int) -> None:
    if scheme != "https":
        raise TargetRefused("plain_http")
    if port < FIRST_FREE_PORT and port != HTTPS:
        raise TargetRefused("bad_port")
    literal = _literal(host)
    if literal is None and "." not in host:
        raise TargetRefused("private_address")
    if literal is not None and not is_public(literal):
        raise TargetRefused("private_address")


class Resolver:
    """Looks hosts up in its own threads: a name server that hangs must not hold up anything else.

    A look-up cannot be cancelled. A second one for the same host waits for the first, so that a host holds
    one thread at most, however many deliveries it gets.
    """

    def __init__(self, *, seconds: float = LOOKUP_SECONDS) -> None:
        self._pool = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="resolver")
        self._running: dict[str, asyncio.Future[list[Address]]] = {}
        self._seconds = seconds

    async def __call__(self, host: str) -> list[Address]:
        """Every address of the host; empty where it has none, or where the answer takes too long."""
        lookup = self._running.get(host)
        if lookup is None:
            lookup = asyncio.get_running_loop().run_in_executor(self._pool, _addresses, host)
            self._running[host] = lookup
            lookup.add_done_callback(lambda _: self._running.pop(host, None))
        done, _ = await asyncio.wait((lookup,), timeout=self._seconds)
        return lookup.result() if done and not lookup.cancelled() else []

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(_address(str(entry[4][0]), entry[4]) for entry in found))


def _address(text: str, where: tuple[object, ...]) -> Address:
    """With its scope, if it has one: such an address is valid on this machine only."""
    scoped = len(where) == 4 and where[3] and "%" not in text
    text = f"{text}%{where[3]}" if scoped else text
    return IPv6Address(text) if ":" in text else IPv4Address(text)


class Targets:
    """Checks and resolves targets. `resolve` replaces the system's resolver."""

    def __init__(self, resolve: Resolve | None = None, *, allow_private: bool = False) -> None:
        self._resolver = Resolver()
        self._resolve: Resolve = resolve or self._resolver
        self._allow_private = allow_private

    def close(self) -> None:
        self._resolver.close()

    async def check(self, url: str) -> Target:
        """The target, resolved as it will be before each attempt. Raises TargetRefused.

        Where private addresses are allowed its host need not exist yet.
        """
        target = self.parse(url)
        if not self._allow_private:
            await self.resolve(target)
        return target

    def parse(self, url: str) -> Target:
        """Raises TargetRefused."""
        return Target.parse(url, allow_private=self._allow_private)

    async def resolve(self, target: Target) -> list[Address]:
        """All addresses of the host, each of which may be connected to. Raises TargetRefused."""
        literal = target.literal
        found = [literal] if literal is not None else await self._resolve(target.host)
        if not found:
            raise TargetRefused("unresolvable")
        if not self._allow_private and not all(map(is_public, found)):
            raise TargetRefused("private_address")
        return found
