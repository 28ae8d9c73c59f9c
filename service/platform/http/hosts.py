"""Which hosts the service answers to, and HSTS for clients that use https."""

from typing import Final, Self
from urllib.parse import urlsplit

from starlette.types import Scope

from service.platform.config import Settings
from service.platform.http.problems import PROBES
from service.platform.http.request_state import Refusal, state_of

MISDIRECTED: Final = Refusal(
    421, "The service does not serve this host. Use a host name that its setting ALLOWED_HOSTS lists."
)


class Hosts:
    """`allowed` names hosts, without ports; `*.shop.example` is any below. Empty: any host is answered."""

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
