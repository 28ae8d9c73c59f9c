import asyncio
import hashlib
import itertools
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from service.container.api import Container
from service.invoices import service as invoices
from service.invoices.document import Document
from service.invoices.queue import InvoiceQueue
from service.invoices.renderer_process import RendererProcess
from service.platform.config import Settings
from service.platform.http.schemas import MAX_ID
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import until_void
from tests.helpers.orders import HOME, brought_to, placed
from tests.helpers.waiting import eventually
from tests.invoices.examples import NAMES, pages_of, squeezed

HEADING = "Item Quantity Unit price (USD) Discount % Amount (USD)"


def rendered() -> float:
    return REGISTRY.get_sample_value("invoices_total", {"outcome": "rendered"}) or 0


async def an_order(make: Make, **fields: Any) -> tuple[Person, dict[str, Any]]:
    maria, chai = await make.user(), await make.item(stock=100)
    return maria, await placed(maria, chai.id, 2, **fields)


async def lines_of(person: Person, order: dict[str, Any]) -> list[str]:
    """What stands on the invoice of one page."""
    answer = await person.api.get(f"/orders/{order['id']}/invoice.pdf")
    assert answer.status_code == 200, answer.text
    (page,) = pages_of(answer.content)
    return page.splitlines()


class Hanging(InvoiceQueue):
    """Renders when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def render(self, document: Document, subject: str) -> bytes:
        self.asked.set()
        await self.go_on.wait()
        return b"%PDF"


class TestGetInvoice:
    async def test_everything_of_the_order_stands_on_it(
        self, make: Make, sql: asyncpg.Connection, container: Container, app: FastAPI
    ) -> None:
        maria, admin = await make.user(full_name="Μαρία Ανδρέου"), await make.admin()
        tea = await make.item(name="日本の緑茶", price="7.35", stock=9)
        lines = [
            {"product_id": tea.id, "quantity": 3, "discount_pct": "12.50"},
            {"product_id": (await make.item(stock=9)).id, "quantity": 1},
        ]
        home = {**HOME, "name": "Ёлка Тест", "region": "BE"}
        body = {
            "user_id": maria.id,
            "lines": lines,
            "ship_to": home,
            "reference": "PO 4711",
            "shipping": "express",
        }
        order = (await admin.api.post("/orders", json=body)).json()
        number, day = order["id"], order["placed_at"][:10]
        paid = await admin.api.post(f"/orders/{number}/pay", json={"reference": "pi_3OqJ8z"})
        assert paid.status_code == 200, paid.text

        assert await lines_of(maria, order) == [
            "Tradepost Invoice", "PAID", f"Paid on {paid.json()['paid_at'][:10]}",
            "Billed to", "Μαρία Ανδρέου",
            "Ship to", "Ёлка Тест", "Obere Str. 57", "12209 Berlin", "BE", "DE",
            f"Invoice number {number}", f"Invoice date {day}", f"Order number {number}",
            "Your reference PO 4711", "Payment reference pi_3OqJ8z",
            HEADING, "日本の緑茶 3 7.35 12.50 19.29", "Chai 1 18.00 0.00 18.00",
            "Subtotal 40.05", "Discount -2.76", "Shipping (express) 0.00", "Total (USD) 37.29",
            f"Invoice {number} Page 1 of 1",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("status", "state", "told"),
        [
            ("placed", "UNPAID", "Payment is due"),
            ("paid", "PAID", "Paid on {day}"),
            ("shipped", "PAID", "Paid on {day}, shipped on {day}"),
            ("delivered", "PAID", "Paid on {day}, shipped on {day}, delivered on {day}"),
            ("cancelled", "CANCELLED", "Cancelled on {day}"),
            ("refund_due", "CANCELLED", "Paid on {day}, cancelled on {day}, refund is due"),
            ("refunded", "REFUNDED", "Paid on {day}, cancelled on {day}, refunded on {day}"),
        ],
    )
    async def test_says_plainly_how_things_stand(
        self, make: Make, sql: asyncpg.Connection, status: str, state: str, told: str
    ) -> None:
        maria, order = await an_order(make)
        await brought_to(sql, order, status)
        lines = await lines_of(maria, order)
        start, end = lines.index("Tradepost Invoice") + 1, lines.index("Billed to")
        told = told.format(day=order["placed_at"][:10])
        assert [lines[start], " ".join(lines[start + 1 : end])] == [state, told]

    async def test_an_order_without_an_address_has_an_invoice(self, make: Make) -> None:
        maria, order = await an_order(make)
        lines = await lines_of(maria, order)
        assert lines[lines.index("Ship to") + 1] == "-"

    async def test_a_hundred_lines_in_the_worlds_scripts(self, make: Make) -> None:
        admin = await make.admin()
        names = [f"{number} {NAMES[number % len(NAMES)]}"[:200] for number in range(100)]
        items = [{"name": name, "price": f"{number}.10", "stock": 9} for number, name in enumerate(names, 1)]
        made = (await admin.api.post("/items/batch", json=items)).json()
        lines = [{"product_id": item["id"], "quantity": 2, "discount_pct": "5.00"} for item in made]
        order = (await admin.api.post("/orders", json={"user_id": admin.id, "lines": lines})).json()

        pages = pages_of((await admin.api.get(f"/orders/{order['id']}/invoice.pdf")).content)

        assert [page.splitlines()[-1] for page in pages] == [
            f"Invoice {order['id']} Page {number} of {len(pages)}" for number in range(1, len(pages) + 1)
        ]
        assert [page.splitlines().count(HEADING) for page in pages] == [1] * len(pages)
        whole = squeezed("".join(page.partition(HEADING)[2].rpartition("\nInvoice ")[0] for page in pages))
        rows = [f"{each['name']} 2 {each['unit_price']} 5.00 {each['line_total']}" for each in order["lines"]]
        sums = [f"Subtotal {order['subtotal']}", f"Discount -{order['discount']}", "Shipping (standard) 0.00"]
        assert whole == squeezed("".join([*rows, *sums, f"Total (USD) {order['total']}"]))

    async def test_is_a_file_of_its_name_that_no_cache_keeps(self, make: Make) -> None:
        maria, order = await an_order(make)
        answer = await maria.api.get(f"/orders/{order['id']}/invoice.pdf")
        assert answer.content.startswith(b"%PDF-")
        names = ("content-type", "content-disposition", "cache-control")
        assert [answer.headers[name] for name in names] == [
            "application/pdf",
            f'inline; filename="invoice-{order["id"]}.pdf"',
            "private, no-store",
        ]
        assert int(answer.headers["content-length"]) == len(answer.content)

    async def test_a_client_that_knows_no_pdf_gets_the_same_bytes(self, make: Make) -> None:
        maria, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        answer = await maria.api.get(path, headers={"Accept": "application/octet-stream"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
        assert answer.content == (await maria.api.get(path)).content
        assert_problem(await maria.api.get(path, headers={"Accept": "image/png"}), 406, "not_acceptable")

    async def test_another_persons_is_as_if_it_did_not_exist(self, make: Make, api: Api) -> None:
        _, order = await an_order(make)
        other, before = await make.user(), rendered()
        problem = assert_problem(await other.api.get(f"/orders/{order['id']}/invoice.pdf"), 404, "not_found")
        missing = assert_problem(await other.api.get(f"/orders/{MAX_ID}/invoice.pdf"), 404, "not_found")
        assert problem["detail"] == missing["detail"]
        assert_problem(await api.get(f"/orders/{order['id']}/invoice.pdf"), 401, "unauthenticated")
        assert rendered() == before

    async def test_a_key_reads_everybodys_with_its_scope_alone(self, make: Make) -> None:
        _, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        reader, writer = await make.key("orders:read"), await make.key("orders:write")
        assert (await reader.api.get(path)).status_code == 200
        assert_problem(await writer.api.get(path), 403, "insufficient_scope")

    @pytest.mark.parametrize("order_id", ["0", "x", str(MAX_ID + 1)])
    async def test_bad_ids(self, make: Make, order_id: str) -> None:
        answer = await (await make.user()).api.get(f"/orders/{order_id}/invoice.pdf")
        assert_problem(answer, 422, "invalid_input", "{order_id}")

    async def test_other_media_types_are_not_to_be_had(self, make: Make) -> None:
        maria, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        assert_problem(
            await maria.api.get(path, headers={"Accept": "application/json"}), 406, "not_acceptable"
        )


class TestTag:
    async def test_who_has_it_already_gets_304_and_nothing_is_rendered(self, make: Make) -> None:
        maria, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        first = await maria.api.get(path)
        tag, before = first.headers["etag"], rendered()
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await maria.api.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b"")
            assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "private, no-store")
        assert rendered() == before

    async def test_the_same_order_gives_the_same_tag_and_the_same_bytes(self, make: Make) -> None:
        maria, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        first, second = await maria.api.get(path), await maria.api.get(path)
        assert first.headers["etag"] == second.headers["etag"]
        assert hashlib.sha256(first.content).digest() == hashlib.sha256(second.content).digest()

    async def test_a_change_of_the_order_is_another_invoice(self, make: Make) -> None:
        maria, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        first = await maria.api.get(path)
        assert (await maria.api.put(f"/orders/{order['id']}/ship-to", json=HOME)).status_code == 200
        second = await maria.api.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert second.status_code == 200
        assert second.headers["etag"] != first.headers["etag"]
        assert "Obere Str. 57" in pages_of(second.content)[0].splitlines()

    async def test_another_build_or_seller_is_another_invoice(
        self, make: Make, container: Container, settings: Settings
    ) -> None:
        maria, order = await an_order(make)

        async def tag(settings: Settings, renderer: str) -> str:
            found = await invoices.get(
                container.database, settings, maria.caller, order["id"], renderer=renderer
            )
            return found.tag

        here = await tag(settings, "a")
        elsewhere = settings.model_copy(update={"seller": "Tea & Sons\n\nLondon "})
        assert len({here, await tag(settings, "b"), await tag(elsewhere, "a")}) == 3
        assert await tag(settings, "a") == here
        assert here.startswith('"1-')


class TestOverload:
    @pytest.fixture
    async def queue(self, app: FastAPI, container: Container) -> AsyncIterator[InvoiceQueue]:
        """A queue of the test's own, which takes one invoice at a time and lets none wait."""
        process = RendererProcess("tests.invoices.stand_in", seconds=60.0)
        queue = InvoiceQueue(process, waiting=0, seconds=60.0)
        app.state.container = replace(container, invoices=queue)
        yield queue
        app.state.container = container
        queue.close()

    async def test_a_full_queue_is_503_at_once_and_passes(self, make: Make, queue: InvoiceQueue) -> None:
        maria, order = await an_order(make)
        path = f"/orders/{order['id']}/invoice.pdf"
        tag = (await maria.api.get(path)).headers["etag"]
        queue._pending += 1
        for headers in ({}, {"If-None-Match": '"other"'}):
            answer = await maria.api.get(path, headers=headers)
            assert_problem(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "2"
        assert (await maria.api.get(path, headers={"If-None-Match": tag})).status_code == 304
        queue._pending -= 1
        assert (await maria.api.get(path)).status_code == 200

    async def test_what_is_refused_has_asked_the_database_nothing(
        self, make: Make, queue: InvoiceQueue, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria, order = await an_order(make)
        monkeypatch.setattr(queue, "_pending", 1)
        monkeypatch.setattr(invoices, "get", None)
        assert_problem(await maria.api.get(f"/orders/{order['id']}/invoice.pdf"), 503, "overloaded")

    async def test_a_process_that_dies_costs_one_answer(self, make: Make, queue: InvoiceQueue) -> None:
        maria, chai = await make.user(full_name="dies"), await make.item(stock=100)
        order = await placed(maria, chai.id)
        answer = await maria.api.get(f"/orders/{order['id']}/invoice.pdf")
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        ana, other = await an_order(make)
        assert (await ana.api.get(f"/orders/{other['id']}/invoice.pdf")).status_code == 200

    async def test_a_rendering_error_is_500_without_details(self, make: Make, queue: InvoiceQueue) -> None:
        maria, chai = await make.user(full_name="fails"), await make.item(stock=100)
        order = await placed(maria, chai.id)
        answer = await maria.api.get(f"/orders/{order['id']}/invoice.pdf")
        assert_problem(answer, 500, "internal_error")
        assert "ZeroDivisionError" not in answer.text

    async def test_one_customer_who_floods_leaves_others_served(
        self, make: Make, container: Container
    ) -> None:
        """With the queue that ships, whose process stands still until the flood is there."""
        queue = container.invoices
        (flood, many), (maria, one) = await an_order(make), await an_order(make)
        again = await make.signed_in_again(flood)
        assert (await maria.api.get(f"/orders/{one['id']}/invoice.pdf")).status_code == 200
        assert queue.process.pid is not None
        os.kill(queue.process.pid, signal.SIGSTOP)
        try:
            asked = [
                asyncio.create_task(person.api.get(f"/orders/{many['id']}/invoice.pdf"))
                for person in (flood, again)
                for _ in range(20)
            ]
            refused = [await each for each in itertools.islice(asyncio.as_completed(asked), 40 - queue.share)]
            served = asyncio.create_task(maria.api.get(f"/orders/{one['id']}/invoice.pdf"))
            await eventually(lambda: queue._pending == queue.share + 1)
        finally:
            os.kill(queue.process.pid, signal.SIGCONT)
        for answer in refused:
            problem = assert_problem(answer, 429, "too_many_requests")
            assert problem["detail"] == (
                "3 invoices of yours are being rendered already. Request one after the other."
            )
            assert answer.headers["retry-after"] == "2"
        assert (await served).status_code == 200
        answers = await asyncio.gather(*asked)
        assert [answer.status_code for answer in answers].count(200) == queue.share

    async def test_whose_session_ends_while_it_is_rendered_gets_none(
        self, make: Make, app: FastAPI, container: Container
    ) -> None:
        maria, order = await an_order(make)
        queue = Hanging()
        app.state.container = replace(container, invoices=queue)
        try:
            task = asyncio.create_task(maria.api.get(f"/orders/{order['id']}/invoice.pdf"))
            await queue.asked.wait()
            assert (await maria.api.delete("/auth/sessions")).status_code == 204
            await until_void(maria.api)
            queue.go_on.set()
            assert_problem(await task, 401, "invalid_token")
        finally:
            app.state.container = container
            queue.close()

    async def test_no_connection_is_held_while_it_is_rendered(
        self, make: Make, app: FastAPI, container: Container
    ) -> None:
        maria, order = await an_order(make)
        queue = Hanging()
        app.state.container = replace(container, invoices=queue)
        try:
            task = asyncio.create_task(maria.api.get(f"/orders/{order['id']}/invoice.pdf"))
            await queue.asked.wait()
            held = container.database.pool_usage[0]
            queue.go_on.set()
            assert (await task).status_code == 200
        finally:
            app.state.container = container
            queue.close()
        assert held == 0
