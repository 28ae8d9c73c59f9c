"""What is believed of a request's head: its host, its scheme, its client, and headers that come twice."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from service.platform.config import Settings
from service.platform.database import change_feed as changes
from tests.helpers.application import running
from tests.helpers.client import V1, Api, assert_problem
from tests.helpers.factories import Make

METADATA = "/.well-known/oauth-authorization-server"
SHOP, EVIL = "shop.example", "evil.example"
#: The test client's own address.
PROXY = (ip_network("127.0.0.1/32"),)
HTTPS = {"X-Forwarded-Proto": "https"}
POST = {"title": "News", "body": "Tea has come in."}


async def token_endpoint(api: Api, **headers: str) -> str:
    answer = await api.root(
        METADATA, headers={name.replace("_", "-"): each for name, each in headers.items()}
    )
    assert answer.status_code == 200
    url: str = answer.json()["token_endpoint"]
    return url.removesuffix(f"{V1}/auth/token")


class TestAllowedHosts:
    @pytest.mark.parametrize("path", [METADATA, "/", "/openapi.json", f"{V1}/posts", "/nothing"])
    async def test_another_is_misdirected(self, settings: Settings, sql: object, path: str) -> None:
        async with running(settings, allowed_hosts=(SHOP,), cors_origins=("https://a.example",)) as api:
            answer = await api.root(path, headers={"Host": EVIL, "Origin": "https://a.example"})
            assert_problem(answer, 421, "misdirected_request")
            assert EVIL not in answer.text
            assert answer.headers["access-control-allow-origin"] == "https://a.example"

    @pytest.mark.parametrize(
        ("host", "allowed"),
        [
            ("shop.example", True),
            ("SHOP.example:8000", True),
            ("shop.example.", True),
            ("api.shop.example", False),
            ("evil-shop.example", False),
            ("shop.example.evil.example", False),
            ("a.test", True),
            ("a.b.test:1", True),
            ("test", False),
            ("atest", False),
            ("[::1]:8000", True),
            ("[::2]", False),
            ("public.example", True),
            ("", False),
        ],
    )
    async def test_which_are_named(self, settings: Settings, sql: object, host: str, allowed: bool) -> None:
        """And that of PUBLIC_URL."""
        hosts = {"allowed_hosts": (SHOP, "*.test", "::1"), "public_url": "https://public.example/shop"}
        async with running(settings, **hosts) as api:
            answer = await api.root(METADATA, headers={"Host": host})
            assert answer.status_code == (200 if allowed else 421)

    @pytest.mark.parametrize("probe", ["/livez", "/readyz", "/startupz", "/health", "/livez/"])
    async def test_probes_come_by_the_address_of_a_pod(
        self, settings: Settings, sql: object, probe: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # However slow the machine is: without a lease the start is rightly not complete.
        monkeypatch.setattr(changes, "START_SECONDS", 60.0)
        monkeypatch.setattr(changes, "LEASE_SECONDS", 60.0)
        async with running(settings, allowed_hosts=(SHOP,)) as api:
            assert (await api.root(probe, headers={"Host": "10.244.0.7:8000"})).status_code == 200

    async def test_not_set_any_is_answered(self, api: Api) -> None:
        assert await token_endpoint(api, Host="tradepost.shop.svc:8000") == "http://tradepost.shop.svc:8000"


class TestScheme:
    async def test_a_trusted_proxy_says_that_it_was_https(self, settings: Settings, sql: object) -> None:
        async with running(settings, trusted_proxies=PROXY) as api:
            assert await token_endpoint(api, Host=SHOP, X_Forwarded_Proto="https") == f"https://{SHOP}"
            assert await token_endpoint(api, Host=SHOP) == f"http://{SHOP}"

    async def test_no_other_host_does(self, api: Api) -> None:
        assert await token_endpoint(api, Host=SHOP, X_Forwarded_Proto="https") == f"http://{SHOP}"

    @pytest.mark.parametrize("forwarded", ["https, http", "http, https", "ftp", "", "https://evil.example"])
    async def test_nor_one_of_several(self, settings: Settings, sql: object, forwarded: str) -> None:
        """What a client has sent stands before what the proxy has added."""
        async with running(settings, trusted_proxies=PROXY) as api:
            assert await token_endpoint(api, Host=SHOP, X_Forwarded_Proto=forwarded) == f"http://{SHOP}"

    async def test_no_other_host_is_believed(self, settings: Settings, sql: object) -> None:
        async with running(settings, trusted_proxies=PROXY) as api:
            told = {"X_Forwarded_Host": EVIL, "Forwarded": f"host={EVIL};proto=https"}
            assert await token_endpoint(api, Host=SHOP, **told) == f"http://{SHOP}"


class TestHsts:
    @pytest.mark.parametrize(
        ("update", "headers", "sent"),
        [
            ({"trusted_proxies": PROXY}, HTTPS, True),
            ({"trusted_proxies": PROXY}, {}, False),
            ({"trusted_proxies": PROXY}, {"X-Forwarded-Proto": "http"}, False),
            ({}, HTTPS, False),
            ({"public_url": f"https://{SHOP}"}, {}, True),
            ({"public_url": f"http://{SHOP}"}, {}, False),
            (
                {"trusted_proxies": PROXY, "public_url": f"https://{SHOP}"},
                {"X-Forwarded-Proto": "http"},
                False,
            ),
        ],
    )
    async def test_is_promised_to_who_has_come_by_https(
        self,
        settings: Settings,
        sql: object,
        update: dict[str, Any],
        headers: dict[str, str],
        sent: bool,
    ) -> None:
        """RFC 6797, section 7.2: never over plain http. On errors too."""
        async with running(settings, hsts_max_age=timedelta(days=365), **update) as api:
            for path in (f"{V1}/posts", "/nothing", f"{V1}/users/profile"):
                answer = await api.root(path, headers=headers)
                assert answer.headers.get("strict-transport-security") == (
                    "max-age=31536000" if sent else None
                )

    async def test_not_set_there_is_none(self, settings: Settings, sql: object) -> None:
        async with running(settings, public_url=f"https://{SHOP}") as api:
            assert "strict-transport-security" not in (await api.root("/livez")).headers


class TestForging:
    @pytest.mark.parametrize(
        ("hops", "used_up"), [(None, ["1.1.1.1", "2.2.2.2"]), (1, ["10.0.0.9"]), (2, ["1.1.1.1", "2.2.2.2"])]
    )
    async def test_a_client_within_the_trusted_networks_makes_up_no_address(
        self, settings: Settings, sql: Any, hops: int | None, used_up: list[str]
    ) -> None:
        """By what the audit log says; with as many hops as there are proxies it says what the proxy saw."""
        trusted = (*PROXY, ip_network("10.0.0.0/8"))
        async with running(settings, trusted_proxies=trusted, trusted_proxy_hops=hops) as api:
            for number, made_up in enumerate(("1.1.1.1", "2.2.2.2")):
                body = {"email": f"m{number}@shop.example", "password": "correct-horse-1", "full_name": "M"}
                forwarded = {"X-Forwarded-For": f"{made_up}, 10.0.0.9"}
                assert (await api.post("/users", json=body, headers=forwarded)).status_code == 201
                form = {"grant_type": "password", "username": body["email"], "password": body["password"]}
                signed_in = await api.post("/auth/token", data=form, headers=forwarded)
                assert signed_in.status_code == 200
        found = await sql.fetch("SELECT DISTINCT host(address) AS address FROM audit_addresses ORDER BY 1")
        assert [row["address"] for row in found] == used_up


class TestRepeatedHeaders:
    @pytest.mark.parametrize(
        ("values", "status"),
        [
            (("text/html", "application/json"), 200),
            (("application/json", "text/html"), 200),
            (("text/html", "*/*;q=0.1"), 200),
            (("text/html", "image/png"), 406),
            (("application/json;q=0", "text/html"), 406),
        ],
    )
    async def test_two_lines_of_accept_are_one_list(
        self, api: Api, values: tuple[str, ...], status: int
    ) -> None:
        """A second time from memory."""
        for _ in range(2):
            answer = await api.get("/posts", headers=[("Accept", value) for value in values])
            assert answer.status_code == status

    async def test_of_the_conditions_too(self, make: Make) -> None:
        maria = await make.user()
        created = await maria.api.post("/posts", json=POST)
        path, tag = f"/posts/{created.json()['id']}", created.headers["etag"]
        lines = [("If-None-Match", '"a"'), ("If-None-Match", tag)]
        assert (await maria.api.get(path, headers=lines)).status_code == 304
        lines = [("If-Match", '"a"'), ("If-Match", tag)]
        assert (await maria.api.patch(path, json={"body": "x"}, headers=lines)).status_code == 200

    async def test_of_a_preflight(self, settings: Settings, sql: object) -> None:
        async with running(settings, cors_origins=("https://a.example",)) as api:
            headers = [
                ("Origin", "https://a.example"),
                ("Access-Control-Request-Method", "PATCH"),
                ("Access-Control-Request-Headers", "If-Match"),
                ("Access-Control-Request-Headers", "X-Evil"),
            ]
            assert_problem(await api.request("OPTIONS", "/posts", headers=headers), 400, "cors_refused")

    @pytest.mark.parametrize(
        "name",
        [
            "Authorization",
            "Content-Type",
            "Content-Length",
            "Idempotency-Key",
            "Host",
            "Last-Event-ID",
            "Origin",
        ],
    )
    async def test_of_what_decides_there_is_one(self, api: Api, name: str) -> None:
        for second in ("a", "b"):
            answer = await api.post("/posts", headers=[(name, "a"), (name, second)])
            problem = assert_problem(answer, 400, "repeated_header")
            assert name.title() in problem["detail"]

    async def test_what_only_describes_is_left_out(self, api: Api) -> None:
        lines = [
            ("X-Request-ID", "abcd1234"),
            ("X-Request-ID", "efgh5678"),
            ("User-Agent", "a"),
            ("User-Agent", "b"),
        ]
        answer = await api.get("/posts", headers=lines)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] not in ("abcd1234", "efgh5678")
