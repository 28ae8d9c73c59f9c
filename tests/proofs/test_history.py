"""The checker of histories: a good one holds, and each rule finds the fault that it is for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from proofs.history.answers import undisturbed
from proofs.history.evidence import Evidence
from proofs.history.rules import RULES, check, judge
from proofs.load import ABANDONED
from tests.proofs.histories import (
    BEGINNING,
    CAKE,
    FIRST,
    LATER,
    LINES,
    SECOND,
    SUMS,
    TEA,
    Book,
    good,
    shown,
    wanted,
)

Mutation = Callable[[Book], object]


def test_a_good_history_holds() -> None:
    book = good()
    assert check(book.history, book.final) == []


@pytest.mark.parametrize("group", RULES)
def test_each_rule_looks_at_something(group: str) -> None:
    """A rule that finds nothing to check would hold for ever."""
    book = good()
    evidence = Evidence(book.history, book.final)
    assert [rule.__name__ for rule in RULES[group] if not list(rule(evidence))] == []


def test_groups_can_be_left_out() -> None:
    book = good()
    judgement = judge(book.history, book.final, leave_out={"stock", "reads"})
    assert set(judgement.checks) == set(RULES) - {"stock", "reads"}


def _lose_order(book: Book) -> None:
    del book.final.orders[0]


def _double_order(book: Book) -> None:
    book.final.orders.append(replace(book.final.orders[0], id=99))


def _keep_refused_order(book: Book) -> None:
    book.final.orders.append(replace(book.final.orders[1], id=99, reference="order-99"))


def _strange_order(book: Book) -> None:
    book.final.orders.append(replace(book.final.orders[1], id=99, reference="order-never"))


def _other_lines(book: Book) -> None:
    book.final.orders[1].lines = [[TEA, 1, "24.00", "0.00", "24.00"]]


def _other_replay(book: Book) -> None:
    book.found("order.place")[3].digest = "another body"


def _done_twice(book: Book) -> None:
    for call in book.found("order.place")[2:4]:
        call.replayed = False


def _refused_and_done(book: Book) -> None:
    lost = book.found("order.place")[0]
    lost.status, lost.code, lost.retry_after = 503, "unavailable", "1"


def _key_taken_twice(book: Book) -> None:
    misuse = book.found("order.misuse_key")[0]
    misuse.status, misuse.code, misuse.body = 201, None, shown(FIRST, ["placed"], LINES, SUMS)


def _a_cent_too_much(book: Book) -> None:
    book.final.orders[0].amounts = {**SUMS, "total": "27.79"}


def _rounded_down(book: Book) -> None:
    book.final.orders[0].lines = [LINES[0], [CAKE, 1, "0.35", "5.00", "0.34"]]


def _two_fees(book: Book) -> None:
    book.final.orders.append(replace(book.final.orders[0], amounts={**SUMS, "shipping_fee": "0.00"}))


def _price_of_before(book: Book) -> None:
    lines = [[TEA, 2, "10.00", "0.00", "20.00"]]
    sums = {"subtotal": "20.00", "discount": "0.00", "shipping_fee": "0.00", "total": "20.00"}
    book.call("order.place", 201, key="order-13", sent=wanted(lines), body=shown(13, ["placed"], lines, sums))


def _unit_gone(book: Book) -> None:
    book.final.items[TEA].stock -= 1


def _adjusted_twice(book: Book) -> None:
    book.final.movements.append(replace(book.final.movements[7], id=98))


def _oversold(book: Book) -> None:
    book.final.movements[0].delta = 2


def _sold_twice(book: Book) -> None:
    book.final.movements.append(replace(book.final.movements[8], id=98))


def _not_put_back(book: Book) -> None:
    del book.final.movements[5]


def _stale_item(book: Book) -> None:
    stale = book.found("item.read")[1]
    stale.body = {**stale.body, "version": 1, "price": "10.00"}


def _stale_tag(book: Book) -> None:
    book.found("item.read")[2].version = 1


def _own_write_unseen(book: Book) -> None:
    book.found("profile.read")[0].version = 1


def _two_contents(book: Book) -> None:
    read = book.found("item.read")[1]
    read.body = {**read.body, "availability": "low_stock"}


def _not_in_own_list(book: Book) -> None:
    book.found("order.list")[0].body = []


def _price_from_nowhere(book: Book) -> None:
    read = book.found("item.read")[0]
    read.body = {**read.body, "price": "9.99"}


def _name_from_nowhere(book: Book) -> None:
    book.found("profile.read")[0].body = {"id": 7, "full_name": "Another"}


def _left_out_of_list(book: Book) -> None:
    book.found("item.list")[1].body = []


def _twice_in_list(book: Book) -> None:
    pages = book.found("item.list")
    pages[1].body = [*pages[0].body, *pages[1].body]


def _lost_update(book: Book) -> None:
    book.found("item.price")[0].sent["if_version"] = 0


def _accepted_when_revoked(book: Book) -> None:
    late = book.found("credential.use")[2]
    late.status, late.code = 200, None


def _refused_when_good(book: Book) -> None:
    book.found("credential.use")[0].status = 401


def _backwards(book: Book) -> None:
    order = book.final.orders[0]
    order.status, order.timeline = "paid", ["placed", "paid"]


def _forbidden_path(book: Book) -> None:
    order = book.final.orders[1]
    order.status, order.timeline = "shipped", ["placed", "shipped"]


def _answered_and_not_done(book: Book) -> None:
    book.found("order.pay")[0].body = shown(FIRST, ["placed"], LINES, SUMS)


def _refused_without_reason(book: Book) -> None:
    book.call("order.pay", 409, key="pay-2", sent={"order": SECOND}, code="invalid_transition")


def _webhook_missing(book: Book) -> None:
    del book.final.deliveries[1]


def _webhook_only_refused(book: Book) -> None:
    book.final.deliveries[1].accepted = False


def _post_webhook_missing(book: Book) -> None:
    del book.final.deliveries[-1]


def _two_ids(book: Book) -> None:
    book.final.deliveries.append(replace(book.final.deliveries[0], message_id="evt_98"))


def _two_bodies(book: Book) -> None:
    book.final.deliveries.append(replace(book.final.deliveries[0], digest="another"))


def _one_id_for_two(book: Book) -> None:
    book.final.deliveries[1].message_id = book.final.deliveries[0].message_id


def _unsigned(book: Book) -> None:
    book.final.deliveries[0].signed = False


def _webhook_of_nothing(book: Book) -> None:
    book.deliver("order.placed", 98, 1, total="1.00")


def _webhook_of_other_total(book: Book) -> None:
    book.final.deliveries[0].data["total"] = "27.79"


def _webhook_of_another_order(book: Book) -> None:
    book.final.deliveries[0].data["reference"] = f"order-{SECOND}"


def _webhook_before_its_state(book: Book) -> None:
    book.final.deliveries[1].data["status"] = "placed"


def _post_twice(book: Book) -> None:
    book.deliver("post.published", 6, 1, title="News")


def _other_price_than_named(book: Book) -> None:
    book.found("order.place")[-1].sent["lines"][0]["unit_price"] = "10.00"


def _without_the_discount(book: Book) -> None:
    book.found("order.place")[-1].sent["lines"][0]["discount_pct"] = "5.00"


def _sent_another_way(book: Book) -> None:
    book.found("order.place")[-1].sent["shipping"] = "express"


def _refused_with_enough_stock(book: Book) -> None:
    book.found("order.place")[5].sent["lines"][0]["quantity"] = 49


def _adjustment_refused_with_enough_stock(book: Book) -> None:
    sent = {"item": TEA, "delta": -3, "reason": "stock-2"}
    book.call("stock.adjust", 409, key="stock-2", sent=sent, code="out_of_stock")


def _right_price_refused(book: Book) -> None:
    book.found("order.place")[6].sent["lines"][0]["unit_price"] = "0.35"


def _refused_for_a_price_that_it_does_not_name(book: Book) -> None:
    del book.found("order.place")[6].sent["lines"][0]["unit_price"]


def _change_skipped(book: Book) -> None:
    book.found("list.poll")[1].body = []


def _change_skipped_and_sent_later(book: Book) -> None:
    _change_skipped(book)
    sent = {"list": "items", "since": LATER, "limit": 100}
    book.call("list.poll", sent=sent, mark=LATER, body=[[TEA, 2]])


def _removal_skipped(book: Book) -> None:
    book.found("list.poll")[2].body = []


def _copy_goes_back(book: Book) -> None:
    polls = book.found("list.poll")
    polls[0].body, polls[1].body = [[TEA, 2], [CAKE, 1], [3, 1]], [[TEA, 1]]


def _mark_goes_back(book: Book) -> None:
    book.found("list.poll")[1].mark = BEGINNING


def _never_ended(book: Book) -> None:
    book.found("list.poll")[1].sent["limit"] = 1


def _two_successors(book: Book) -> None:
    second = book.found("session.refresh")[2]
    second.body = {**second.body, "refresh": "r9"}


def _one_successor_of_two(book: Book) -> None:
    body = {"access": "a5", "refresh": "r1", "expires_in": 600}
    book.call("session.refresh", sent={"token": "r8"}, body=body)


def _signed_out_by_a_lost_answer(book: Book) -> None:
    answered = book.found("session.refresh")[1:3]
    for call in answered:
        call.status, call.code, call.body = 400, "invalid_grant", None


def _theft_unseen(book: Book) -> None:
    theft = book.found("session.refresh")[3]
    theft.status, theft.code = 200, None
    theft.body = {"access": "a1", "refresh": "r1", "expires_in": 600}


def _stolen_session_goes_on(book: Book) -> None:
    later = book.found("session.refresh")[4]
    later.status, later.code, later.body = 200, None, {"access": "a2", "refresh": "r2", "expires_in": 600}


def _stolen_token_accepted(book: Book) -> None:
    book.found("credential.use")[3].status = 200


def _server_error(book: Book) -> None:
    book.call("item.read", 500, sent={"item": TEA}, code="internal_error")


def _no_retry_after(book: Book) -> None:
    book.call("item.read", 503, sent={"item": TEA}, code="unavailable")


def _own_order_not_found(book: Book) -> None:
    book.call("order.read", 404, sent={"order": FIRST}, code="not_found")


@pytest.mark.parametrize(
    ("mutate", "sentence"),
    [
        (_lose_order, "orders: order 11 was answered and is lost"),
        (_double_order, "orders: 2 orders for one key: ids 11, 99"),
        (_strange_order, "orders: order 99 has reference order-never, never sent"),
        (_other_lines, "orders: order 12 has the lines"),
        (_other_replay, "keys: order.place under key order-11 has answers that differ"),
        (_done_twice, "keys: order.place under key order-11 was done twice"),
        (_key_taken_twice, "keys: a key was taken for two requests"),
        (_a_cent_too_much, "money: order 11 in the database: its total is 27.79, due is 27.78"),
        (_rounded_down, "money: order 11 in the database: 1 of 2 make 0.34, due is 0.33"),
        (_two_fees, "money: express costs 0.00, 7.45"),
        (_price_of_before, "money: item 1 cost 10.00 in an order, when its price was 12.00"),
        (_unit_gone, "stock: item 1 has 47 units; by what was answered there are 48"),
        (_adjusted_twice, "stock: an adjustment is in the ledger 2 times"),
        (_oversold, "stock: item 1 was sold when there was none: movement 4"),
        (_sold_twice, "stock: order 12 sold [(1, 2)] and took [(1, 2), (1, 2)] from stock"),
        (_not_put_back, "stock: order 11 had to put back [(1, 3), (2, 1)] and put back [(2, 1)]"),
        (_stale_item, "reads: item 1 was at version 2 and later read at 1"),
        (_stale_tag, "reads: item 1 was at version 2 and later read at 1"),
        (_own_write_unseen, "reads: profile 7 was at version 2 and later read at 1"),
        (_two_contents, "reads: item 1 at version 2 is"),
        (_not_in_own_list, "reads: order 11 is not in its customer's list"),
        (_price_from_nowhere, "reads: item 1 was read at 9.99, which was never sent"),
        (_name_from_nowhere, "reads: a profile was read with a name that was never sent"),
        (_left_out_of_list, "reads: a list by its cursors leaves out [2]"),
        (_twice_in_list, "reads: a list by its cursors has an item twice"),
        (_lost_update, "reads: a change of version 0 made version 2"),
        (_accepted_when_revoked, "access: a credential was accepted 1."),
        (_refused_when_good, "access: a good credential was refused"),
        (_backwards, "transitions: order 11 was placed, paid, cancelled and is placed, paid"),
        (_forbidden_path, "transitions: order 12 is shipped and went placed, shipped"),
        (_answered_and_not_done, "transitions: order 11 was answered to be paid and was placed"),
        (_refused_without_reason, "transitions: a transition was refused without a reason"),
        (_webhook_missing, "webhooks: the webhook order.paid of order 11 (order-11) never arrived"),
        (_webhook_only_refused, "webhooks: the webhook order.paid of order 11 (order-11) never arrived"),
        (_post_webhook_missing, "webhooks: the webhook post.published of post 5 never arrived"),
        (_two_ids, "webhooks: order.placed of 11 at version 1 came under 2 ids: evt_0, evt_98"),
        (_two_bodies, "webhooks: evt_0 came with bodies that differ"),
        (_one_id_for_two, "webhooks: evt_0 is of several events"),
        (_unsigned, "webhooks: evt_0 has a signature that is not valid"),
        (_webhook_of_nothing, "webhooks: evt_5 tells of order 98 what is not so"),
        (_webhook_of_other_total, "webhooks: evt_0 tells of order 11 what is not so"),
        (_webhook_of_another_order, "webhooks: evt_0 tells of order 11 what is not so"),
        (_webhook_before_its_state, "webhooks: evt_1 tells of order 11 what is not so"),
        (_post_twice, "keys: 'News' is the title of the posts [5, 6]"),
        (_other_price_than_named, "orders: order 12 has the lines"),
        (_without_the_discount, "orders: order 12 has the lines"),
        (_sent_another_way, "orders: order 12 is sent standard, asked for was express"),
        (_refused_with_enough_stock, "answers: there was enough of everything, and it was refused"),
        (_adjustment_refused_with_enough_stock, "answers: there was enough of everything"),
        (_right_price_refused, "answers: every price that was named is right"),
        (_refused_for_a_price_that_it_does_not_name, "answers: every price that was named is right"),
        (_change_skipped, "changes: list-1 has version 1 of items 1, the database has 2"),
        (_change_skipped_and_sent_later, "changes: list-1 has version 1 of items 1 after a poll, and 2 was"),
        (_removal_skipped, "changes: list-1 has version 1 of items 3, the database has None"),
        (_copy_goes_back, "changes: 1 came at version 1 after 2"),
        (_mark_goes_back, "changes: a mark goes back, from 2026-11-30T17:00:00Z to 1970-01-01T00:00:00Z"),
        (_never_ended, "changes: list-1 never came to the end of items"),
        (_two_successors, "refreshes: a refresh token has two successors"),
        (_one_successor_of_two, "refreshes: two refresh tokens have one successor"),
        (_signed_out_by_a_lost_answer, "refreshes: a refresh token was refused within its grace"),
        (_theft_unseen, "refreshes: a refresh token was accepted 2"),
        (_stolen_session_goes_on, "refreshes: a stolen session was refreshed"),
        (_stolen_token_accepted, "refreshes: a stolen session was used"),
        (_server_error, "answers: an answer that no client can use"),
        (_no_retry_after, "answers: an answer that no client can use"),
        (_own_order_not_found, "answers: a refusal without a reason"),
    ],
)
def test_a_fault_is_found(mutate: Mutation, sentence: str) -> None:
    book = good()
    mutate(book)
    assert [fault for fault in check(book.history, book.final) if fault.startswith(sentence)] != []


def test_a_refused_order_that_is_there_is_found() -> None:
    book = good()
    _keep_refused_order(book)
    assert any(
        fault.startswith("orders: order 99 was refused and is there")
        for fault in check(book.history, book.final)
    )


def test_a_replay_of_what_was_refused_is_found() -> None:
    book = good()
    _refused_and_done(book)
    found = [fault for fault in check(book.history, book.final) if fault.startswith("keys: ")]
    assert "was done by a request that was refused" in found[0]


def test_where_nothing_fails_each_call_has_an_answer_and_none_is_a_503() -> None:
    book = Book()
    book.call("item.read", None, error=ABANDONED)
    book.call("item.read", 200)
    assert undisturbed(book.history.calls) == []
    book.call("item.read", 503, code="unavailable", retry_after="1")
    for _ in range(2):
        book.call("item.read", None, error="ReadTimeout('')")
    assert undisturbed(book.history.calls) == [
        "item.read: a 503 (unavailable) while nothing was wrong",
        "item.read: no answer while nothing was wrong: ReadTimeout('') (2 times)",
    ]


def test_a_sentence_names_the_calls_that_prove_it() -> None:
    book = good()
    _lose_order(book)
    placed = book.found("order.place")[2]
    fault = check(book.history, book.final)[0]
    begin, end = placed.begin - 100.0, placed.end - 100.0
    assert (
        fault.endswith(
            f"[{placed.number}: order-1, {begin:.3f}-{end:.3f} s, POST /order.place, key order-11: 201]"
        )
        or "never sent" in fault
    )
