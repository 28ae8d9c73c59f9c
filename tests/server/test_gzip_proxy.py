"""Behind a real proxy that compresses: it weakens entity tags, and clients must not suffer from it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.client import V1
from tests.helpers.waiting import wait_until
from tests.server.process import alive, cloned_database, free_port, started, statement

pytestmark = pytest.mark.slow

ADMIN, PASSWORD = "ada@shop.example", "correct-horse-1"
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    gzip on; gzip_proxied any; gzip_min_length 0; gzip_types application/json;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[str]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program is not None, "nginx is missing: on Debian and Ubuntu, apt-get install nginx-light"
    folder.mkdir()
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, upstream=upstream))
    process = subprocess.Popen([program, "-c", str(config), "-e", str(folder / "errors")])
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None, (folder / "errors").read_text()
        try:
            return httpx2.get(f"{url}/health").is_success
        except httpx2.TransportError:
            return False

    try:
        wait_until(up)
        yield url
    finally:
        process.terminate()
        process.wait()
        assert not alive(process.pid)


def test_two_administrators_who_have_read_the_same_through_it(tmp_path: Path) -> None:
    with cloned_database() as database:
        statement(
            database,
            "INSERT INTO items (sku, name, price) VALUES ('NW-1', 'Chai', 18)",
            "INSERT INTO stock (item_id) SELECT id FROM items",
        )
        settings: dict[str, Any] = {
            "DATABASE_URL": database,
            "ADMIN_EMAIL": ADMIN,
            "ADMIN_PASSWORD": PASSWORD,
            "WEB_CONCURRENCY": 1,
        }
        with (
            started(tmp_path / "service", **settings) as service,
            nginx(tmp_path / "nginx", service.wait_until_up().port) as proxy,
            httpx2.Client(base_url=f"{proxy}{V1}", headers={"Accept-Encoding": "gzip"}) as client,
        ):
            token = service.sign_in(ADMIN).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            [item] = client.get("/items").json()
            path = f"/items/{item['id']}"
            read = client.get(path)
            tag = read.headers["etag"]
            assert (read.headers["content-encoding"], tag[:2]) == ("gzip", "W/")
            known = client.get(path, headers={"If-None-Match": tag})
            listed = client.get("/items")
            assert known.status_code == 304
            unchanged = client.get("/items", headers={"If-None-Match": listed.headers["etag"]})
            assert unchanged.status_code == 304
            first = client.patch(path, json={"name": "Chai by Ada"}, headers={"If-Match": tag})
            second = client.patch(path, json={"name": "Chai by Bob"}, headers={"If-Match": tag})
            assert (first.status_code, second.status_code) == (200, 412)
            assert client.get(path).json()["name"] == "Chai by Ada"
            third = client.patch(
                path, json={"name": "Chai by both"}, headers={"If-Match": first.headers["etag"]}
            )
            assert third.status_code == 200
