"""The chart on a cluster of its own, from nothing: install it, try it, and roll it out under load.

    python tools/end_to_end.py [--helm 3] [--keep] [--show]

Needed: docker, kind and kubectl; Helm is the one that tools/helm.py fetches. A cluster `tradepost-e2e` is
made from k8s/kind.yaml and removed again, unless --keep. In a namespace with Pod Security `restricted` stand
PostgreSQL from k8s/dependencies and the chart with the values of `prod-like`. Then `helm test`, and, while
tools/rollout_load.py asks all the time through the Service, an upgrade to another image, a restart, a
scaling down and a rollback, of which no request may notice anything. --show prints the commands.
"""

import argparse
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import build_image
import helm

ROOT = Path(__file__).resolve().parent.parent
CLUSTER, NAMESPACE, RELEASE = "tradepost-e2e", "tradepost", "tradepost"
#: Two tags of the same image: an upgrade is then what an upgrade is, but for the code.
TAGS = ("e2e-1", "e2e-2")
SECRETS = "build/prod-like-secrets.yaml"
VALUES = [
    *("--values", "k8s/environments/dev.yaml", "--values", "k8s/environments/prod-like.yaml"),
    *("--values", SECRETS),
    # From outside of the cluster by a port of each node, so that kube-proxy does what it does in life.
    *("--set", "api.service.type=NodePort", "--set", "config.RATE_LIMIT_DEFAULT=1000000/minute"),
    # Nodes put their addresses in place of the load's, and there is no proxy: a network that no client has.
    *("--set", "trustedProxies={192.0.2.0/24}"),
    *("--set", "config.RATE_LIMIT_REGISTER=1000/minute", "--set", "config.RATE_LIMIT_SIGN_IN=1000/minute"),
]
DEPENDENCIES = ("namespace", "postgresql", "mail", "collector")
MOST_SECONDS = 1_500
NODE = "{.items[0].status.addresses[?(@.type=='InternalIP')].address}"


class Run:
    """Carries out commands in the repository's folder, or shows them."""

    def __init__(self, *, show: bool, helm_version: str) -> None:
        self.show = show
        self.kubectl = ("kubectl", "--context", f"kind-{CLUSTER}")
        self.helm = (str(helm.helm(helm_version)), "--kube-context", f"kind-{CLUSTER}", "-n", NAMESPACE)

    def __call__(self, *command: str) -> None:
        print(f"+ {shlex.join(command)}", flush=True)
        if not self.show:
            done = subprocess.run(command, cwd=ROOT, check=False)
            if done.returncode:
                raise Failed(f"status {done.returncode}: {shlex.join(command)}")

    def text(self, *command: str) -> str:
        print(f"+ {shlex.join(command)}", flush=True)
        if self.show:
            return "VALUE"
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failed(f"status {done.returncode}: {shlex.join(command)}")
        return done.stdout.strip()


class Failed(Exception):
    pass


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--helm", choices=sorted(helm.PACKAGES), default="4")
    parser.add_argument("--keep", action="store_true", help="leave the cluster there")
    parser.add_argument("--show", action="store_true", help="only print the commands")
    arguments = parser.parse_args()
    if not arguments.show:
        need("docker", "kind", "kubectl")
        if not helm.helm(arguments.helm).exists():
            helm.fetch(arguments.helm)
    run = Run(show=arguments.show, helm_version=arguments.helm)
    try:
        build(run)
        make_cluster(run)
        install(run)
        roll(run)
    except Failed as fault:
        print(f"end_to_end: {fault}", file=sys.stderr, flush=True)
        tell_what_is_there(run)
        return 1
    finally:
        if not arguments.keep:
            run("kind", "delete", "cluster", "--name", CLUSTER)
    print("end_to_end: everything went well", flush=True)
    return 0


def need(*programs: str) -> None:
    if missing := [name for name in programs if shutil.which(name) is None]:
        stop(
            f"there is no {' and no '.join(missing)}: docker runs the cluster, kind makes it, kubectl asks it"
        )


def stop(what: str) -> NoReturn:
    sys.exit(f"end_to_end: {what}")


def build(run: Run) -> None:
    facts = (f"--build-arg=VERSION={build_image.version()}", f"--build-arg=REVISION={build_image.revision()}")
    tags = [f"--tag=tradepost:{tag}" for tag in TAGS]
    run("docker", "build", "--provenance=false", *facts, *tags, ".")
    run(sys.executable, "tools/prod_like_secrets.py", SECRETS)


def make_cluster(run: Run) -> None:
    run("kind", "create", "cluster", "--name", CLUSTER, "--config", "k8s/kind.yaml", "--wait", "180s")
    run("kind", "load", "docker-image", "--name", CLUSTER, *(f"tradepost:{tag}" for tag in TAGS))
    # The namespace first, or the others have none to be in.
    for name in DEPENDENCIES:
        run(*run.kubectl, "apply", "-f", f"k8s/dependencies/{name}.yaml")
    run(*run.kubectl, "-n", NAMESPACE, "rollout", "status", "statefulset/postgresql", "--timeout=5m")


def deploy(run: Run, tag: str, *more: str) -> None:
    """The migration first, then pods one by one; it returns when all of them are new and ready."""
    arguments = ("--set", f"image.tag={tag}", *VALUES, *more, "--wait", "--timeout", "10m")
    run(*run.helm, "upgrade", "--install", RELEASE, "charts/tradepost", *arguments)
    for deployment in (RELEASE, f"{RELEASE}-worker"):
        run(*run.kubectl, "-n", NAMESPACE, "rollout", "status", f"deployment/{deployment}", "--timeout=5m")


def install(run: Run) -> None:
    deploy(run, TAGS[0], "--set", "api.replicas=3")
    run(*run.helm, "test", RELEASE, "--logs", "--timeout", "5m")
    warned = run.text(
        *run.kubectl,
        "-n",
        NAMESPACE,
        "get",
        "events",
        "-o",
        "name",
        "--field-selector",
        "reason=FailedCreate",
    )
    if warned and not run.show:
        raise Failed(f"a pod was refused: {warned}")


def roll(run: Run) -> None:
    node = run.text(*run.kubectl, "get", "nodes", "-o", f"jsonpath={NODE}")
    port = run.text(
        *run.kubectl, "-n", NAMESPACE, "get", "service", RELEASE, "-o", "jsonpath={.spec.ports[0].nodePort}"
    )
    command = (
        sys.executable, "tools/rollout_load.py", f"http://{node}:{port}", "--seconds", str(MOST_SECONDS),
    )  # fmt: skip
    print(f"+ {shlex.join(command)} &", flush=True)
    asking = None if run.show else subprocess.Popen(command, cwd=ROOT)
    try:
        deploy(run, TAGS[1], "--set", "api.replicas=3")
        run(*run.kubectl, "-n", NAMESPACE, "rollout", "restart", f"deployment/{RELEASE}")
        run(*run.kubectl, "-n", NAMESPACE, "rollout", "status", f"deployment/{RELEASE}", "--timeout=5m")
        deploy(run, TAGS[1], "--set", "api.replicas=2")
        run(*run.helm, "rollback", RELEASE, "1", "--wait", "--timeout", "10m")
    finally:
        if asking is not None:
            asking.send_signal(signal.SIGTERM)
            asking.wait(120)
    if asking is not None and asking.returncode:
        raise Failed("a request failed while the service was rolled out")
    run(*run.helm, "test", RELEASE, "--logs", "--timeout", "5m")


def tell_what_is_there(run: Run) -> None:
    """For who reads the log of a failed run: the cluster is about to go."""
    for command in (
        ("get", "all,events", "-o", "wide"),
        ("describe", "pods"),
        ("logs", "--all-containers", "--prefix", "--tail=60", "-l", "app.kubernetes.io/name=tradepost"),
    ):
        try:
            run(*run.kubectl, "-n", NAMESPACE, *command)
        except Failed as fault:
            print(f"end_to_end: {fault}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
