"""Which address a request comes from and by which scheme, as far as the proxies between are trusted; and
which hosts the service answers to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Self
from urllib.parse import urlsplit

from starlette.types import Scope

from service.platform.config import Settings
from service.platform.config.types import MOST_HOPS, Network
from service.platform.http.problems import PROBES
from service.platform.http.request_state import Refusal, state_of

FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
#: Of an address, with a port and brackets around.
LONGEST_HOP: Final = 60
HOP: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|(?P<plain>[0-9.]+))(?::[0-9]{1,5})?"
    r"|(?P<bare>[0-9A-Fa-f:.]+)"
)
MISDIRECTED: Final = Refusal(
    421, "The service does not serve this host. Use a host name that its setting ALLOWED_HOSTS lists."
)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Those that are believed, and how many of them can stand one behind the other."""

    networks: tuple[Network, ...]
    most: int = MOST_HOPS

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.trusted_proxies, settings.trusted_proxy_hops or MOST_HOPS)

    def client(
        self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[str | None, str | None]:
        """The client's address, and the scheme that it has used, if a proxy says so."""
        if not self.networks:
            return client_address(peer, (), ()), None
        found = {name: value for name, value in headers if name in FORWARDED}
        forwarded = (found[b"x-forwarded-for"],) if b"x-forwarded-for" in found else ()
        address = client_address(peer, forwarded, self.networks, self.most)
        proxy = _parsed(peer) if peer else None
        if proxy is None or not _within(proxy, self.networks):
            return address, None
        return address, _scheme(found.get(b"x-forwarded-proto", b""))


def _scheme(forwarded: bytes) -> str | None:
    """Of several proxies each may have added its own: https is what all of them say."""
    schemes = {entry.strip().lower() for entry in forwarded.split(b",")}
    if not schemes <= {b"http", b"https"}:
        return None
    return "https" if schemes == {b"https"} else "http"


def client_address(
    peer: str | None, forwarded: Iterable[bytes], trusted: tuple[Network, ...], most: int = MOST_HOPS
) -> str | None:
    """The right-most address that is no trusted proxy's, walking back from the connection's `peer`, but for
    no more than `most` entries: who has an address within the trusted networks, and is no proxy, could make
    up the next one.

    `forwarded` has the values of all X-Forwarded-For headers in their order: each proxy adds, at the
    end, whom it was asked by, and what stands left of the first untrusted address may be made up. An
    entry that cannot be read ends the walk, at the proxy that has passed it on.
    """
    address = _parsed(peer) if peer else None
    if address is None:
        return peer
    hops = _hops(forwarded)[:most] if trusted and _within(address, trusted) else []
    for hop in hops:
        before = _parsed(hop)
        if before is None:
            break
        address = before
        if not _within(address, trusted):
            break
    return str(address)


def _hops(forwarded: Iterable[bytes]) -> list[str]:
    """The entries from the last one back."""
    entries = b",".join(forwarded).decode("latin-1").rsplit(",", MOST_HOPS)
    return [entry.strip() for entry in entries[::-1][:MOST_HOPS] if entry.strip()]


@lru_cache(maxsize=4_096)
def _within(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, perhaps with a port; IPv4 in its own form also where it comes mapped into IPv6."""
    match = HOP.fullmatch(text) if len(text) <= LONGEST_HOP else None
    try:
        address = ip_address(match["bracketed"] or match["plain"] or match["bare"]) if match else None
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


class Hosts:
    """Those that the service answers to, and HSTS for clients that use https.

    `allowed` names hosts, without ports; `*.shop.example` is any below. Empty: any host is answered.
    """

    def __init__(
        self, allowed: tuple[str, ...] = (), *, public_url: str | None = None, max_age: int | None = None
    ) -> None:
        public = urlsplit(public_url or "")
        self._allowed = frozenset({*allowed, public.hostname or ""} if allowed else ())
        self._public_https = public.scheme == "https"
        self._hsts: tuple[tuple[bytes, bytes], ...] = ()
        if max_age is not None:
            self._hsts = ((b"strict-transport-security", b"max-age=%d" % max_age),)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        max_age = settings.hsts_max_age
        return cls(
            settings.allowed_hosts,
            public_url=settings.public_url,
            max_age=int(max_age.total_seconds()) if max_age else None,
        )

    def check(self, scope: Scope) -> None:
        """Note a refusal where the host is none of them. Probes come by a pod's address, and are left out."""
        if self._allowed and scope["path"] not in PROBES and not self._is_allowed(scope["headers"]):
            state = state_of(scope)
            state.refusal = state.refusal or MISDIRECTED

    def _is_allowed(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name == b"host"), b"").decode("latin-1").lower()
        bare = given.partition("]")[0].lstrip("[") if given.startswith("[") else given.partition(":")[0]
        name = bare.removesuffix(".")
        above = name.partition(".")[2]
        return name in self._allowed or self._below(above)

    def _below(self, domain: str) -> bool:
        while domain:
            if f"*.{domain}" in self._allowed:
                return True
            domain = domain.partition(".")[2]
        return False

    def hsts(self, scheme: str, *, forwarded: bool) -> tuple[tuple[bytes, bytes], ...]:
        """The header of HSTS (RFC 6797), where the client has come by https: as a trusted proxy says, or
        else PUBLIC_URL.
        """
        if not self._hsts:
            return ()
        return self._hsts if scheme == "https" or (not forwarded and self._public_https) else ()
