"""ASVS 5.0, V8: authorization."""

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.helpers.factories import Make

PATHS = (
    "/api/v1/admin/users", "//api/v1/admin/users", "/api//v1/admin/users", "/api/v1//admin/users",
    "/api/v1/./admin/users", "/api/v1/items/../admin/users", "/api/v1/items/..;/admin/users",
    "/api/v1/;/admin/users", "/api/v1/admin;x=y/users", "/api/v1/admin%2fusers", "/api%2fv1%2fadmin%2fusers",
    "/api/v1/%61dmin/users", "/api/v1/ADMIN/users", "/api/v1/admin/users/", "/api/v1/admin/users%20",
    "/api/v1/admin/users%00", "/api/v1/admin/users.json", "/api/v1/admin/users%23", "/api/v1/admin/users%3f",
    "/api/v1/admin\\users", "/api/v1/%2e%2e/v1/admin/users", "/API/v1/admin/users", "/api/v1/admin/users/.",
    "http://shop.example/api/v1/admin/users", "/api/v1/public/../admin/users", "/api/v1/admin%252fusers",
    "/api/v1/admin/users%0a", "/api/v1/\u0430dmin/users", "/api/v2/admin/users", "/v1/admin/users",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_v8_2_1_no_other_spelling_of_a_path_is_more_open(url: str, make: Make, path: str) -> None:
    """Sent as it is, which no client library would do: for a customer it is 403, or not there."""
    maria = await make.user()
    assert await status(url, path, maria.token) in {400, 403, 404, 405}
    assert await status(url, path, "") in {400, 401, 404, 405}


async def status(url: str, path: str, token: str) -> int:
    split = urlsplit(url)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: shop.example\r\n{authorization}Connection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"@shop.example" not in answer
    return int(answer.split(b" ", 2)[1])
