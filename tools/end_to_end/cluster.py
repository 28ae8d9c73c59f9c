"""A cluster, and the commands that make it, change it and ask it."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import build_image
import helm

ROOT = Path(__file__).resolve().parents[2]
CLUSTER, NAMESPACE, RELEASE = "tradepost-e2e", "tradepost", "tradepost"
#: Two tags of the same image: an upgrade is then what an upgrade is, but for the code.
IMAGES = ("tradepost:e2e-1", "tradepost:e2e-2")
SECRETS = "build/prod-like-secrets.yaml"
#: What the phases change of them.
CHANGED = "build/end-to-end-secrets.yaml"
DEPENDENCIES = ("postgresql", "mail", "collector")
#: A load that is not ended by its phase ends by itself.
MOST_SECONDS = 1_500
#: As often as the load signs in again, so that a key's rotation need not wait for the life of a token.
SIGN_IN_SECONDS = 60
ASKS_SECONDS = 10


class Failed(Exception):
    """A command that failed, or a phase in which a request did."""


class Cluster:
    def __init__(self, *, helm_version: str, images: list[str] | None, drain: bool, show: bool) -> None:
        self._given, self._show, self._is_ours = images is not None, show, False
        self.first, self.second = images or IMAGES
        self.drains = drain or not self._given
        self.helm_version = helm_version
        context = [] if self._given else [f"kind-{CLUSTER}"]
        self._kubectl = ("kubectl", *(f"--context={name}" for name in context), "-n", NAMESPACE)
        helm_context = [f"--kube-context={name}" for name in context]
        self._helm = (str(helm.helm(helm_version)), *helm_context, "-n", NAMESPACE)

    def run(self, *command: str) -> None:
        print(f"+ {shlex.join(command)}", flush=True)
        if not self._show and (done := subprocess.run(command, cwd=ROOT, check=False)).returncode:
            raise Failed(f"status {done.returncode}: {shlex.join(command)}")

    def text(self, *command: str, shown: str = "VALUE") -> str:
        """What a command prints; `shown` where commands are only shown."""
        print(f"+ {shlex.join(command)}", flush=True)
        if self._show:
            return shown
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failed(f"status {done.returncode}: {shlex.join(command)}")
        return done.stdout.strip()

    def kubectl(self, *arguments: str) -> None:
        self.run(*self._kubectl, *arguments)

    def found(self, *arguments: str, shown: str = "VALUE") -> str:
        return self.text(*self._kubectl, *arguments, shown=shown)

    def helm(self, *arguments: str) -> None:
        self.run(*self._helm, *arguments)

    def make(self) -> None:
        self.run(sys.executable, "tools/prod_like_secrets.py", SECRETS)
        self.set_secrets({})
        if not self._given:
            self._build()
            self.run(
                "kind", "create", "cluster", "--name", CLUSTER, "--config", "k8s/kind.yaml", "--wait", "180s"
            )
            self.run("kind", "load", "docker-image", "--name", CLUSTER, self.first, self.second)
        if not self._show and self.found("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"):
            raise Failed(f"this cluster has a namespace {NAMESPACE} already: nothing was changed in it")
        self._is_ours = True
        # The namespace first, or the others have none to be in.
        for name in ("namespace", *DEPENDENCIES):
            self.kubectl("apply", "-f", f"k8s/dependencies/{name}.yaml")
        self.kubectl("rollout", "status", "statefulset/postgresql", "--timeout=5m")

    def remove(self) -> None:
        if not self._given:
            self.run("kind", "delete", "cluster", "--name", CLUSTER)
        elif self._is_ours:
            self.kubectl("delete", "namespace", NAMESPACE, "--timeout=5m")

    def _build(self) -> None:
        facts = (
            f"--build-arg=VERSION={build_image.version()}",
            f"--build-arg=REVISION={build_image.revision()}",
        )
        tags = (f"--tag={self.first}", f"--tag={self.second}")
        self.run("docker", "build", "--provenance=false", *facts, *tags, ".")

    def set_secrets(self, secrets: dict[str, str]) -> None:
        """Values of the chart from now on, instead of those of SECRETS."""
        if not self._show:
            path = ROOT / CHANGED
            path.touch(0o600)
            path.write_text(json.dumps({"secrets": secrets}))

    def deploy(self, image: str, *more: str) -> None:
        """The migration first, then pods one by one; it returns when all of them are new and ready."""
        repository, _, tag = image.rpartition(":")
        self.helm(
            "upgrade", "--install", RELEASE, "charts/tradepost",
            "--values", "k8s/environments/dev.yaml", "--values", "k8s/environments/prod-like.yaml",
            "--values", SECRETS, "--values", CHANGED, "--values", "k8s/environments/end-to-end.yaml",
            "--set", f"image.repository={repository},image.tag={tag}", *more, "--wait", "--timeout", "10m",
        )  # fmt: skip
        self.wait_until_rolled_out()

    def wait_until_rolled_out(self) -> None:
        for deployment in (RELEASE, f"{RELEASE}-worker"):
            self.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=5m")

    def smoke_test(self) -> None:
        self.helm("test", RELEASE, "--timeout", "5m")

    def database_node(self) -> str:
        return self.found("get", "pod", "postgresql-0", "-o", "jsonpath={.spec.nodeName}")

    def psql(self, statement: str) -> str:
        command = ("exec", "postgresql-0", "--", "psql", "-U", "tradepost", "-AtXqc", statement)
        return self.found(*command, shown="0")

    def under_load(self, name: str, change: Callable[["Cluster"], None], *, outages: bool) -> dict[str, Any]:
        """Carry out a change while a pod asks the service. Returns what tools/rollout_load counted."""
        pod = f"load-{name}"
        self._begin_load(pod, outages=outages)
        try:
            change(self)
        finally:
            self.kubectl("exec", pod, "--", "/bin/sh", "-c", "kill -TERM 1")
            phase = "jsonpath={.status.containerStatuses[0].state.terminated}"
            self.kubectl("wait", f"pod/{pod}", f"--for={phase}", "--timeout=5m")
            printed = self.found("logs", pod, shown='{"failed": 0, "wrong": 0}')
            print(printed, flush=True)
        self.kubectl("delete", "pod", pod)
        counts: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return counts

    def _begin_load(self, pod: str, *, outages: bool) -> None:
        script = self.found(
            "create",
            "configmap",
            "rollout-load",
            "--from-file=tools/rollout_load",
            "--dry-run=client",
            "-o",
            "json",
        )
        print(f"+ {shlex.join([*self._kubectl, 'apply', '-f', '-'])}", flush=True)
        if not self._show:
            subprocess.run([*self._kubectl, "apply", "-f", "-"], input=script, text=True, check=True)
        overrides = json.dumps(load_pod(self.second, self.database_node(), outages=outages))
        self.kubectl("run", pod, f"--image={self.second}", "--restart=Never", f"--overrides={overrides}")
        self.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=2m")
        # Until its clients have registered.
        self.run("sleep", str(ASKS_SECONDS))

    def show_state(self) -> None:
        """For who reads the log of a failed run: the cluster is about to go."""
        for command in (
            ("get", "all,events", "-o", "wide"),
            ("describe", "pods"),
            ("logs", "--all-containers", "--prefix", "--tail=60", "-l", "app.kubernetes.io/name=tradepost"),
        ):
            try:
                self.kubectl(*command)
            except Failed as fault:
                print(f"end_to_end: {fault}", file=sys.stderr, flush=True)


def load_pod(image: str, node: str, *, outages: bool) -> dict[str, Any]:
    """What `kubectl run` gets as overrides. It is on the database's node, which no phase drains."""
    asks = ["python", "/load", f"http://{RELEASE}", "--seconds", str(MOST_SECONDS)]
    asks += ["--sign-in-seconds", str(SIGN_IN_SECONDS), *(["--outages"] if outages else [])]
    from_secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": RELEASE, "key": name}}}
        for name in ("ADMIN_EMAIL", "ADMIN_PASSWORD")
    ]
    container = {
        "name": "load",
        "image": image,
        "command": asks,
        "env": from_secret,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "script", "mountPath": "/load"}],
    }
    return {
        "apiVersion": "v1",
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "script", "configMap": {"name": "rollout-load"}}],
        },
    }


def need(*programs: str) -> None:
    if missing := [name for name in programs if shutil.which(name) is None]:
        sys.exit(
            f"end_to_end: there is no {' and no '.join(missing)}:"
            " docker runs the cluster, kind makes it, kubectl asks it"
        )
