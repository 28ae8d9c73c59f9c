"""What customers are written about their orders, through the API, the events and the worker's jobs."""

import asyncio
from typing import Any

import asyncpg
import pytest

from service.container.api import Container
from service.container.worker import CONSUMERS
from service.events.fan_out import FanOut
from service.platform.jobs.kinds import Attempt
from service.platform.mail import repository as mails
from service.platform.mail.rendering import Message
from service.platform.mail.transports import Outcome
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.mailbox import send_mails

HOME = {
    "name": "Maria <b>Anders</b>",
    "street": "Obere Str. 57",
    "city": "Berlin",
    "region": None,
    "postal_code": "12209",
    "country": "DE",
}
URL = "https://shop.example"


class Inbox:
    def __init__(self, container: Container) -> None:
        self._parts, self.messages = container, list[Message]()

    async def deliver(self, message: Message) -> Outcome:
        self.messages.append(message)
        return "sent"

    async def new(self, **settings: Any) -> list[Message]:
        """What has been sent since the last time."""
        self.messages.clear()
        await send_mails(self._parts, self, **settings)
        return sorted(self.messages, key=lambda message: message.subject)


@pytest.fixture
def inbox(container: Container) -> Inbox:
    return Inbox(container)


@pytest.fixture
async def anna(make: Make) -> Person:
    """Her address is not verified."""
    return await make.user(full_name="Anna Buy-at-evil.example", address=HOME)


@pytest.fixture
async def maria(make: Make, sql: asyncpg.Connection) -> Person:
    person = await make.user(full_name="Maria <b>Anders</b>", address=HOME)
    await sql.execute("UPDATE users SET email_verified = true WHERE id = $1", person.id)
    return person


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


async def placed(make: Make, person: Person, *, tofu_quantity: int = 90, **more: Any) -> int:
    chai = await make.item(name="Chai <i>20</i>", price="18.00", stock=100)
    tofu = await make.item(name="Tofu", price="1.11", stock=5000)
    lines = [{"product_id": chai.id, "quantity": 3}, {"product_id": tofu.id, "quantity": tofu_quantity}]
    answer = await person.api.post("/orders", json={"lines": lines, "reference": "PO <4711>", **more})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def rows(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await sql.fetch("SELECT kind, status, reason FROM mails ORDER BY id")]


class TestPlaced:
    async def test_is_confirmed_to_the_cent(
        self, make: Make, maria: Person, inbox: Inbox, sql: asyncpg.Connection
    ) -> None:
        order_id = await placed(make, maria)
        [message] = await inbox.new(public_url=URL)
        assert (message.to, message.subject) == (maria.email, f"We have your order {order_id}")
        day = (await sql.fetchval("SELECT placed_at FROM orders")).astimezone().strftime("%B %Y")
        head, rest = message.text.split(f"Your order {order_id}, placed on ", 1)
        assert head == (
            "Dear Maria <b>Anders</b>,\n\nThank you for your order. We write again when it is on its way.\n\n"
        )
        assert rest.partition("\n")[0].endswith(day)
        assert rest.partition("\n\n")[2] == (
            "3 x Chai <i>20</i>\n18.00 each: 54.00 USD\n\n"
            "90 x Tofu\n1.11 each: 99.90 USD\n\n"
            "Goods: 153.90 USD\nShipping (standard): 0.00 USD\nTotal: 153.90 USD\n\n"
            "Your reference: PO <4711>\n\n"
            "It goes to:\nMaria <b>Anders</b>\nObere Str. 57\n12209 Berlin\nDE\n\n"
            f"Your order in the shop: {URL}/orders/{order_id}\n\n"
            f"Tradepost\n{URL}\n"
        )
        assert "<i>" not in message.html
        assert "<b>" not in message.html
        assert "Chai &lt;i&gt;20&lt;/i&gt;" in message.html

    async def test_agreed_prices_and_discounts_are_named(
        self, make: Make, maria: Person, ada: Person, inbox: Inbox
    ) -> None:
        chai = await make.item(name="Chai", price="18.00", stock=9)
        line = {"product_id": chai.id, "quantity": 3, "unit_price": "10.01", "discount_pct": "12.50"}
        answer = await ada.api.post("/orders", json={"user_id": maria.id, "lines": [line]})
        order = answer.json()
        assert answer.status_code == 201
        [message] = await inbox.new()
        assert "3 x Chai\n10.01 each, less 12.50 %: 26.28 USD\n" in message.text
        assert "Goods: 30.03 USD\nDiscount: -3.75 USD\n" in message.text
        assert f"Total: {order['total']} USD" in message.text
        # Whose order it is, not who has entered it.
        assert message.to == maria.email

    async def test_once_however_often_the_event_is_handled(
        self, make: Make, maria: Person, inbox: Inbox, container: Container, sql: asyncpg.Connection
    ) -> None:
        await placed(make, maria)
        event_id = await sql.fetchval("SELECT id FROM events WHERE type = 'order.placed'")
        assert len(await inbox.new()) == 1
        fan_out = FanOut(container.database, CONSUMERS)
        for _ in range(3):
            await fan_out.run(Attempt({"event_id": event_id}, 1, 12))
        assert await inbox.new() == []
        assert await rows(sql) == [("order_placed", "sent", None)]

    async def test_the_id_of_the_message_names_the_event(
        self, make: Make, maria: Person, inbox: Inbox, sql: asyncpg.Connection
    ) -> None:
        await placed(make, maria)
        event_id = await sql.fetchval("SELECT id FROM events WHERE type = 'order.placed'")
        [message] = await inbox.new()
        about, random = message.message_id.rsplit(".", 1)
        assert (about, len(random)) == (f"event-{event_id}.order_placed", 16)

    async def test_a_refused_order_is_not(self, make: Make, maria: Person, inbox: Inbox) -> None:
        chai = await make.item(stock=1)
        answer = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        assert answer.status_code == 409
        assert await inbox.new() == []


class TestMoved:
    async def test_shipped_names_the_tracking(
        self, make: Make, maria: Person, ada: Person, inbox: Inbox
    ) -> None:
        order_id = await placed(make, maria)
        await inbox.new()
        await ada.api.post(f"/orders/{order_id}/pay", json={"reference": "ch_1"})
        assert await inbox.new() == []
        answer = await ada.api.post(f"/orders/{order_id}/ship", json={"tracking": "1Z999"})
        assert answer.status_code == 200, answer.text
        [message] = await inbox.new()
        assert message.subject == f"Your order {order_id} is on its way"
        assert "Your order has left us.\n\nTracking: 1Z999\n\n" in message.text
        assert "Total: 153.90 USD" in message.text
        assert "ch_1" not in message.text + message.html
        await ada.api.post(f"/orders/{order_id}/deliver")
        assert await inbox.new() == []

    async def test_cancelled_names_the_reason_and_whether_there_is_something_to_give_back(
        self, make: Make, maria: Person, ada: Person, inbox: Inbox
    ) -> None:
        unpaid, paid = await placed(make, maria), await placed(make, maria)
        await ada.api.post(f"/orders/{paid}/pay", json={"reference": "ch_1"})
        await inbox.new()
        for order_id in (unpaid, paid):
            answer = await maria.api.post(f"/orders/{order_id}/cancel", json={"reason": "Ordered <twice>"})
            assert answer.status_code == 200
        first, second = await inbox.new()
        for message, order_id in ((first, unpaid), (second, paid)):
            assert message.subject == f"Your order {order_id} has been cancelled"
            assert "Nothing of it will be sent.\n\nReason: Ordered <twice>\n\n" in message.text
            assert "Ordered &lt;twice&gt;" in message.html
            assert "It goes to" not in message.text
        assert "given back" not in first.text
        assert "What you have paid for it will be given back." in second.text

    async def test_what_has_been_given_back_by_then_is_not_promised(
        self, make: Make, maria: Person, ada: Person, inbox: Inbox
    ) -> None:
        order_id = await placed(make, maria)
        await ada.api.post(f"/orders/{order_id}/pay", json={"reference": "ch_1"})
        await maria.api.post(f"/orders/{order_id}/cancel")
        await ada.api.post(f"/orders/{order_id}/refund", json={"reference": "re_1"})
        messages = await inbox.new()
        [cancelled] = [message.text for message in messages if message.kind == "order_cancelled"]
        assert "What you have paid for it has been given back." in cancelled


class TestToWhom:
    async def test_an_unverified_address_gets_no_words_of_the_account(
        self, make: Make, anna: Person, inbox: Inbox
    ) -> None:
        """Any client may register any address: the email would be the client's, in the shop's name."""
        ship_to = {**HOME, "name": "Pay at evil.example"}
        order_id = await placed(make, anna, reference="evil.example", ship_to=ship_to)
        await anna.api.post(f"/orders/{order_id}/cancel", json={"reason": "See evil.example"})
        messages = await inbox.new(public_url=URL)
        assert [message.kind for message in messages] == ["order_placed", "order_cancelled"]
        for message in messages:
            assert message.to == anna.email
            assert "evil" not in message.subject + message.text + message.html
            assert "Obere" not in message.text + message.html
            assert "Total: 153.90 USD" in message.text

    async def test_and_of_more_than_three_an_hour_one_every_fifteen_minutes(
        self, make: Make, anna: Person, maria: Person, inbox: Inbox, sql: asyncpg.Connection
    ) -> None:
        for person in (anna, maria):
            for _ in range(2):
                order_id = await placed(make, person)
                await person.api.post(f"/orders/{order_id}/cancel")
        sent_to = [message.to for message in await inbox.new()]
        assert (sent_to.count(anna.email), sent_to.count(maria.email)) == (3, 4)
        withheld = [reason for _, status, reason in await rows(sql) if status == "withheld"]
        assert withheld == ["too many lately"]
        for minutes, count in ((14, 0), (1, 1), (14, 0), (1, 1), (60, 3)):
            await sql.execute(
                "UPDATE mails SET ended_at = ended_at - make_interval(mins => $1) WHERE status = 'sent'",
                minutes,
            )
            for _ in range(4):
                await placed(make, anna, tofu_quantity=1)  # few: none is paid
            assert [message.to for message in await inbox.new()] == [anna.email] * count, minutes

    async def test_even_where_many_are_sent_at_once(self, make: Make, anna: Person, inbox: Inbox) -> None:
        chai = await make.item(stock=100)
        body = {"product_id": chai.id, "quantity": 1}
        await asyncio.gather(*(anna.api.post("/orders", json=body) for _ in range(8)))
        assert len(await inbox.new()) == 3

    async def test_a_deactivated_customer_still_gets_emails_about_their_orders(
        self, make: Make, maria: Person, inbox: Inbox, sql: asyncpg.Connection
    ) -> None:
        await placed(make, maria)
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", maria.id)
        assert [message.to for message in await inbox.new()] == [maria.email]

    async def test_who_is_gone_does_not(
        self, make: Make, maria: Person, ada: Person, inbox: Inbox, sql: asyncpg.Connection
    ) -> None:
        order_id = await placed(make, maria)
        await ada.api.post(f"/orders/{order_id}/pay", json={"reference": "ch_1"})
        deletion = {"current_password": PASSWORD}
        assert (await maria.api.request("DELETE", "/users/profile", json=deletion)).status_code == 204
        assert await inbox.new() == []
        assert (await ada.api.post(f"/orders/{order_id}/ship", json={"tracking": "1Z"})).status_code == 200
        assert await inbox.new() == []
        assert await rows(sql) == []

    async def test_an_order_that_is_not_there_any_more(
        self, maria: Person, inbox: Inbox, container: Container, sql: asyncpg.Connection
    ) -> None:
        async with container.database.transaction() as session:
            await mails.enqueue(session, "order_placed", user_id=maria.id, event_id=7, facts={"order_id": 99})
        assert await inbox.new() == []
        assert await rows(sql) == [("order_placed", "withheld", "no such order")]
