"""Backups of a shop in use, restored after its database is lost: `make prove-restore`."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from proofs.cases import Case, Context, Proof, Result
from proofs.history import check, final_state
from proofs.load import SETTINGS, Load, steady_load
from proofs.restore import documented, judge, plans, shell
from proofs.restore.cluster import Cluster
from proofs.restore.plans import Dump, Plan, ToName, ToTheEnd, ToTime
from proofs.restore.scene import Scene
from proofs.restore.witness import Witness
from proofs.shop import ADMINISTRATOR, shop
from tests.helpers.waiting import eventually

#: Rules about what clients and receivers have got in the end: for them that is not the point.
#: `judge.messages` looks at webhooks, which tell of the orders of both loads.
ABOUT_THE_END: Final = ("webhooks", "changes")
#: Confirmed changes of orders in each part of the time: before the backup, until the point, until the loss.
CHANGES: Final = 150
CHANGES_SHORT: Final = 30
VERSIONS: Final = "SELECT id, version FROM orders"
WAITING: Final = """
    SELECT count(*) FROM pgqueuer
    WHERE status IN ('queued', 'picked') AND entrypoint IN ('event', 'webhook', 'mail')
"""
FAILED: Final = "SELECT count(*) FROM pgqueuer WHERE status NOT IN ('queued', 'picked')"
SEQUENCED: Final = "SELECT count(*) FROM pending_changes"


def of(make: Callable[[], Plan]) -> Callable[[Context], Awaitable[Result]]:
    async def run(context: Context) -> Result:
        return await _run(context, make())

    return run


async def _run(context: Context, plan: Plan) -> Result:
    cluster = Cluster(context.folder / "postgresql")
    await cluster.prepare()
    await plan.prepare(cluster)
    result = Result(figures={})
    async with shop(context.folder, postgresql=cluster, **SETTINGS) as made:
        witness = Witness(ADMINISTRATOR)
        await witness.before(made.client)
        async with steady_load(made, context.seed, folder=context.folder) as load:
            played = Scene(context, cluster, made, load, witness)
            wrote, figures = await _until_the_loss(played, plan)
        begin = time.monotonic()
        cluster.restored_url = await plan.restore(cluster)
        figures["restored_s"] = round(time.monotonic() - begin, 1)
        context.say(f"restored in {figures['restored_s']} s")
        versions = {row["id"]: row["version"] for row in await cluster.fetch(VERSIONS)}
        expected = plan.kept(wrote)
        if expected is not None:
            result.faults += judge.by_the_log({*versions}, expected, {*wrote})
        changes = played.changes()
        result.faults += judge.by_the_clients(versions, changes, played.begin, played.end)
        known = judge.known(played.load.history, played.begin, played.end)
        result.faults += check(known, await final_state(played.load), leave_out=ABOUT_THE_END)
        result.faults += await made.verify()
        figures |= _counted(played, versions)
        figures |= await _afterwards(played, result.faults)
    result.figures = figures
    return result


async def _until_the_loss(played: Scene, plan: Plan) -> tuple[dict[int, int], dict[str, float]]:
    """The transaction that wrote each order, and how long the backup took."""
    count = CHANGES_SHORT if played.context.short else CHANGES
    cluster, say = played.cluster, played.context.say
    await played.changed(count)
    played.begin = time.monotonic()
    await plan.back_up(cluster)
    played.end = time.monotonic()
    seconds = round(played.end - played.begin, 1)
    say(f"backed up in {seconds} s, under load")
    if not isinstance(plan, Dump):
        await played.changed(count)
        played.begin = time.monotonic()
        await plan.mark(cluster)
        played.end = time.monotonic()
    await played.witness.in_the_lost_time(played.shop.client)
    await played.changed(count)
    await plan.before_the_loss(cluster)
    wrote = await plans.transactions(cluster)
    await played.lose()
    say("lost the database and its folder")
    return wrote, {"backup_s": seconds}


async def _afterwards(played: Scene, faults: list[str]) -> dict[str, float]:
    """The documented steps; then the shop is used again."""
    cluster, count = played.cluster, CHANGES_SHORT if played.context.short else CHANGES
    await shell.run(documented.blocks()["after-restore"], cluster.folder, RESTORED_URL=cluster.url)
    async with played.again():
        faults += await played.witness.after(played.shop.client)
        async with steady_load(played.shop, played.context.seed + 1) as load:
            again = Scene(played.context, cluster, played.shop, load, played.witness)
            await load.settled()
            await again.changed(count)
        async with load.receiver.listening():
            await eventually(lambda: _idle(cluster))
        faults += check(load.history, await final_state(load), leave_out=("webhooks",))
        faults += await _everything_announced(cluster, played.load, load)
    faults += await played.shop.verify()
    return {"again": len(again.changes())}


async def _idle(cluster: Cluster) -> bool:
    return not await cluster.value(WAITING) and not await cluster.value(SEQUENCED)


async def _everything_announced(cluster: Cluster, *loads: Load) -> list[str]:
    deliveries = [delivery for load in loads for delivery in load.receiver.deliveries]
    faults = judge.messages(deliveries, {row["id"] for row in await cluster.fetch(VERSIONS)})
    return faults + ([f"{failed} jobs have failed"] if (failed := await cluster.value(FAILED)) else [])


def _counted(played: Scene, versions: dict[int, int]) -> dict[str, float]:
    before = [call for call in played.changes() if call.end < played.begin]
    lost = [call for call in played.changes() if call.body["version"] > versions.get(call.body["id"], 0)]
    return {
        "before": len(before),
        "lost": len(lost),
        "lost_s": round(max(call.end for call in lost) - min(call.end for call in lost), 1) if lost else 0,
    }


PROOF: Final = Proof(
    name="restore",
    title="Backups that are restored",
    columns={
        "before": "changes of orders confirmed before the point",
        "lost": "confirmed after it, and gone",
        "lost_s": "over how many seconds",
        "backup_s": "seconds for the backup, under load",
        "restored_s": "seconds for the restore",
        "again": "changes confirmed on what was restored",
    },
    cases=(
        Case("name", "base backup and log, to a moment that was given a name", of(ToName), short=True),
        Case("time", "base backup and log, to a time", of(ToTime)),
        Case("end", "base backup and log, to the end of the archive", of(ToTheEnd)),
        Case("dump", "a dump, into a new PostgreSQL", of(Dump)),
    ),
)
