"""examples/storefront.py against the service as it runs."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.examples import shop as shops
from tests.examples.shop import ADMIN, administrator, loaded
from tests.server.process import PASSWORD, REPOSITORY

storefront = loaded("storefront")
TEA = [
    {"name": f"{origin} tea of {grams} g", "category": "Tea", "price": price, "stock": 9,
     "attributes": {"origin": origin, "grams": grams}}
    for origin, grams, price in (("China", 100, "4.00"), ("China", 250, "9.00"), ("India", 100, "3.00"))
]  # fmt: skip


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with shops.shop(tmp_path_factory.mktemp("shop")) as (service, _), administrator(service) as client:
        assert client.post("/items/batch", json=TEA).status_code == 201
        yield client


@pytest.fixture
def url(admin: httpx2.Client) -> str:
    return str(admin.base_url).rstrip("/")


@pytest.fixture
def session(url: str) -> Any:
    """A customer who has just signed up."""
    new = storefront.Session(url)
    new.sign_up(f"{uuid.uuid4()}@shop.example", PASSWORD, "Maria Anders")
    return new


@pytest.fixture
def mug(admin: httpx2.Client) -> dict[str, Any]:
    """An item of this test's own."""
    answer = admin.post("/items", json={"name": "Mug", "price": "5.00", "stock": 4})
    item: dict[str, Any] = answer.json()
    return item


def cart_of(item: dict[str, Any], quantity: int = 1) -> Any:
    cart = storefront.Cart()
    cart.add(item, quantity)
    return cart


def stock(admin: httpx2.Client, item: dict[str, Any]) -> int:
    found: int = admin.get(f"/items/{item['id']}/stock").json()["quantity"]
    return found


def orders(session: Any) -> list[tuple[int, str]]:
    return [(order["id"], order["status"]) for order in session.call("GET", "/orders").document]


class TestSigningIn:
    def test_who_is_known_already_is_signed_in(self, url: str) -> None:
        email = f"{uuid.uuid4()}@shop.example"
        names = []
        for name in ("Maria", "Another name"):
            session = storefront.Session(url)
            session.sign_up(email, PASSWORD, name)
            names.append(session.call("GET", "/users/profile").document["full_name"])
        assert names == ["Maria", "Maria"]

    def test_a_wrong_password_says_so(self, url: str) -> None:
        session = storefront.Session(url)
        with pytest.raises(storefront.Refused) as refused:
            session.sign_up(ADMIN, "another-horse-1", "Ada")
        assert (refused.value.code, session.tokens) == ("invalid_grant", {})

    def test_an_access_token_that_has_ended_is_renewed(self, session: Any) -> None:
        before = dict(session.tokens)
        session.tokens["access_token"] = "ended"
        assert session.call("GET", "/users/profile").document["full_name"] == "Maria Anders"
        assert session.tokens["refresh_token"] != before["refresh_token"]

    def test_after_signing_out_there_is_nothing_to_go_on_with(self, session: Any) -> None:
        tokens = dict(session.tokens)
        session.sign_out()
        assert session.tokens == {}
        session.tokens = {**tokens, "access_token": "ended"}
        with pytest.raises(storefront.Refused) as refused:
            session.call("GET", "/users/profile")
        assert refused.value.code == "invalid_grant"


class TestBrowsing:
    def test_with_filters_page_by_page(self, session: Any, admin: httpx2.Client) -> None:
        found = session.browse(category="Tea", sort="price", limit=1)
        assert [item["price"] for item in found] == ["3.00", "4.00", "9.00"]
        chosen = {"attributes[origin]": "China", "max_attributes[grams]": 100}
        assert [item["name"] for item in session.browse(**chosen)] == ["China tea of 100 g"]

    def test_with_facets(self, url: str) -> None:
        facets = storefront.Session(url).facets("origin", "grams", category="Tea")
        assert facets == {"origin": {"China": 2, "India": 1}, "grams": {100: 2, 250: 1}}


class TestOrdering:
    def test_from_the_cart_to_the_invoice_and_back(
        self, session: Any, admin: httpx2.Client, mug: dict[str, Any]
    ) -> None:
        order = session.order(cart_of(mug, 3))
        assert (order["status"], order["total"], stock(admin, mug)) == ("placed", "15.00", 1)
        assert session.invoice(order["id"]).startswith(b"%PDF-")
        cancelled = session.cancel(order["id"], "Ordered twice")
        assert (cancelled["status"], cancelled["cancel_reason"]) == ("cancelled", "Ordered twice")
        assert stock(admin, mug) == 4

    def test_two_clicks_make_one_order(self, session: Any, admin: httpx2.Client, mug: dict[str, Any]) -> None:
        cart = cart_of(mug)
        assert session.order(cart) == session.order(cart)
        assert (len(orders(session)), stock(admin, mug)) == (1, 3)

    def test_a_lost_answer_makes_one_order(
        self, session: Any, admin: httpx2.Client, mug: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send, sent = storefront.urlopen, []

        def losing(request: Any, **options: Any) -> Any:
            answer = send(request, **options)
            sent.append(request.get_header("Idempotency-key"))
            if len(sent) == 1:
                answer.close()
                raise ConnectionResetError
            return answer

        monkeypatch.setattr(storefront, "urlopen", losing)
        cart = cart_of(mug)
        order = session.order(cart)
        assert sent == [cart.key, cart.key]
        monkeypatch.undo()
        assert (orders(session), stock(admin, mug)) == ([(order["id"], "placed")], 3)

    def test_what_is_not_there_any_more_is_taken_out_of_the_cart(
        self, session: Any, admin: httpx2.Client, mug: dict[str, Any]
    ) -> None:
        cart = cart_of(mug, 4)
        admin.post(f"/items/{mug['id']}/stock", json={"delta": -1, "reason": "Broken"})
        with pytest.raises(storefront.Refused, match="out_of_stock"):
            session.order(cart)
        assert (cart.news, orders(session), stock(admin, mug)) == (["Mug: 3 left of 4"], [], 3)
        order = session.order(cart)
        assert (order["lines"][0]["quantity"], stock(admin, mug)) == (3, 0)
        sold_out = cart_of(mug)
        with pytest.raises(storefront.Refused, match="out_of_stock"):
            session.order(sold_out)
        assert sold_out.lines == {}

    def test_a_price_that_has_changed_is_shown_before_it_is_paid(
        self, session: Any, admin: httpx2.Client, mug: dict[str, Any]
    ) -> None:
        cart = cart_of(mug)
        admin.patch(f"/items/{mug['id']}", json={"price": "6.50"}, headers={"If-Match": "*"})
        with pytest.raises(storefront.Refused, match="price_changed"):
            session.order(cart)
        assert (cart.news, orders(session)) == (["Mug costs 6.50 now, not 5.00"], [])
        assert session.order(cart)["total"] == "6.50"

    def test_what_is_withdrawn_leaves_the_cart(
        self, session: Any, admin: httpx2.Client, mug: dict[str, Any]
    ) -> None:
        cart = cart_of(mug)
        tea = next(session.browse(category="Tea"))
        cart.add(tea, 1)
        admin.delete(f"/items/{mug['id']}")
        with pytest.raises(storefront.Refused, match="item_withdrawn"):
            session.order(cart)
        assert list(cart.lines) == [tea["id"]]
        assert [line["product_id"] for line in session.order(cart)["lines"]] == [tea["id"]]

    def test_what_has_shipped_is_not_cancelled(
        self, session: Any, admin: httpx2.Client, mug: dict[str, Any]
    ) -> None:
        order = session.order(cart_of(mug))
        home = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        path = f"/orders/{order['id']}"
        assert admin.put(f"{path}/ship-to", json=home).status_code == 200
        for transition, body in (("pay", {"reference": "pi_1"}), ("ship", {"tracking": "0034"})):
            assert admin.post(f"{path}/{transition}", json=body).status_code == 200
        with pytest.raises(storefront.Refused, match="invalid_transition"):
            session.cancel(order["id"], "Too late")
        assert orders(session) == [(order["id"], "shipped")]


def test_the_program_itself(url: str, admin: httpx2.Client) -> None:
    arguments = ["lena@shop.example", PASSWORD, "category=Tea", "attributes[origin]=China"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / "storefront.py", *arguments],
        env={**os.environ, "SHOP": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "China tea of 100 g" in done.stdout
    assert "India" not in done.stdout.partition("\n")[2]
    assert done.stdout.endswith("it is cancelled\n")
