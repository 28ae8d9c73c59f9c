"""URLs in settings: their parts, without a word of what is in them where they are refused."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

NOT_A_URL: Final = "is not a URL; check its host and port, and encode special characters"
_NO_ORIGIN: Final = "is not an origin; write scheme://host[:port] without a path, or *"
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?P<port>:\d{1,5})?",
    re.IGNORECASE,
)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def split_url(value: str, *schemes: str) -> SplitResult:
    """The parts of a URL. The standard library's own messages quote the value, so they end here."""
    try:
        parts, port = urlsplit(value), urlsplit(value).port
    except ValueError:
        raise ValueError(NOT_A_URL) from None
    if parts.scheme not in schemes:
        raise ValueError(f"must be a URL that starts with {' or '.join(f'{name}://' for name in schemes)}")
    if port == 0 or re.search(r"\s", value) or not re.fullmatch(r"[\w.:%-]*", parts.hostname or "", re.ASCII):
        raise ValueError(NOT_A_URL)
    return parts


def origin(value: str) -> str:
    """An origin as browsers send it: lower case, no default port, no path.

    Apps and extensions have schemes of their own, such as `capacitor://localhost`.
    """
    if value == "*":
        return value
    if "://" not in value:
        split_url(value, "http", "https")
    found = _ORIGIN.fullmatch(value)
    if found is None or int((found["port"] or ":1")[1:]) not in range(1, 65_536):
        raise ValueError(_NO_ORIGIN)
    scheme = found["scheme"].lower()
    if scheme in ("http", "https"):
        split_url(value, "http", "https")
    return value.lower().removesuffix(_DEFAULT_PORTS.get(scheme, " "))
