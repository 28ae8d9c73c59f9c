"""The transitions of an order: who makes them, from where to where, and what each leaves behind."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg
import httpx2
import pytest

from service.platform.http.schemas import MAX_ID
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import audited, last_entry
from tests.helpers.orders import HOME, WAYS, brought_to, placed

BODIES: dict[str, dict[str, str] | None] = {
    "pay": {"reference": "pi_3MtwBw"},
    "ship": {"tracking": "00340434161094042557"},
    "deliver": None,
    "cancel": {"reason": "Ordered twice"},
    "refund": {"reference": "re_1Nispe"},
}
#: The valid ones; every other is refused.
VALID = {
    ("placed", "pay"): "paid",
    ("paid", "ship"): "shipped",
    ("shipped", "deliver"): "delivered",
    ("placed", "cancel"): "cancelled",
    ("paid", "cancel"): "cancelled",
    ("refund_due", "refund"): "refunded",
}
#: The statuses that a transition starts from, as a refusal names them.
SOURCES = {
    "pay": "placed",
    "ship": "paid",
    "deliver": "shipped",
    "cancel": "placed or paid",
    "refund": "cancelled",
}
PAST = {"pay": "paid", "ship": "shipped", "deliver": "delivered", "cancel": "cancelled", "refund": "refunded"}
#: The column in which each keeps what it is told.
COLUMNS = {
    "pay": "payment_reference",
    "ship": "tracking",
    "cancel": "cancel_reason",
    "refund": "refund_reference",
}
STAFF_TRANSITIONS = ("pay", "ship", "deliver", "refund")

each_staff_transition = pytest.mark.parametrize("transition", STAFF_TRANSITIONS)


class Case(NamedTuple):
    start: str
    transition: str
    target: str


valid = pytest.mark.parametrize(
    "case", [Case(*way, target) for way, target in VALID.items()], ids=lambda case: "-".join(case[:2])
)


@dataclass
class Scene:
    """A customer, an administrator, and a way to look at the database."""

    make: Make
    sql: asyncpg.Connection
    maria: Person
    admin: Person

    async def order(self, start: str) -> dict[str, Any]:
        """An order of Maria's in this state."""
        chai = await self.make.item(price="18.00", stock=5)
        order = await placed(self.maria, chai.id, 2, ship_to=HOME)
        await brought_to(self.sql, order, start)
        return await seen(self.maria, order)

    async def transition(
        self, order: dict[str, Any], transition: str, by: Api | None = None
    ) -> httpx2.Response:
        """By the administrator, if by nobody else."""
        return await (by or self.admin.api).post(
            f"/orders/{order['id']}/{transition}", json=BODIES[transition]
        )


@pytest.fixture
async def scene(make: Make, sql: asyncpg.Connection, maria: Person, admin: Person) -> Scene:
    return Scene(make, sql, maria, admin)


async def seen(owner: Person, order: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = (await owner.api.get(f"/orders/{order['id']}")).json()
    return whole


async def everything(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """All that a transition touches, to be the same after a refusal."""
    statements = (
        "SELECT * FROM orders ORDER BY id",
        "SELECT * FROM stock ORDER BY item_id",
        "SELECT * FROM stock_movements ORDER BY id",
        "SELECT * FROM notifications ORDER BY id",
        "SELECT id FROM audit_log WHERE action LIKE 'order.%' ORDER BY id",
    )
    return [tuple(row) for statement in statements for row in await sql.fetch(statement)]


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


@pytest.fixture
async def admin(make: Make) -> Person:
    return await make.admin()


class TestEveryMove:
    @pytest.mark.parametrize("transition", BODIES)
    @pytest.mark.parametrize("start", WAYS)
    async def test_leads_where_it_may_and_nowhere_else(
        self, scene: Scene, start: str, transition: str
    ) -> None:
        order = await scene.order(start)
        before = await everything(scene.sql)
        answer = await scene.transition(order, transition)
        if target := VALID.get((start, transition)):
            assert (answer.status_code, answer.json()["status"]) == (200, target)
            return
        problem = assert_problem(answer, 409, "invalid_transition")
        state = "cancelled" if start == "refund_due" else start
        usual = (
            f"The order is {state}. Only an order that is {SOURCES[transition]} can be {PAST[transition]}."
        )
        unpaid = "The order was cancelled before it was paid. Only a paid order can be refunded."
        assert problem["detail"] == (unpaid if (start, transition) == ("cancelled", "refund") else usual)
        assert await everything(scene.sql) == before

    @valid
    async def test_answers_with_the_order_and_changes_nothing_else_of_it(
        self, scene: Scene, case: Case
    ) -> None:
        order = await scene.order(case.start)
        version = await scene.sql.fetchval("SELECT version FROM orders")
        after = (await scene.transition(order, case.transition)).json()
        assert await seen(scene.maria, order) == after
        moment = after[f"{case.target}_at"]
        assert after["updated_at"] > order["updated_at"]
        told = {"ship": {"tracking": "00340434161094042557"}, "cancel": {"cancel_reason": "Ordered twice"}}
        assert after == {
            **order,
            "status": case.target,
            f"{case.target}_at": moment,
            "version": version + 1,
            "updated_at": after["updated_at"],
            "refund_due": case[:2] == ("paid", "cancel"),
            "events": [*order["events"], {"status": case.target, "at": moment, "by": "staff"}],
            **told.get(case.transition, {}),
        }
        assert await scene.sql.fetchval("SELECT version FROM orders") == version + 1
        if case.transition in COLUMNS:
            [text] = (BODIES[case.transition] or {}).values()
            assert await scene.sql.fetchval(f"SELECT {COLUMNS[case.transition]} FROM orders") == text

    @valid
    async def test_stock_comes_back_with_a_cancellation_alone(self, scene: Scene, case: Case) -> None:
        order = await scene.order(case.start)
        await scene.transition(order, case.transition)
        back = [(2,)] if case.transition == "cancel" else []
        moved = await scene.sql.fetch("SELECT delta FROM stock_movements WHERE kind = 'return'")
        assert [tuple(row) for row in moved] == back
        assert await scene.sql.fetchval("SELECT quantity FROM stock") == (5 if back else 3)

    @valid
    async def test_the_customer_is_notified_and_the_audit_log_has_the_actor(
        self, scene: Scene, case: Case
    ) -> None:
        order = await scene.order(case.start)
        await scene.sql.execute("DELETE FROM notifications")
        before = await last_entry(scene.sql)
        await scene.transition(order, case.transition)
        [told] = await scene.sql.fetch("SELECT * FROM notifications")
        bodies = {
            "pay": "36.00 USD received.",
            "ship": "Tracking: 00340434161094042557",
            "deliver": "",
            "cancel": "What was paid will be given back." if case.start == "paid" else "",
            "refund": "36.00 USD given back.",
        }
        assert (told["user_id"], told["kind"], told["title"], told["body"]) == (
            scene.maria.id,
            f"order.{case.target}",
            f"Order {order['id']} is {case.target}",
            bodies[case.transition],
        )
        assert json.loads(told["data"]) == {"order_id": order["id"], "status": case.target, "total": "36.00"}
        data = {"user_id": scene.maria.id, "total": "36.00"}
        assert await audited(scene.sql, before) == [
            (f"order.{case.target}", scene.admin.id, "order", order["id"], data)
        ]

    async def test_an_order_goes_on_after_its_product_is_withdrawn(self, scene: Scene) -> None:
        order = await scene.order("placed")
        await scene.admin.api.delete(f"/items/{order['lines'][0]['product_id']}")
        for transition in ("pay", "ship", "deliver"):
            answer = await scene.transition(order, transition)
            assert answer.status_code == 200, answer.text


class TestCallers:
    @each_staff_transition
    async def test_a_customer_is_refused_with_their_own_and_with_others(
        self, scene: Scene, transition: str
    ) -> None:
        order = await scene.order("placed")
        before = await everything(scene.sql)
        for person in (scene.maria, await scene.make.user()):
            for order_id in (order["id"], MAX_ID):
                answer = await person.api.post(f"/orders/{order_id}/{transition}", json=BODIES[transition])
                problem = assert_problem(answer, 403, "forbidden")
                assert problem["detail"] == "Only administrators may do this."
        assert await everything(scene.sql) == before

    @each_staff_transition
    async def test_an_anonymous_caller_gets_401(self, scene: Scene, api: Api, transition: str) -> None:
        order = await scene.order("placed")
        before = await everything(scene.sql)
        assert_problem(await scene.transition(order, transition, api), 401, "unauthenticated")
        assert await everything(scene.sql) == before

    @pytest.mark.parametrize("transition", BODIES)
    async def test_an_order_that_is_not_there(self, make: Make, admin: Person, transition: str) -> None:
        writer = await make.key("orders:write")
        for api in (admin.api, writer.api):
            answer = await api.post(f"/orders/{MAX_ID}/{transition}", json=BODIES[transition])
            problem = assert_problem(answer, 404, "not_found")
            assert problem["detail"] == "The order does not exist, or you may not see it. Check its id."

    @valid
    async def test_a_key_with_the_scope_makes_transitions_without_a_user(
        self, scene: Scene, case: Case
    ) -> None:
        order, writer = await scene.order(case.start), await scene.make.key("orders:write")
        before = await last_entry(scene.sql)
        answer = await scene.transition(order, case.transition, writer.api)
        assert (answer.status_code, answer.json()["events"][-1]["by"]) == (200, "api_key")
        [entry] = await scene.sql.fetch("SELECT * FROM audit_log WHERE id > $1", before)
        assert (entry["action"], entry["actor_id"], entry["key_id"]) == (
            f"order.{case.target}",
            None,
            writer.id,
        )

    @valid
    async def test_a_key_without_it_makes_no_transition(self, scene: Scene, case: Case) -> None:
        order = await scene.order(case.start)
        other = await scene.make.key("orders:read", "catalogue:write", "users:read")
        before = await everything(scene.sql)
        answer = await scene.transition(order, case.transition, other.api)
        assert_problem(answer, 403, "insufficient_scope")
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="orders:write"'
        assert await everything(scene.sql) == before


class TestShipping:
    async def test_needs_an_address(
        self, make: Make, sql: asyncpg.Connection, maria: Person, admin: Person
    ) -> None:
        order = await placed(maria, (await make.item(stock=5)).id)
        await brought_to(sql, order, "paid")
        before = await everything(sql)
        answer = await admin.api.post(f"/orders/{order['id']}/ship", json=BODIES["ship"])
        problem = assert_problem(answer, 409, "address_required")
        assert problem["detail"] == (
            "The order has no shipping address: set it with PUT /orders/{id}/ship-to."
        )
        assert await everything(sql) == before
        assert (await maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME)).status_code == 200
        answer = await admin.api.post(f"/orders/{order['id']}/ship", json=BODIES["ship"])
        assert (answer.status_code, answer.json()["tracking"]) == (200, "00340434161094042557")

    async def test_that_it_is_not_paid_is_reported_before_the_address(
        self, make: Make, maria: Person, admin: Person
    ) -> None:
        order = await placed(maria, (await make.item(stock=5)).id)
        answer = await admin.api.post(f"/orders/{order['id']}/ship", json=BODIES["ship"])
        assert_problem(answer, 409, "invalid_transition")


class TestTimeline:
    async def test_of_a_whole_life(self, make: Make, maria: Person, admin: Person) -> None:
        order = await placed(maria, (await make.item(stock=5)).id, ship_to=HOME)
        till = await make.key("orders:write")
        await till.api.post(f"/orders/{order['id']}/pay", json=BODIES["pay"])
        await admin.api.post(f"/orders/{order['id']}/ship", json=BODIES["ship"])
        await till.api.post(f"/orders/{order['id']}/deliver")
        order = await seen(maria, order)
        states = ("placed", "paid", "shipped", "delivered")
        assert order["events"] == [
            {"status": state, "at": order[f"{state}_at"], "by": by}
            for state, by in zip(states, ("customer", "api_key", "staff", "api_key"), strict=True)
        ]
        moments = [event["at"] for event in order["events"]]
        assert moments == sorted(moments)
        for listed in (
            (await maria.api.get("/orders")).json(),
            (await maria.api.get(f"/users/{maria.id}")).json()["orders"],
            (await maria.api.get(f"/dashboard/{maria.id}")).json()["orders"],
        ):
            assert listed == [order]

    async def test_of_one_that_came_to_nothing(self, make: Make, maria: Person, admin: Person) -> None:
        order = await placed(maria, (await make.item(stock=5)).id)
        await admin.api.post(f"/orders/{order['id']}/pay", json=BODIES["pay"])
        await maria.api.post(f"/orders/{order['id']}/cancel")
        owed = await seen(maria, order)
        assert owed["refund_due"] is True
        await admin.api.post(f"/orders/{order['id']}/refund", json=BODIES["refund"])
        order = await seen(maria, order)
        assert (order["status"], order["refund_due"]) == ("refunded", False)
        assert [(event["status"], event["by"]) for event in order["events"]] == [
            ("placed", "customer"),
            ("paid", "staff"),
            ("cancelled", "customer"),
            ("refunded", "staff"),
        ]

    async def test_says_who_placed_it(self, make: Make, maria: Person, admin: Person) -> None:
        chai, till = await make.item(stock=5), await make.key("orders:write")
        entered = {"product_id": chai.id, "quantity": 1, "user_id": maria.id}
        for api, by in ((admin.api, "staff"), (till.api, "api_key")):
            order = (await api.post("/orders", json=entered)).json()
            assert order["events"] == [{"status": "placed", "at": order["placed_at"], "by": by}]

    async def test_another_address_is_no_event(self, make: Make, maria: Person) -> None:
        order = await placed(maria, (await make.item(stock=5)).id)
        answer = await maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME)
        assert answer.json()["events"] == order["events"]

    async def test_is_part_of_the_export(self, make: Make, maria: Person) -> None:
        order = await placed(maria, (await make.item(stock=5)).id)
        exported = (await maria.api.get("/users/profile/export")).json()["orders"]
        assert exported[0]["events"] == order["events"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("transition", "body", "pointer"),
        [
            ("pay", {}, "/reference"),
            ("pay", {"reference": " "}, "/reference"),
            ("pay", {"reference": "a\0b"}, "/reference"),
            ("pay", {"reference": "x" * 101}, "/reference"),
            ("pay", {"reference": 5}, "/reference"),
            ("pay", {**(BODIES["pay"] or {}), "amount": "36.00"}, "/amount"),
            ("ship", {"tracking": ""}, "/tracking"),
            ("ship", {"tracking": "a\nb"}, "/tracking"),
            ("deliver", {"at": "2026-11-22T10:30:00Z"}, "/at"),
            ("deliver", [], ""),
            ("refund", {"reference": None}, "/reference"),
        ],
    )
    async def test_is_422_and_changes_nothing(
        self, scene: Scene, transition: str, body: Any, pointer: str
    ) -> None:
        start = next(start for start, name in VALID if name == transition)
        order = await scene.order(start)
        before = await everything(scene.sql)
        answer = await scene.admin.api.post(f"/orders/{order['id']}/{transition}", json=body)
        assert_problem(answer, 422, "invalid_input", pointer)
        assert await everything(scene.sql) == before

    @pytest.mark.parametrize("transition", ["pay", "ship", "refund"])
    async def test_no_body(self, make: Make, maria: Person, admin: Person, transition: str) -> None:
        order = await placed(maria, (await make.item(stock=5)).id)
        answer = await admin.api.post(f"/orders/{order['id']}/{transition}")
        assert_problem(answer, 422, "invalid_input", "")

    @pytest.mark.parametrize("body", [{}, None])
    async def test_a_delivery_needs_none(self, scene: Scene, body: Any) -> None:
        order = await scene.order("shipped")
        answer = await scene.admin.api.post(f"/orders/{order['id']}/deliver", json=body)
        assert (answer.status_code, answer.json()["status"]) == (200, "delivered")

    @each_staff_transition
    @pytest.mark.parametrize("order_id", ["0", "x", str(MAX_ID + 1)])
    async def test_bad_ids(self, admin: Person, transition: str, order_id: str) -> None:
        answer = await admin.api.post(f"/orders/{order_id}/{transition}", json=BODIES[transition])
        assert_problem(answer, 422, "invalid_input", "{order_id}")
