"""URLs of webhooks: refused, or the very host that every other parser reads."""

from typing import Final
from urllib.parse import urlsplit

import asyncpg
from hypothesis import given

from service.webhooks.targets import Target, TargetRefused
from tests.contract.routes import ERP
from tests.fuzz.profile import fuzzed, pieces
from tests.helpers.factories import Make

URLS: Final = pieces(
    "https", "http", "://", "93.184.216.34", "127.0.0.1", "[::1]", "[", "]", "::ffff:7f00:1", "erp", ".",
    "shop", ".example", "@", ":", "443", "0", "65536", "/", "?", "#", "%2f", "%00", "\\", "\u3002", "0x7f",
    "017700000001", "xn--", "localhost", " ", "\t", "\n", "..", "//", "user:secret",
)  # fmt: skip


@fuzzed
@given(rest=URLS)
def test_one_that_is_taken_means_one_host(rest: str) -> None:
    for url in (rest, f"https://{rest}", f"https://93.184.216.34{rest}"):
        try:
            target = Target.parse(url)
        except TargetRefused:
            continue
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname, parts.username) == ("https", target.host, None)
        assert (parts.port or 443) == target.port
        assert url.isascii()
        assert urlsplit(str(target)).hostname == target.host
        assert Target.parse(str(target)) == target


@fuzzed
@given(rest=URLS)
async def test_one_that_is_refused_is_named_and_leaves_nothing(
    make: Make, sql: asyncpg.Connection, rest: str
) -> None:
    """No name is looked up here: what would have to be stands behind an address."""
    ada = await make.admin()
    url = f"https://127.0.0.1{rest}"
    answer = await ada.api.post("/webhooks", json={**ERP, "url": url})
    assert answer.status_code == 422 or ".example" in url or "shop" in url
    if answer.status_code == 422:
        assert [each["pointer"] for each in answer.json()["errors"]] == ["/url"]
    assert await sql.fetchval("SELECT count(*) FROM webhooks WHERE url LIKE '%127.0.0.1%'") == 0
