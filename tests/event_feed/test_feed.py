"""What the event feed answers: to whom, from which position, and in which order."""

import json
from datetime import timedelta

import asyncpg
import pytest

from service.container.api import Container
from service.events import EVENT_TYPES
from service.events import repository as events
from tests.helpers.client import V1, assert_problem
from tests.helpers.events import POSITION, Follower, end_of_feed
from tests.helpers.factories import Make

DAY = timedelta(days=1)
ANEW = (
    "The position is not known here, or not any more. Start anew: take a position by"
    " GET /events?after=now, read the lists of what you keep, then follow the events from that position."
)


async def purge(container: Container, kept: timedelta) -> int:
    async with container.database.transaction() as session:
        return await events.purge(session, kept, most=100)


class TestReading:
    async def test_an_event_is_the_webhooks_message_with_its_id_and_position(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        ada, maria, chai = await make.admin(), await make.user(), await make.item(stock=5)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        answer = await ada.api.get("/events")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        [event] = answer.json()
        row = await sql.fetchrow("SELECT * FROM events")
        assert row is not None
        assert event == {
            "id": f"evt_{row['id']}",
            "position": answer.headers[POSITION],
            "type": "order.placed",
            "timestamp": row["occurred_at"].isoformat().replace("+00:00", "Z"),
            "data": json.loads(row["data"]),
        }

    async def test_from_the_oldest_on_in_pages_and_each_once(self, make: Make) -> None:
        ada = await make.admin()
        for number in range(5):
            await ada.api.post("/items", json={"name": f"Tea {number}", "price": "18.00"})
        follower = Follower(ada.api, limit=2)
        seen = []
        for more in (True, True, False):
            seen.append([event["data"]["name"] for event in await follower.poll()])
            assert follower.more is more
        assert seen == [["Tea 0", "Tea 1"], ["Tea 2", "Tea 3"], ["Tea 4"]]
        assert (await follower.poll(), follower.more) == ([], False)

    async def test_the_link_is_the_next_page(self, make: Make) -> None:
        ada = await make.admin()
        for number in range(2):
            await ada.api.post("/items", json={"name": f"Tea {number}", "price": "18.00"})
        answer = await ada.api.get("/events?types=item.*&limit=1")
        position = answer.headers[POSITION]
        assert answer.headers["link"] == (
            f'<{V1}/events?after={position}&types=item.%2A&limit=1>; rel="next"'
        )

    async def test_an_empty_answer_has_a_position_which_goes_past_what_was_left_out(self, make: Make) -> None:
        ada = await make.admin()
        orders = Follower(ada.api, types="order.*")
        assert await orders.poll() == []
        beginning = orders.after
        await ada.api.post("/items", json={"name": "Chai", "price": "18.00"})
        assert await orders.poll() == []
        assert orders.after != beginning
        everything = Follower(ada.api, after=orders.after)
        assert await everything.poll() == []

    async def test_what_comes_after_the_latest_position(self, make: Make) -> None:
        ada = await make.admin()
        await ada.api.post("/items", json={"name": "Chai", "price": "18.00"})
        answer = await ada.api.get("/events?after=now")
        assert (answer.json(), "link" in answer.headers) == ([], False)
        chang = (await ada.api.post("/items", json={"name": "Chang", "price": "19.00"})).json()
        follower = Follower(ada.api, after=answer.headers[POSITION])
        assert await follower.seen() == [("item.created", chang["id"])]

    async def test_it_goes_on_after_an_event_in_the_middle(self, make: Make) -> None:
        ada = await make.admin()
        for number in range(3):
            await ada.api.post("/items", json={"name": f"Tea {number}", "price": "18.00"})
        _, middle, last = await Follower(ada.api).poll()
        assert await Follower(ada.api, after=middle["position"]).poll() == [last]

    async def test_a_long_text_is_shortened_as_for_webhooks(self, make: Make) -> None:
        ada = await make.admin()
        await ada.api.post("/posts", json={"title": "News", "body": "茶" * 9_000})
        [event] = await Follower(ada.api).poll()
        assert event["data"]["shortened"] is True
        assert event["data"]["body"].endswith("茶…")

    async def test_events_of_rare_types_are_found_far_away(
        self, make: Make, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada, maria, chai = await make.admin(), await make.user(), await make.item(stock=5)
        await sql.execute(
            "INSERT INTO events (type, object_id, data) SELECT 'user.erased', 1, '{\"id\": 1}'"
            " FROM generate_series(1, 5001)"
        )
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})).json()
        for _ in range(3):  # each gives a part of them their places
            await end_of_feed(ada.api)
        orders = Follower(ada.api, types="order.placed")
        assert (await orders.seen(), orders.more) == ([], True)
        assert (await orders.seen(), orders.more) == ([("order.placed", order["id"])], False)


class TestTypes:
    async def test_only_those(self, make: Make) -> None:
        ada, maria, chai = await make.admin(), await make.user(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})).json()
        await ada.api.patch(f"/items/{chai.id}", json={"price": "19.00"})
        await ada.api.delete(f"/items/{chai.id}")
        placed, updated, withdrawn = (
            ("order.placed", order["id"]),
            ("item.updated", chai.id),
            ("item.withdrawn", chai.id),
        )
        for types, seen in (
            ("item.updated", [updated]),
            ("item.*", [updated, withdrawn]),
            ("order.*,item.withdrawn", [placed, withdrawn]),
            ("user.*", []),
        ):
            assert await Follower(ada.api, types=types).seen() == seen

    @pytest.mark.parametrize("types", ["order.lost", "order", "*", "", "order.placed,", " order.placed"])
    async def test_an_unknown_one(self, make: Make, types: str) -> None:
        answer = await (await make.admin()).api.get("/events", params={"types": types})
        problem = assert_problem(answer, 422, "invalid_input", "?types")
        assert problem["errors"][0]["code"] == "unknown_value"


class TestCallers:
    async def test_a_key_gets_what_it_may_read(self, make: Make) -> None:
        ada, maria, chai = await make.admin(), await make.user(), await make.item(stock=5)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})).json()
        await ada.api.patch(f"/items/{chai.id}", json={"price": "19.00"})
        post = (await ada.api.post("/posts", json={"title": "News", "body": "Chai."})).json()
        await maria.api.patch("/users/profile", json={"full_name": "Ana Trujillo"})
        seen = {
            "orders:read": ("order.placed", order["id"]),
            "catalogue:read": ("item.updated", chai.id),
            "posts:read": ("post.published", post["id"]),
            "users:read": ("user.updated", maria.id),
        }
        for scope, event in seen.items():
            machine = await make.key("events:read", scope)  # type: ignore[arg-type]
            assert await Follower(machine.api).seen() == [event]
        alone = await make.key("events:read")
        assert await Follower(alone.api).seen() == []

    async def test_types_that_a_key_may_not_read_are_refused(self, make: Make) -> None:
        machine = await make.key("events:read", "orders:read")
        for types in ("item.updated", "item.*", "order.*,stock.changed"):
            answer = await machine.api.get("/events", params={"types": types})
            assert_problem(answer, 403, "insufficient_scope")
            assert 'scope="catalogue:read"' in answer.headers["www-authenticate"]

    async def test_a_key_without_its_scope(self, make: Make) -> None:
        machine = await make.key("orders:read")
        assert_problem(await machine.api.get("/events"), 403, "insufficient_scope")

    async def test_every_type_is_about_something_that_has_a_scope(self, make: Make) -> None:
        ada = await make.admin()
        answer = await ada.api.get("/events", params={"types": ",".join(EVENT_TYPES)})
        assert answer.status_code == 200


class TestPositions:
    @pytest.mark.parametrize("position", ["7", "AAAAAAAAAAAAAAAA", "2026-11-22T10:30:00Z", "é" * 16, ""])
    async def test_one_that_was_made_up(self, make: Make, position: str) -> None:
        answer = await (await make.admin()).api.get("/events", params={"after": position})
        assert assert_problem(answer, 410, "position_unknown")["detail"] == ANEW

    async def test_one_of_an_event_that_a_restore_has_lost(self, make: Make, sql: asyncpg.Connection) -> None:
        ada = await make.admin()
        for name in ("Chai", "Chang"):
            await ada.api.post("/items", json={"name": name, "price": "18.00"})
        chai, chang = await Follower(ada.api).poll()
        await sql.execute("DELETE FROM events WHERE data ->> 'name' = 'Chang'")
        await ada.api.post("/items", json={"name": "Syrup", "price": "18.00"})
        answer = await ada.api.get("/events", params={"after": chang["position"]})
        assert assert_problem(answer, 410, "position_unknown")["detail"] == ANEW
        [syrup] = await Follower(ada.api, after=chai["position"]).poll()
        assert syrup["data"]["name"] == "Syrup"

    async def test_one_that_has_expired(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        beginning = await end_of_feed(ada.api)
        for name in ("Chai", "Chang", "Syrup"):
            await ada.api.post("/items", json={"name": name, "price": "18.00"})
        chai, chang, syrup = await Follower(ada.api).poll()
        await sql.execute(
            "UPDATE events SET sequenced_at = sequenced_at - interval '31 days'"
            " WHERE data ->> 'name' <> 'Syrup'"
        )
        chai, chang, _ = await Follower(ada.api).poll()
        assert await purge(container, 30 * DAY) == 2
        for expired in (beginning, chai["position"]):
            answer = await ada.api.get("/events", params={"after": expired})
            assert assert_problem(answer, 410, "position_unknown")["detail"] == ANEW
        # It has missed nothing.
        assert await Follower(ada.api, after=chang["position"]).poll() == [syrup]
        assert await Follower(ada.api).poll() == [syrup]

    async def test_of_a_shop_where_nothing_has_happened_for_long(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        await ada.api.post("/items", json={"name": "Chai", "price": "18.00"})
        await Follower(ada.api).poll()
        await sql.execute("UPDATE events SET sequenced_at = sequenced_at - interval '31 days'")
        position = await end_of_feed(ada.api)
        assert await purge(container, 30 * DAY) == 1
        assert await end_of_feed(ada.api) == position
        follower = Follower(ada.api, after=position)
        assert (await follower.poll(), follower.after) == ([], position)
        await ada.api.post("/items", json={"name": "Chang", "price": "18.00"})
        assert [event["data"]["name"] for event in await follower.poll()] == ["Chang"]

    async def test_before_anything_has_happened(self, make: Make) -> None:
        ada = await make.admin()
        follower = Follower(ada.api, after=await end_of_feed(ada.api))
        assert await follower.poll() == []
        await ada.api.post("/items", json={"name": "Chai", "price": "18.00"})
        assert [event["data"]["name"] for event in await follower.poll()] == ["Chai"]


class TestPurging:
    async def test_the_first_ones_as_many_as_there_may_be(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        for number in range(3):
            await ada.api.post("/items", json={"name": f"Tea {number}", "price": "18.00"})
        await Follower(ada.api).poll()
        await sql.execute("UPDATE events SET sequenced_at = sequenced_at - interval '31 days'")
        left = await Follower(ada.api).poll()
        for gone in range(1, 4):
            async with container.database.transaction() as session:
                assert await events.purge(session, 30 * DAY, most=1) == 1
            assert await Follower(ada.api).poll() == left[gone:]
        assert await purge(container, 30 * DAY) == 0

    async def test_what_has_no_place_yet_stays(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        await ada.api.post("/items", json={"name": "Chai", "price": "18.00"})
        await sql.execute("UPDATE events SET occurred_at = occurred_at - interval '31 days'")
        assert await purge(container, 30 * DAY) == 0
        assert [event["data"]["name"] for event in await Follower(ada.api).poll()] == ["Chai"]
