"""What clients do with a connection beside sending a request and reading its answer."""

import json
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from typing import Any

import pytest

from tests.helpers.client import V1
from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import Service, cloned_database, started

SHOP = "https://shop.example"
PASSWORD = "correct-horse-1"
#: What curl --http2 and Java's HttpClient send, and a browser that opens a WebSocket.
OFFERS = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "several": "Upgrade: TLS/1.0, h2c\r\nConnection: keep-alive, upgrade\r\n",
}
#: Far more than two kernels keep of what nobody has read.
LARGE = 4 * 1000 * 1000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("connections")
    with (
        cloned_database() as url,
        started(folder, DATABASE_URL=url, WEB_CONCURRENCY=1, CORS_ORIGINS=SHOP) as service,
    ):
        yield service.wait_until_up()


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.register("maria@shop.example")


@dataclass
class Answer:
    status: int
    headers: Message
    text: str

    @property
    def problem(self) -> tuple[int, str]:
        return self.status, self.json["code"]

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Connection:
    def __init__(self, opened: socket.socket) -> None:
        self._socket, self._file = opened, opened.makefile("rb")
        self.send, self.read, self.close = opened.sendall, self._file.read, self._file.close

    def answer(self, method: str = "GET") -> Answer:
        """The next one."""
        status = int(self._file.readline().split()[1])
        headers = parse_headers(self._file)
        return Answer(
            status, headers, self.read(method != "HEAD" and int(headers["content-length"])).decode()
        )

    def wait(self) -> bool:
        """Whether anything comes within a while."""
        return bool(select.select([self._socket], [], [], 0.5)[0])


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS) as opened:
        found = Connection(opened)
        yield found
        found.close()


def request(
    method: str, path: str, *headers: str, token: str = "", body: bytes = b"", offer: str = ""
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", *headers]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, ""]).encode() + offer.encode() + b"\r\n" + body


class TestPieces:
    def test_a_response_comes_in_one_piece(self, service: Service) -> None:
        """Its head and its body are one call of the kernel."""
        with socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS) as opened:
            for _ in range(20):
                opened.sendall(request("GET", "/health"))
                head, _, body = opened.recv(64 * 1024).partition(b"\r\n\r\n")
                assert f"content-length: {len(body)}".encode() in head
                assert json.loads(body)["status"] == "healthy"


class TestUpgrade:
    @pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
    def test_a_body_sent_with_an_offer_to_upgrade_arrives(
        self, connection: Connection, token: str, offer: str
    ) -> None:
        """And the connection goes on."""
        body = b'{"title": "News", "body": "Tea has come in."}'
        for _ in range(2):
            connection.send(request("POST", f"{V1}/posts", token=token, body=body, offer=offer))
            created = connection.answer()
            assert (created.status, created.json["title"]) == (201, "News")
        connection.send(request("GET", "/livez", offer=offer) + request("GET", "/health"))
        assert [connection.answer().status for _ in range(2)] == [200, 200]

    def test_one_in_chunks_and_in_pieces_too(self, connection: Connection, token: str) -> None:
        content = b'{"title": "News", "body": "x"}'
        head = request(
            "POST", f"{V1}/posts", "Content-Type: application/json", token=token, offer=OFFERS["h2c"]
        )
        head = head.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content):
            connection.send(bytes([byte]))
        assert connection.answer().status == 201


def chunked(*headers: str, token: str, body: bytes) -> bytes:
    lines = ["Content-Type: application/json", f"Origin: {SHOP}", *headers]
    return request("POST", f"{V1}/posts", *lines, token=token) + body


class TestBrokenBodies:
    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"x\r\n", (400, "bad_request")),
            (b"2\r\n{}oops\r\n", (400, "bad_request")),
            (b"2\r\n{}\r\n0\r\nX y: z\r\n\r\n", (400, "bad_request")),
            (b"2;a=" + b"y" * 200_000 + b"\r\n{}\r\n", (431, "headers_too_large")),
            (b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", (431, "headers_too_large")),
        ],
        ids=["length", "end of a chunk", "trailer", "extension", "trailers"],
    )
    def test_bad_chunks_are_refused(
        self, connection: Connection, token: str, body: bytes, problem: tuple[int, str]
    ) -> None:
        """The connection was closed without a word."""
        connection.send(chunked("Transfer-Encoding: chunked", token=token, body=body))
        refused = connection.answer()
        assert refused.problem == problem
        assert refused.headers["access-control-allow-origin"] == SHOP
        assert (refused.headers["connection"], connection.read()) == ("close", b"")

    def test_without_valid_credentials_it_is_401(self, connection: Connection) -> None:
        connection.send(chunked("Transfer-Encoding: chunked", token="nobody", body=b"x\r\n"))
        assert connection.answer().status == 401

    @pytest.mark.parametrize("coding", ["gzip, chunked", "gzip,\tCHUNKED"])
    def test_a_transfer_coding_that_is_not_undone_is_refused(
        self, connection: Connection, token: str, coding: str
    ) -> None:
        """RFC 9112, section 6.1. Its bytes were taken for the body."""
        body = b"2\r\n{}\r\n0\r\n\r\n"
        connection.send(chunked(f"Transfer-Encoding: {coding}", token=token, body=body))
        assert connection.answer().problem == (501, "not_implemented")


class TestRefusedBodies:
    @pytest.mark.parametrize("size", [LARGE, 8 * LARGE])
    def test_who_sends_all_before_reading_gets_the_413(
        self, connection: Connection, token: str, size: int
    ) -> None:
        """By the length that is named, and in chunks."""
        connection.send(request("POST", f"{V1}/posts", f"Origin: {SHOP}", token=token, body=b" " * size))
        refused = connection.answer()
        assert refused.problem == (413, "body_too_large")
        assert refused.headers["access-control-allow-origin"] == SHOP

    def test_one_in_chunks_too(self, connection: Connection, token: str) -> None:
        headers = "Content-Type: application/json", "Transfer-Encoding: chunked"
        connection.send(request("POST", f"{V1}/posts", *headers, token=token))
        for _ in range(LARGE // 10_000):
            connection.send(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        connection.send(b"0\r\n\r\n")
        assert connection.answer().problem == (413, "body_too_large")

    @pytest.mark.parametrize(
        ("headers", "path", "status"),
        [
            ((), "/posts", 401),
            (("Authorization: Bearer no.such.token",), "/posts", 401),
            ((), "/nothing", 404),
            ((), "/orders/1", 405),
            (("Accept: image/png",), "/users", 406),
            (("Idempotency-Key: a", "Idempotency-Key: b"), "/posts", 400),
        ],
    )
    def test_any_other_refusal_too(
        self, connection: Connection, headers: tuple[str, ...], path: str, status: int
    ) -> None:
        """And where the connection is kept, the next request is answered on it."""
        connection.send(request("POST", V1 + path, *headers, body=b" " * LARGE))
        refused = connection.answer()
        assert refused.status == status
        if refused.headers["connection"] != "close":
            connection.send(request("GET", "/livez"))
            assert connection.answer().status == 200

    def test_of_a_media_type_that_is_not_taken(self, connection: Connection, token: str) -> None:
        media = "Content-Type: text/plain"
        sent = request("POST", f"{V1}/posts", media, f"Content-Length: {LARGE}", token=token)
        connection.send(sent + b" " * LARGE)
        assert connection.answer().problem == (415, "unsupported_media_type")

    def test_without_permission_it_is_refused(self, connection: Connection, token: str) -> None:
        connection.send(request("POST", f"{V1}/items", token=token, body=b" " * LARGE))
        assert connection.answer().problem == (403, "forbidden")

    def test_a_client_that_expects_100_continue_is_refused_and_disconnected(
        self, connection: Connection
    ) -> None:
        """What came next on the connection could be the body or another request."""
        headers = "Expect: 100-continue", "Content-Length: 9", "Authorization: Bearer no.such.token"
        connection.send(request("POST", f"{V1}/posts", *headers))
        refused = connection.answer()
        assert (refused.status, refused.headers["connection"]) == (401, "close")
        assert connection.read() == b""


class TestHost:
    @pytest.mark.parametrize(
        "lines",
        [
            "",
            "Host: shop.example\r\nHost: shop.example\r\n",
            "Host: shop.example\r\nHost: evil.example\r\n",
            "Host:\r\n",
            "Host: shop.example/admin\r\n",
            "Host: maria@shop.example\r\n",
            "Host: shop.example, evil.example\r\n",
            "Host: shop.example:http\r\n",
            "Host: [::1\r\n",
            "Host: sh op\r\n",
        ],
    )
    def test_there_must_be_one(self, connection: Connection, lines: str) -> None:
        connection.send(f"GET /livez HTTP/1.1\r\n{lines}Origin: {SHOP}\r\n\r\n".encode())
        refused = connection.answer()
        assert refused.problem == (400, "bad_request")
        assert "Host" in refused.json["detail"]
        assert (refused.headers["connection"], refused.headers["access-control-allow-origin"]) == (
            "close",
            SHOP,
        )

    @pytest.mark.parametrize(
        "host",
        [
            "shop.example",
            "shop.example:8000",
            "10.244.0.7:8000",
            "[::1]:8000",
            "tradepost.default.svc",
            "a_b",
        ],
    )
    def test_a_valid_one_is_taken(self, connection: Connection, host: str) -> None:
        connection.send(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert connection.answer().status == 200

    def test_that_of_a_whole_url_counts_instead(self, connection: Connection) -> None:
        path = "/.well-known/oauth-authorization-server"
        connection.send(f"GET http://shop.example:81{path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
        found = connection.answer()
        assert found.json["token_endpoint"] == f"http://shop.example:81{V1}/auth/token"

    @pytest.mark.parametrize("target", ["http:///x", "ftp://shop.example/x", "http://a@shop.example/x", "x"])
    def test_of_a_url_that_is_none(self, connection: Connection, target: str) -> None:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
        assert connection.answer().problem == (400, "bad_request")

    def test_http_1_0_need_not_name_one(self, connection: Connection) -> None:
        connection.send(b"GET /livez HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200


class TestHttp10:
    @pytest.mark.parametrize(("method", "length"), [("GET", 18), ("HEAD", 0)])
    def test_an_answer_ends_with_the_connection(
        self, connection: Connection, method: str, length: int
    ) -> None:
        connection.send(f"{method} /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        found = connection.answer(method)
        assert (found.status, found.headers["connection"], found.headers["content-length"]) == (
            200,
            "close",
            "18",
        )
        assert "transfer-encoding" not in found.headers
        assert len(found.text) == length
        assert connection.read() == b""

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_a_stream_has_no_chunks(self, connection: Connection, token: str, version: str) -> None:
        head = request("GET", f"{V1}/notifications/stream", token=token)
        connection.send(head.replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        received = b""
        while not received.endswith(b"\nid: "):
            received += connection.read(1)
        head, _, body = received.partition(b"\r\n\r\n")
        assert (b"transfer-encoding: chunked" in head.lower()) is (version == "1.1")
        assert body.startswith(b"retry: ") is (version == "1.0")

    def test_it_gets_no_100_continue(self, connection: Connection, token: str) -> None:
        """An interim answer is unknown to it (RFC 9110, section 10.1.1)."""
        body = b'{"title": "News", "body": "x"}'
        sent = request("POST", f"{V1}/posts", "Expect: 100-continue", token=token, body=body)
        head, _, _ = sent.replace(b"HTTP/1.1", b"HTTP/1.0").partition(body)
        connection.send(head)
        assert not connection.wait()
        connection.send(body)
        assert connection.answer().status == 201

    @pytest.mark.parametrize("version", ["2.0", "0.9"])
    def test_other_versions_are_refused(self, connection: Connection, version: str) -> None:
        connection.send(f"GET /livez HTTP/{version}\r\nHost: shop.example\r\n\r\n".encode())
        assert connection.answer().problem == (505, "http_version_not_supported")


class TestCors:
    """Without its headers a browser shows the page nothing of a refusal."""

    @pytest.mark.parametrize(
        ("path", "header", "status"),
        [
            ("/" + "y" * 9_000, "", 414),
            ("/" + "y" * 100_000, "", 414),
            ("/livez", "X: " + "y" * 70_000, 431),
            ("/livez", "X: " + "y" * 200_000, 431),
            ("/livez", "Y: z\r\nX y: z", 400),
        ],
        ids=["target", "long target", "headers", "long headers", "not HTTP"],
    )
    def test_what_the_server_refuses_has_them(
        self, connection: Connection, path: str, header: str, status: int
    ) -> None:
        """The origin comes before what is refused, or after."""
        lines = [f"GET {path} HTTP/1.1", "Host: shop.example", header, f"Origin: {SHOP}"]
        if status == 400:
            lines[1:] = lines[:0:-1]
        connection.send("\r\n".join([*filter(None, lines), "", ""]).encode())
        refused = connection.answer()
        assert refused.status == status
        assert refused.headers["access-control-allow-origin"] == SHOP
        assert "X-Request-ID" in refused.headers["access-control-expose-headers"]

    def test_the_refusal_of_an_oauth_endpoint_has_its_form(self, connection: Connection) -> None:
        connection.send(request("POST", f"{V1}/auth/token", "X: " + "y" * 70_000))
        refused = connection.answer()
        assert (refused.status, refused.json["error"]) == (431, "invalid_request")
