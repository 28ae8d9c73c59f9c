"""examples/back_office.py against the service as it runs."""

import importlib.util
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server.process import PASSWORD, REPOSITORY, Service, cloned_database, started

ADMIN = "ada@shop.example"


def _loaded() -> Any:
    path = REPOSITORY / "examples" / "back_office.py"
    spec = importlib.util.spec_from_file_location("back_office", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["back_office"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


office = _loaded()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings: dict[str, Any] = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD, "WEB_CONCURRENCY": 1}
    with (
        cloned_database() as url,
        started(tmp_path_factory.mktemp("shop"), DATABASE_URL=url, LOG_LEVEL="error", **settings) as running,
    ):
        yield running.wait_until_up()


@pytest.fixture(scope="module")
def admin(service: Service) -> Iterator[httpx2.Client]:
    with service.client(str(service.sign_in(ADMIN).json()["access_token"])) as client:
        yield client


@pytest.fixture(scope="module")
def shop(service: Service, admin: httpx2.Client) -> Any:
    body = {"name": "Back office", "scopes": ["catalogue:write", "orders:read"]}
    return office.Shop(f"{service.url}/api/v1", admin.post("/api-keys", json=body).json()["key"])


def whole(admin: httpx2.Client, path: str) -> dict[int, Any]:
    """All rows of a list, by id."""
    rows, url = [], f"{path}?limit=100"
    while url:
        answer = admin.get(url)
        rows += answer.json()
        url = answer.links["next"]["url"].removeprefix("/api/v1") if "next" in answer.links else ""
    return {row["id"]: row for row in rows}


def order(admin: httpx2.Client, user_id: int, item_id: int) -> int:
    body = {"user_id": user_id, "product_id": item_id, "quantity": 1}
    answer = admin.post("/orders", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    assert answer.status_code == 201, answer.text
    made: int = answer.json()["id"]
    return made


def test_the_same_500_items_twice_change_nothing_the_second_time(shop: Any, admin: httpx2.Client) -> None:
    items = [
        {"sku": f"ERP-{number}", "name": f"Tea {number}", "category": "Tea", "price": f"{number + 1}.50"}
        for number in range(500)
    ]
    assert office.upload(shop, items) == {"created": 500}
    before = whole(admin, "/items")
    assert office.upload(shop, items) == {"unchanged": 500}
    assert whole(admin, "/items") == before
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
