"""What is done to a release while its customers go on shopping."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import yaml
from cluster import CHANGED, NAMESPACE, RELEASE, ROOT, SECRETS, SIGN_IN_SECONDS, Cluster, Failed

RESTARTS = 5
DRAINS = 2
OUTAGE_SECONDS = 30
#: Until the connections of pods that have ended are gone.
SESSIONS_SECONDS = 60
RELEASED = f"app.kubernetes.io/instance={RELEASE}"
COLLECTED_SECONDS = 30
API = f"{RELEASED},app.kubernetes.io/component=api"
SUBJECTS = (f"deployment/{RELEASE}", f"deployment/{RELEASE}-worker")


@dataclass(frozen=True)
class Phase:
    """`outages`: requests may fail meanwhile; orders may not."""

    title: str
    change: Callable[[Cluster], None]
    outages: bool = False


def install(cluster: Cluster) -> None:
    cluster.deploy(cluster.first)
    refused = cluster.found("get", "events", "-o", "name", "--field-selector=reason=FailedCreate", shown="")
    if refused:
        raise Failed(f"a pod was refused: {refused}")


def upgrade(cluster: Cluster) -> None:
    cluster.deploy(cluster.second)
    cluster.deploy(cluster.second, "--set", "config.LOG_LEVEL=DEBUG")
    cluster.helm("rollback", RELEASE, "1", "--wait", "--timeout", "10m")
    cluster.wait_until_rolled_out()
    cluster.deploy(cluster.second)


def rotate_key(cluster: Cluster) -> None:
    """As docs/operations.md has it: every pod knows a key before one signs with it."""
    old, new = _secret("secretKey"), secrets.token_urlsafe(48)
    for key, accepted in ((old, new), (new, old)):
        cluster.set_secrets({"secretKey": key, "secretKeysAccepted": accepted})
        cluster.deploy(cluster.second)
    # The load has signed in again by then: it has no token of the old key left.
    cluster.run("sleep", str(SIGN_IN_SECONDS + 30))
    cluster.set_secrets({"secretKey": new})
    cluster.deploy(cluster.second)


def restart(cluster: Cluster) -> None:
    for _ in range(RESTARTS):
        cluster.kubectl("rollout", "restart", *SUBJECTS)
        cluster.wait_until_rolled_out()


def evict(cluster: Cluster) -> None:
    """Delete each pod of the API once, and drain nodes, but for that of the database and the load."""
    for pod in cluster.found("get", "pods", "-l", API, "-o", "name").split():
        cluster.kubectl("delete", pod)
        cluster.wait_until_rolled_out()
    if not cluster.drains:
        return
    for _ in range(DRAINS):
        where = "jsonpath={.items[*].spec.nodeName}"
        nodes = set(cluster.found("get", "pods", "-l", API, "-o", where, shown="NODE").split())
        for node in sorted(nodes - {cluster.database_node()})[:1]:
            cluster.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5m")
            cluster.wait_until_rolled_out()
            cluster.kubectl("uncordon", node)
        # So that they spread over the nodes again.
        cluster.kubectl("rollout", "restart", *SUBJECTS)
        cluster.wait_until_rolled_out()


def rotate_password(cluster: Cluster) -> None:
    """Two roles take turns, as docs/operations.md has it."""
    new = secrets.token_urlsafe(24)
    cluster.psql(f"CREATE ROLE tradepost_b LOGIN PASSWORD '{new}' IN ROLE tradepost")
    cluster.psql("ALTER ROLE tradepost_b SET role = 'tradepost'")
    url = f"postgresql://tradepost_b:{new}@postgresql:5432/tradepost"
    changed = _changed()
    cluster.set_secrets({**changed, "databaseUrl": url})
    cluster.deploy(cluster.second)
    cluster.run("sleep", str(SESSIONS_SECONDS))
    old = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'tradepost' AND client_addr IS NOT NULL"
    if (sessions := cluster.psql(old)) != "0":
        raise Failed(f"{sessions} sessions of the old role are still there")
    cluster.psql("ALTER ROLE tradepost PASSWORD NULL")


def scale(cluster: Cluster) -> None:
    for pods in (3, 2):
        cluster.deploy(cluster.second, "--set", f"api.replicas={pods},worker.replicas={pods}")


def break_down(cluster: Cluster) -> None:
    """Kill the web workers of a pod, then each pod without any grace; take the database away."""
    # All but the master: no process can kill the first one of its own container.
    cluster.kubectl("exec", SUBJECTS[0], "--", "/bin/sh", "-c", "kill -KILL -1")
    cluster.wait_until_rolled_out()
    for pod in cluster.found("get", "pods", "-l", RELEASED, "-o", "name").split():
        cluster.kubectl("delete", pod, "--grace-period=0", "--force")
        cluster.wait_until_rolled_out()
    cluster.kubectl("delete", "pod", "postgresql-0", "--grace-period=0", "--force")
    cluster.kubectl("rollout", "status", "statefulset/postgresql", "--timeout=5m")
    cluster.kubectl("scale", "statefulset/postgresql", "--replicas=0")
    cluster.run("sleep", str(OUTAGE_SECONDS))
    cluster.kubectl("scale", "statefulset/postgresql", "--replicas=1")
    cluster.kubectl("rollout", "status", "statefulset/postgresql", "--timeout=5m")
    cluster.wait_until_rolled_out()


def prove(cluster: Cluster) -> None:
    cluster.smoke_test()
    cluster.kubectl("create", "job", "verify-end-to-end", f"--from=cronjob/{RELEASE}-verify")
    cluster.kubectl("wait", "job/verify-end-to-end", "--for=condition=Complete", "--timeout=10m")
    cluster.helm("uninstall", RELEASE, "--wait")
    # Objects that belong to others, such as a Job's pods, are collected some seconds later.
    cluster.run("sleep", str(COLLECTED_SECONDS))
    left = cluster.found(
        "get", "pods,jobs,configmaps,secrets,services", "-o", "name", "-l", RELEASED,
        shown="",
    )  # fmt: skip
    if left:
        raise Failed(f"helm uninstall left in {NAMESPACE}: {left}")


def _secret(name: str) -> str:
    path = ROOT / SECRETS
    return str(yaml.safe_load(path.read_text())["secrets"][name]) if path.exists() else "KEY"


def _changed() -> dict[str, str]:
    path = ROOT / CHANGED
    found: dict[str, str] = yaml.safe_load(path.read_text())["secrets"] if path.exists() else {}
    return found


PHASES = {
    "upgrade": Phase("an upgrade, a change of configuration, a rollback, an upgrade", upgrade),
    "keys": Phase("SECRET_KEY rotated in three steps", rotate_key),
    "restarts": Phase(f"{RESTARTS} restarts of all pods", restart),
    "evictions": Phase(f"each API pod deleted, {DRAINS} nodes drained", evict),
    "password": Phase("the database's password rotated", rotate_password),
    "scaling": Phase("scaled to three pods of each kind and back to two", scale),
    "outages": Phase(
        f"processes killed, the database killed and then away for {OUTAGE_SECONDS} s",
        break_down,
        outages=True,
    ),
}
