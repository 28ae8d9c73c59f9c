"""As much of an API server as Helm asks while it renders: what there is, and objects by their path."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from tests.chart.chart import Json

#: What there is of each version of the API. Helm 4 asks for every kind that it renders.
KINDS: Final = {
    "v1": ("Secret", "ConfigMap", "Service", "ServiceAccount", "Pod"),
    "apps/v1": ("Deployment",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "batch/v1": ("Job", "CronJob"),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
}


def plural_of(kind: str) -> str:
    return f"{kind.lower().removesuffix('y')}ies" if kind.endswith("y") else f"{kind.lower()}s"


def discovered() -> Iterator[tuple[str, Json]]:
    yield "/version", {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    yield "/api", {"kind": "APIVersions", "versions": ["v1"]}
    groups = [version.split("/") for version in KINDS if "/" in version]
    named = [
        {"name": name, "versions": [{"groupVersion": f"{name}/{v}", "version": v}]} for name, v in groups
    ]
    yield "/apis", {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
    for version, kinds in KINDS.items():
        resources = [
            {
                "name": plural_of(kind),
                "kind": kind,
                "namespaced": True,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            }
            for kind in kinds
        ]
        found = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": resources,
        }
        yield ("/apis/" if "/" in version else "/api/") + version, found


LACKING: Final = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
}


def send(handler: BaseHTTPRequestHandler, status: int, content: str, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", content)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def answer(handler: BaseHTTPRequestHandler, document: Json | None, status: int = 200) -> None:
    """Without a document there is no such object."""
    status = status if document is not None else 404
    send(handler, status, "application/json", json.dumps(document or LACKING).encode())


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, objects: dict[str, Json], *rest: Any) -> None:
        self.objects = objects
        super().__init__(*rest)

    def do_GET(self) -> None:
        answer(self, self.objects.get(self.path.partition("?")[0]))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def cluster(folder: Path, objects: dict[str, Json]) -> Iterator[Path]:
    """The kubeconfig of a cluster that has these objects."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, dict(discovered()) | objects)) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield kubeconfig(folder, server.server_port)
        server.shutdown()


def kubeconfig(folder: Path, port: int) -> Path:
    """With the one cluster, on this machine."""
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return config
