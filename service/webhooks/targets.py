"""Where webhooks may go: what a URL may look like, and what its host's addresses must be.

A target is read by one strict pattern, so that no two parsers can take it for different hosts.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal, Self

from service.webhooks.addresses import Address, is_public

LONGEST: Final = 2_000
LONGEST_HOST: Final = 253
#: Seconds for one look-up; past that the host counts as unknown.
LOOKUP_SECONDS: Final = 5.0
LOOKUPS_AT_ONCE: Final = 16
#: Of the ports below 1024, those of other protocols, only that of HTTPS.
WELL_KNOWN: Final = 1024
HTTPS: Final = 443
HTTP: Final = 80

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TEXT: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
_QUERY: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
#: RFC 3986 without credentials, fragment, and whatever is not ASCII.
PATTERN: Final = (
    rf"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*)"
    rf"(?::(?P<port>[1-9][0-9]{{0,4}}))?(?P<path>/{_TEXT})?(?P<query>\?{_QUERY})?"
)
_TARGET: Final = re.compile(PATTERN)
#: The last label of what the system's resolver takes for a number: 0x7f.1, 127.1, 017700000001.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")

Reason = Literal["malformed", "plain_http", "bad_port", "unresolvable", "private_address"]
Resolve = Callable[[str], Awaitable[list[Address]]]

DETAILS: Final[dict[Reason, str]] = {
    "malformed": "Give an address such as https://erp.example.com/hooks, in ASCII, without name, password"
    " and fragment; an IP address only in its usual form.",
    "plain_http": "Webhooks go to https:// alone.",
    "bad_port": "Give the port 443 or one from 1024 on.",
    "unresolvable": "The host's name leads to no address.",
    "private_address": "The host has an address that is not public.",
}


class Refused(Exception):
    """A target that is not called. `detail` is for people, and does not tell which addresses were found."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = DETAILS[reason]


@dataclass(frozen=True, slots=True)
class Target:
    scheme: str
    #: As in a URL's authority but for the brackets, in small letters.
    host: str
    port: int
    #: Path and query.
    rest: str

    @classmethod
    def read(cls, url: str, *, allow_private: bool = False) -> Self:
        """Raises Refused. `allow_private` admits http, any port and hosts of one label as well."""
        match = _TARGET.fullmatch(url) if len(url) <= LONGEST else None
        if match is None:
            raise Refused("malformed")
        scheme, host = match["scheme"], match["host"].lower().strip("[]")
        if len(host) > LONGEST_HOST or not _is_usual(host, bracketed=match["host"].startswith("[")):
            raise Refused("malformed")
        port = int(match["port"] or (HTTPS if scheme == "https" else HTTP))
        if port > 65_535:
            raise Refused("bad_port")
        if not allow_private:
            _admit(scheme, host, port)
        return cls(scheme, host, port, (match["path"] or "/") + (match["query"] or ""))

    @property
    def literal(self) -> Address | None:
        """The address, where the host is one."""
        return _literal(self.host)

    @property
    def authority(self) -> str:
        """What the Host header says: without the port where that is the scheme's own."""
        return self._authority(self.host)

    def at(self, address: Address) -> str:
        """The same URL with this address for its host."""
        return f"{self.scheme}://{self._authority(str(address))}{self.rest}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.rest}"

    def _authority(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return host if self.port == (HTTPS if self.scheme == "https" else HTTP) else f"{host}:{self.port}"


def _literal(host: str) -> Address | None:
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def _is_usual(host: str, *, bracketed: bool) -> bool:
    """Whether it is a name, or an address that is written as it usually is."""
    if bracketed:
        return ":" in host and _literal(host) is not None
    return _literal(host) is not None or not _NUMBER.fullmatch(host.rpartition(".")[2])


def _admit(scheme: str, host: str, port: int) -> None:
    if scheme != "https":
        raise Refused("plain_http")
    if port < WELL_KNOWN and port != HTTPS:
        raise Refused("bad_port")
    literal = _literal(host)
    if literal is None and "." not in host:
        raise Refused("private_address")
    if literal is not None and not is_public(literal):
        raise Refused("private_address")


class Resolver:
    """Looks hosts up in threads of its own: a name server that hangs must not hold up anything else.

    A look-up cannot be called off. So who asks for a host that is being looked up waits for that, and a
    host holds one thread at most, however many deliveries it gets.
    """

    def __init__(self, *, seconds: float = LOOKUP_SECONDS) -> None:
        self._pool = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="resolver")
        self._under_way: dict[str, asyncio.Future[list[Address]]] = {}
        self._seconds = seconds

    async def __call__(self, host: str) -> list[Address]:
        """Every address of the host; none for one that has none, or that nobody answers for in time."""
        lookup = self._under_way.get(host)
        if lookup is None:
            lookup = asyncio.get_running_loop().run_in_executor(self._pool, _addresses, host)
            self._under_way[host] = lookup
            lookup.add_done_callback(lambda _: self._under_way.pop(host, None))
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
    """With its scope, if it has one: such an address is nobody's but this machine's own."""
    scoped = len(where) == 4 and where[3] and "%" not in text
    text = f"{text}%{where[3]}" if scoped else text
    return IPv6Address(text) if ":" in text else IPv4Address(text)


class Targets:
    """Which targets are admitted, and where they are. `resolve` takes the place of the system's resolver."""

    def __init__(self, resolve: Resolve | None = None, *, allow_private: bool = False) -> None:
        self._resolver = Resolver()
        self._resolve: Resolve = resolve or self._resolver
        self._allow_private = allow_private

    def close(self) -> None:
        self._resolver.close()

    async def check(self, url: str) -> Target:
        """The target, looked up as it will be before each call. Raises Refused.

        Where private addresses are allowed its host need not be there yet.
        """
        target = self.read(url)
        if not self._allow_private:
            await self.addresses(target)
        return target

    def read(self, url: str) -> Target:
        """Raises Refused."""
        return Target.read(url, allow_private=self._allow_private)

    async def addresses(self, target: Target) -> list[Address]:
        """Those that may be connected to, which are all that the host has. Raises Refused."""
        literal = target.literal
        found = [literal] if literal is not None else await self._resolve(target.host)
        if not found:
            raise Refused("unresolvable")
        if not self._allow_private and not all(map(is_public, found)):
            raise Refused("private_address")
        return found
