"""Reads: own writes at once, others' within a second, never back, and one version has one content."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proofs.history.evidence import STALE_SECONDS, Checks, Evidence, grouped, unless
from proofs.load.history import Call

#: Objects whose reads come from the database, and those that a cache may answer.
BOUNDS: Final[Mapping[str, float]] = {
    "order": 0.0,
    "profile": 0.0,
    "item": STALE_SECONDS,
    "post": STALE_SECONDS,
}
#: By operation: the object that it shows or changes.
OBJECTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "order.place",
            "order.read",
            "order.pay",
            "order.ship",
            "order.deliver",
            "order.cancel",
            "order.refund",
        ),
        "order",
    ),
    **dict.fromkeys(("item.read", "item.price", "item.create"), "item"),
    **dict.fromkeys(("profile.read", "profile.change"), "profile"),
    **dict.fromkeys(("post.create", "post.change"), "post"),
}
ORDER_PAGE: Final = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """A version that an answer showed; `content` is None where only the version was shown."""

    call: Call
    version: int
    content: Any


def current(evidence: Evidence) -> Checks:
    """A read shows no older version than an answer that ended before it began, by more than the bound."""
    for (kind, number), seen in _objects(evidence).items():
        bound = BOUNDS[kind]
        known = sorted(seen, key=lambda each: each.call.end)
        # A replay shows what was true when the request was first done.
        reads = [each for each in seen if not each.call.replayed]
        reads.sort(key=lambda each: each.call.begin)
        newest: Seen | None = None
        position = 0
        for read in reads:
            while position < len(known) and known[position].call.end < read.call.begin - bound:
                if newest is None or known[position].version > newest.version:
                    newest = known[position]
                position += 1
            if newest is not None:
                yield unless(
                    read.version >= newest.version,
                    f"{kind} {number} was at version {newest.version} and later read at {read.version}:"
                    f" {evidence.cite(newest.call, read.call)}",
                )


def one_content(evidence: Evidence) -> Checks:
    """Two answers with the same version of an object show the same."""
    for (kind, number), seen in _objects(evidence).items():
        first: dict[int, Seen] = {}
        for each in seen:
            if each.content is not None:
                known = first.setdefault(each.version, each)
                yield unless(
                    known.content == each.content,
                    f"{kind} {number} at version {each.version} is {each.content}, and was {known.content}:"
                    f" {evidence.cite(known.call, each.call)}",
                )


def _objects(evidence: Evidence) -> dict[tuple[str, Any], list[Seen]]:
    return grouped(pair for call in evidence.calls if call.done for pair in _shown(call))


def _shown(call: Call) -> Iterator[tuple[tuple[str, Any], Seen]]:
    kind = OBJECTS.get(call.operation)
    if call.operation == "order.list":
        for number, version, _ in call.body:
            yield ("order", number), Seen(call, version, None)
    elif call.operation == "item.list":
        for number, version, price, availability in call.body:
            yield ("item", number), Seen(call, version, (price, availability))
    elif kind == "profile" and call.version is not None:
        yield (kind, call.body["id"]), Seen(call, call.version, call.body["full_name"])
    elif kind == "item" and call.status == 304 and call.version is not None:
        yield (kind, call.sent["item"]), Seen(call, call.version, None)
    elif kind is not None and isinstance(call.body, dict) and "version" in call.body:
        yield (kind, call.body["id"]), Seen(call, call.body["version"], _content(kind, call.body))


def _content(kind: str, body: Mapping[str, Any]) -> Any:
    return (body["price"], body["availability"]) if kind == "item" else dict(body)


def own_orders(evidence: Evidence) -> Checks:
    """A customer's list has every order of theirs that was answered before, as far back as it goes."""
    placed = grouped((call.client, call) for call in evidence.of("order.place") if call.done)
    for listed in evidence.of("order.list"):
        if not listed.done:
            continue
        shown = {row[0] for row in listed.body}
        oldest = min(shown) if len(shown) >= ORDER_PAGE else 0
        for call in placed.get(listed.client, []):
            if call.end < listed.begin and call.body["id"] > oldest:
                yield unless(
                    call.body["id"] in shown,
                    f"order {call.body['id']} is not in its customer's list: {evidence.cite(call, listed)}",
                )


def sent_by_someone(evidence: Evidence) -> Checks:
    """A price or name that is read was sent before, and not refused."""
    prices = grouped((call.sent["item"], call) for call in evidence.of("item.price") if not call.refused)
    for read in evidence.of("item.read"):
        if read.status == 200 and read.body["id"] in evidence.final.start_prices:
            number = read.body["id"]
            sent = {call.sent["price"] for call in prices.get(number, []) if call.begin < read.end}
            sent.add(evidence.final.start_prices[number])
            yield unless(
                read.body["price"] in sent,
                f"item {number} was read at {read.body['price']}, which was never sent:"
                f" {evidence.cite(read)}",
            )
    names = grouped((call.client, call) for call in evidence.of("profile.change") if not call.refused)
    for read in evidence.of("profile.read"):
        if read.status == 200:
            sent = {call.sent["full_name"] for call in names.get(read.client, []) if call.begin < read.end}
            yield unless(
                read.body["full_name"] in sent | {"Maria Anders"},
                f"a profile was read with a name that was never sent: {evidence.cite(read)}",
            )


def whole_lists(evidence: Evidence) -> Checks:
    """A list that is read by its cursors has each of the items that stay once, in order."""
    walks = grouped(((call.client, call.sent["walk"]), call) for call in evidence.of("item.list"))
    for pages in walks.values():
        if not all(page.done for page in pages) or not pages[-1].sent["last"]:
            continue
        numbers = [row[0] for page in pages for row in page.body]
        yield unless(
            numbers == sorted(set(numbers)),
            f"a list by its cursors has an item twice or in another order: {evidence.cite(*pages)}",
        )
        missing = set(evidence.final.start_stock) - set(numbers)
        yield unless(
            not missing, f"a list by its cursors leaves out {sorted(missing)}: {evidence.cite(*pages)}"
        )


def no_lost_update(evidence: Evidence) -> Checks:
    """A change with If-Match comes right after the version that it names, or changes nothing."""
    for call in evidence.of("item.price"):
        named = call.sent["if_version"]
        if call.done and named is not None:
            yield unless(
                call.body["version"] in (named, named + 1),
                f"a change of version {named} made version {call.body['version']}: {evidence.cite(call)}",
            )
