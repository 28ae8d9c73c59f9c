"""examples/back_office.py against the service as it runs."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.examples import shop as shops
from tests.examples.shop import administrator, key, loaded, whole

office = loaded("back_office")


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with shops.shop(tmp_path_factory.mktemp("shop")) as (service, _), administrator(service) as client:
        yield client


@pytest.fixture(scope="module")
def shop(admin: httpx2.Client) -> Any:
    url = str(admin.base_url).rstrip("/")
    return office.Shop(url, key(admin, "catalogue:write", "orders:read"))


def order(admin: httpx2.Client, user_id: int, item_id: int) -> int:
    body = {"user_id": user_id, "product_id": item_id, "quantity": 1}
    answer = admin.post("/orders", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    assert answer.status_code == 201, answer.text
    made: int = answer.json()["id"]
    return made


def test_the_same_500_items_twice_are_one_call_and_no_change_the_second_time(
    shop: Any, admin: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = office.urlopen, list[str]()

    def noted(request: Any, **options: Any) -> Any:
        sent.append(f"{request.method} {request.selector}")
        return send(request, **options)

    monkeypatch.setattr(office, "urlopen", noted)
    items = [
        {"sku": f"ERP-{number}", "name": f"Tea {number}", "category": "Tea", "price": f"{number + 1}.50"}
        for number in range(500)
    ]
    assert office.upload(shop, items) == {"created": 500}
    before, position = whole(admin, "/items"), admin.get("/events?after=now").headers["Event-Position"]
    sent.clear()
    assert office.upload(shop, items) == {"unchanged": 500}
    assert sent == ["PUT /api/v1/items/batch"]
    assert whole(admin, "/items") == before
    assert admin.get(f"/events?after={position}").json() == []
    assert office.upload(shop, [*items[1:], {**items[0], "price": "9.99"}]) == {
        "unchanged": 499,
        "changed": 1,
    }


def test_a_copy_is_the_shop_again_after_a_restart(shop: Any, admin: httpx2.Client, tmp_path: Path) -> None:
    user_id = admin.get("/users/profile").json()["id"]
    office.upload(shop, [{"sku": f"COPY-{number}", "name": "Tea", "price": "1.00"} for number in range(5)])
    made = [item for item in whole(admin, "/items").values() if item["sku"].startswith("COPY-")]
    counts = [{"item_id": item["id"], "stock": 10} for item in made]
    assert admin.put("/stock/batch", json=counts).status_code == 200
    first = order(admin, user_id, made[0]["id"])
    with closing(office.Copy(tmp_path / "copy.db")) as copy:
        for name in office.LISTS:
            assert office.follow(shop, copy, name) > 0
            assert office.follow(shop, copy, name) == 0
            assert copy.rows(name) == whole(admin, f"/{name}")

    # While the program does not run:
    admin.delete(f"/items/{made[1]['id']}")
    admin.post(f"/orders/{first}/cancel")
    order(admin, user_id, made[2]["id"])
    with closing(office.Copy(tmp_path / "copy.db")) as copy:
        assert [office.follow(shop, copy, name) for name in office.LISTS] == [1, 2]
        for name in office.LISTS:
            assert copy.rows(name) == whole(admin, f"/{name}")
        # A position that the shop does not know any more: everything comes again.
        copy.store("items", [{"id": 2**40, "name": "Of another shop"}], "nowhere")
        assert office.follow(shop, copy, "items") == len(whole(admin, "/items"))
        assert copy.rows("items") == whole(admin, "/items")


def test_an_edit_that_another_one_overtakes_is_made_to_the_new_version(
    shop: Any, admin: httpx2.Client
) -> None:
    office.upload(shop, [{"sku": "EDIT-1", "name": "Tea", "price": "1.00"}])
    item_id = admin.get("/items?sku=EDIT-1").json()[0]["id"]
    seen: list[tuple[str, int]] = []

    def dearer(item: dict[str, Any]) -> dict[str, Any]:
        seen.append((item["price"], item["version"]))
        if len(seen) == 1:
            overtaking = threading.Thread(target=overtake)
            overtaking.start()
            overtaking.join()
        return {"price": f"{float(item['price']) + 1:.2f}"}

    def overtake() -> None:
        answer = admin.patch(f"/items/{item_id}", json={"price": "5.00"}, headers={"If-Match": "*"})
        assert answer.status_code == 200

    assert office.edit(shop, item_id, dearer)["price"] == "6.00"
    assert seen == [("1.00", 1), ("5.00", 2)]
