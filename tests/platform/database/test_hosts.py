"""An address with several hosts, of which some are gone: without a word, or with one."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from service.platform.database import connections, hosts
from service.platform.database.hosts import each_alone
from tests.helpers.proxy import proxy_before
from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import free_port


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections, and never says anything: no more does a host whose packets are dropped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def with_hosts(url: str, *hosts: str, query: str = "") -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{','.join(hosts)}", query=query).geturl()


async def test_the_kernel_watches_over_each_connection(database_url: str) -> None:
    """For which there is no way but what the driver keeps to itself."""
    connection: Any = await connections.connect(database_url)
    its_socket = connection._transport.get_extra_info("socket")
    assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3_000
    assert its_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
    assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1
    await connection.close()


class TestConnecting:
    @pytest.mark.parametrize("attributes", ["", "target_session_attrs=read-write"])
    async def test_a_silent_host_does_not_use_up_the_time_of_the_next(
        self, database_url: str, silent: str, attributes: str
    ) -> None:
        there = urlsplit(database_url).netloc.rpartition("@")[2]
        url = with_hosts(database_url, silent, silent, there, query=attributes)
        # The driver alone would spend all of it on the first.
        connection = await connections.connect(url, timeout=PATIENCE_SECONDS)
        assert connection.get_server_pid() > 0
        await connection.close()

    async def test_one_that_refuses_is_tried_again_while_another_is_silent(
        self, database_url: str, silent: str
    ) -> None:
        """As a standby until it is promoted."""
        with proxy_before(database_url) as (proxy, through):
            proxy.cut()
            url = with_hosts(database_url, urlsplit(through).netloc.rpartition("@")[2], silent)
            connecting = asyncio.create_task(connections.connect(url, timeout=PATIENCE_SECONDS))
            # It has refused once by then, unless the machine is busy.
            await asyncio.sleep(2 * hosts.PAUSE_SECONDS)
            assert not connecting.done()
            proxy.resume()
            await (await connecting).close()

    async def test_a_host_that_refuses_is_passed_over(self, database_url: str) -> None:
        there = urlsplit(database_url).netloc.rpartition("@")[2]
        connection = await connections.connect(
            with_hosts(database_url, f"127.0.0.1:{free_port()}", there), timeout=PATIENCE_SECONDS
        )
        await connection.close()

    async def test_where_none_answers_there_is_a_time_out(self, database_url: str, silent: str) -> None:
        with pytest.raises(TimeoutError):
            await connections.connect(with_hosts(database_url, silent, silent), timeout=0.2)

    async def test_where_all_refuse_it_is_the_last_ones_fault(self, database_url: str) -> None:
        ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        with pytest.raises(ConnectionRefusedError):
            await connections.connect(with_hosts(database_url, *ports), timeout=PATIENCE_SECONDS)

    async def test_a_standby_is_passed_over_where_a_standby_will_not_do(self, database_url: str) -> None:
        there = urlsplit(database_url).netloc.rpartition("@")[2]
        url = with_hosts(database_url, there, there, query="target_session_attrs=standby")
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
            await connections.connect(url, timeout=PATIENCE_SECONDS)

    async def test_a_wrong_password_is_not_tried_at_the_next(self, database_url: str, silent: str) -> None:
        parts = urlsplit(database_url)
        there = f"{parts.username}:wrong@{parts.hostname}:{parts.port}"
        url = parts._replace(netloc=f"{there},{silent}").geturl()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connections.connect(url, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("given", "alone"),
    [
        ("u:p%40@h/d?sslmode=require", ["u:p%40@h/d?sslmode=require"]),
        ("u:p@h1:1,[::1]:2,h3/d?a=b", ["u:p@h1:1/d?a=b", "u:p@[::1]:2/d?a=b", "u:p@h3/d?a=b"]),
        ("h1,h2/d", ["h1/d", "h2/d"]),
        ("/d?host=h1,h2&port=1,2&user=u", ["/d?host=h1&port=1&user=u", "/d?host=h2&port=2&user=u"]),
        ("/d?host=h1,h2", ["/d?host=h1", "/d?host=h2"]),
        ("/d?host=h1,h2&port=1", ["/d?host=h1,h2&port=1"]),
        ("/d?host=%2Frun%2Fpostgresql", ["/d?host=%2Frun%2Fpostgresql"]),
        ("/d", ["/d"]),
        ("h1,h2/d?target_session_attrs=prefer-standby", ["h1,h2/d?target_session_attrs=prefer-standby"]),
    ],
)
def test_each_host_has_an_address_of_its_own(given: str, alone: list[str]) -> None:
    assert each_alone(f"postgresql://{given}") == [f"postgresql://{one}" for one in alone]
