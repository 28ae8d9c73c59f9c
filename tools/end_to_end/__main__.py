"""What a release must show on a cluster: install it, try it, and change it under load.

    python tools/end_to_end [--helm 3] [--only upgrade,keys] [--keep] [--show] [--write]
    python tools/end_to_end --given REPOSITORY:TAG REPOSITORY:TAG [--drain] ...

Needed: kubectl; Helm is the one that tools/helm.py fetches. Without --given also docker and kind: an image is
built, and a cluster `tradepost-e2e` is made from k8s/kind.yaml and removed again. With --given it is the
cluster of KUBECONFIG, which can pull these two images; nodes are drained with --drain alone, for others may
run there. The namespace `tradepost` must not exist yet; it is made, with Pod Security `restricted`, and
removed again. --keep leaves cluster and namespace there.

In the namespace stand PostgreSQL from k8s/dependencies and the chart with the values of `prod-like`. While
each of the phases (phases.py) changes something, tools/rollout_load asks the Service all the time from a pod
of the cluster, and places orders. No request may fail; where a process is killed or the database is away, no
order may be lost or doubled. What came of each phase is printed as a table, kept in build/rollouts.json, and
with --write also put into docs/rollouts.md. --show prints the commands alone.
"""

import argparse
import sys
import time

from cluster import Cluster, Failed, helm, need
from page import Result, table, write
from phases import PHASES, install, prove


def main() -> int:
    arguments = parse()
    if not arguments.show:
        need("kubectl", *([] if arguments.given else ["docker", "kind"]))
        if not helm.helm(arguments.helm).exists():
            helm.fetch(arguments.helm)
    cluster = Cluster(
        helm_version=arguments.helm, images=arguments.given, drain=arguments.drain, show=arguments.show
    )
    results: list[Result] = []
    went_well = False
    try:
        cluster.make()
        run(cluster, chosen(arguments.only), results)
        went_well = True
    except Failed as fault:
        print(f"end_to_end: {fault}", file=sys.stderr, flush=True)
        cluster.show_state()
    finally:
        if not arguments.keep:
            cluster.remove()
    print(table(results), flush=True)
    if not arguments.show:
        write(results, cluster, into_the_page=arguments.write and went_well)
    print("end_to_end: " + ("everything went well" if went_well else "it failed"), flush=True)
    return 0 if went_well else 1


def run(cluster: Cluster, names: list[str], results: list[Result]) -> None:
    begin = time.monotonic()
    install(cluster)
    results.append(Result("install", "installed, until every pod is ready", time.monotonic() - begin))
    cluster.smoke_test()
    for name in names:
        phase = PHASES[name]
        begin = time.monotonic()
        counts = cluster.under_load(name, phase.change, outages=phase.outages)
        results.append(Result(name, phase.title, time.monotonic() - begin, counts))
        if counts["failed"] or counts["wrong"]:
            raise Failed(
                f"{phase.title}: {counts['failed']} requests failed, {counts['wrong']} orders are wrong"
            )
    prove(cluster)


def chosen(only: str) -> list[str]:
    names = only.split(",") if only else list(PHASES)
    if unknown := set(names) - set(PHASES):
        sys.exit(
            f"end_to_end: no phase is called {', '.join(sorted(unknown))}: there are {', '.join(PHASES)}"
        )
    return names


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--helm", choices=sorted(helm.PACKAGES), default="4")
    parser.add_argument("--only", default="", help=f"phases, separated by commas: {', '.join(PHASES)}")
    parser.add_argument(
        "--given", nargs=2, metavar="IMAGE", help="use the cluster of KUBECONFIG and these images"
    )
    parser.add_argument("--drain", action="store_true", help="drain nodes of a given cluster too")
    parser.add_argument("--keep", action="store_true", help="leave the cluster there")
    parser.add_argument("--show", action="store_true", help="only print the commands")
    parser.add_argument("--write", action="store_true", help="put the table into docs/rollouts.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
