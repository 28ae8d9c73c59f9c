"""Copies by `updated_since`: nothing is missed, and nothing goes back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from proofs.history.evidence import STALE_SECONDS, Checks, Evidence, grouped, unless
from proofs.load.history import Call

#: By list: what answers with a version that the list must have from then on, and what removes it again.
CHANGES: Final[Mapping[str, tuple[str, str]]] = {
    "items": ("item.create", "item.price"),
    "posts": ("post.create", "post.change"),
}
REMOVALS: Final[Mapping[str, str]] = {"items": "item.withdraw", "posts": "post.delete"}


def marks(evidence: Evidence) -> Checks:
    """Each answer's mark is no earlier than the one that was sent, and nothing in it goes back."""
    for polls in _polls(evidence).values():
        versions: dict[int, int] = {}
        for poll in polls:
            yield unless(
                poll.mark is not None and _moment(poll.mark) >= _moment(poll.sent["since"]),
                f"a mark goes back, from {poll.sent['since']} to {poll.mark}: {evidence.cite(poll)}",
            )
            for number, version in poll.body:
                if version is not None:
                    yield unless(
                        version >= versions.get(number, 0),
                        f"{number} came at version {version} after {versions.get(number)}:"
                        f" {evidence.cite(poll)}",
                    )
                    versions[number] = version


def in_time(evidence: Evidence) -> Checks:
    """What was answered a second before a poll that came to the end is in the copy after it."""
    for (client, name), polls in _polls(evidence).items():
        if name not in CHANGES:
            continue
        changes = sorted(
            (call for call in evidence.of(*CHANGES[name]) if call.done), key=lambda call: call.end
        )
        removed = {call.path.rpartition("/")[2] for call in evidence.of(REMOVALS[name])}
        copy: dict[int, int] = {}
        for poll in polls:
            copy |= {row[0]: row[1] for row in poll.body}
            while _ended([poll]) and changes and changes[0].end < poll.begin - STALE_SECONDS:
                change = changes.pop(0)
                number, version = change.body["id"], change.body["version"]
                yield unless(
                    copy.get(number, 0) >= version or str(number) in removed,
                    f"{client} has version {copy.get(number)} of {name} {number} after a poll, and {version}"
                    f" was answered before: {evidence.cite(change, poll)}",
                )


def nothing_missed(evidence: Evidence) -> Checks:
    """In the end every copy has what the database has, at the same versions."""
    final = evidence.final
    due: dict[str, Any] = {
        "items": {item.id: item.version for item in final.items.values() if item.on_sale},
        "posts": final.posts,
    }
    polls = _polls(evidence)
    for client, name in [each for each in polls if each[1] in due]:
        followed, removals = polls[client, name], polls.get((client, f"{name}/removed"), [])
        if not (_ended(followed) and _ended(removals)):
            yield f"{client} never came to the end of {name}: {evidence.cite(followed[-1])}"
            continue
        gone = {row[0] for poll in removals for row in poll.body}
        copy = {row[0]: row[1] for poll in followed for row in poll.body if row[0] not in gone}
        for number in sorted({*copy, *due[name]}):
            has, stored = copy.get(number), due[name].get(number)
            yield unless(
                has == stored,
                f"{client} has version {has} of {name} {number}, the database has {stored};"
                f" its last poll: {evidence.cite(followed[-1])}",
            )


def _moment(mark: str) -> datetime:
    """Marks may leave out a fraction that is nothing, and cannot be compared as texts."""
    return datetime.fromisoformat(mark)


def _ended(polls: list[Call]) -> bool:
    """The last answer was not full."""
    return bool(polls) and len(polls[-1].body) < polls[-1].sent["limit"]


def _polls(evidence: Evidence) -> dict[tuple[str, str], list[Call]]:
    return grouped(((call.client, call.sent["list"]), call) for call in evidence.of("list.poll") if call.done)
