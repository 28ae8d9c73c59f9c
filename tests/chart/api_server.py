"""A stand-in for an API server that keeps objects, for what Helm and kubectl leave behind.

It stores what it is sent, lists, watches and deletes it, and plays the part of the controllers: a Job or a
Pod has ended as soon as it is there. It checks nothing: the schemas do.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.chart.chart import Json
from tests.chart.cluster import KINDS, LACKING, answer, discovered, kubeconfig, plural_of, send

POLL_SECONDS: Final = 0.02
#: What a body of protobuf begins with, and the kind of field that has a length.
MAGIC: Final = b"k8s\0"
LENGTH: Final = 2
_PATH: Final = re.compile(
    r"(/api/v1|/apis/[^/]+/[^/]+)/namespaces/([^/]+)/([a-z]+)(?:/([^/]+))?(?:/(log|status))?"
)
#: Of every pod.
LOG: Final = "ok    register a customer"
#: What controllers would make of an object whose program ends well, or does not.
STATUS: Final[dict[tuple[str, bool], Json]] = {
    ("Job", True): {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1},
    ("Job", False): {"conditions": [{"type": "Failed", "status": "True"}], "failed": 1},
    ("Pod", True): {"phase": "Succeeded"},
    ("Pod", False): {"phase": "Failed"},
}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Of a message of protobuf: numbers, and bytes."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        value: Any = number()
        if key & 7 == LENGTH:
            value, at = message[at : at + value], at + value
        yield key >> 3, value


def _map(message: bytes) -> tuple[str, bytes]:
    found = dict(_fields(message))
    return found.get(1, b"").decode(), found.get(2, b"")


def _release(body: bytes) -> Json:
    """The Secret that Helm keeps a release in, which its client sends as protobuf."""
    raw = dict(_fields(body.removeprefix(MAGIC)))[2]
    metadata: Json = {"labels": {}}
    document: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}}
    for field_number, value in _fields(raw):
        if field_number == 1:
            for inner, part in _fields(value):
                if inner == 1:
                    metadata["name"] = part.decode()
                elif inner == 11:
                    name, text = _map(part)
                    metadata["labels"][name] = text.decode()
        elif field_number == 2:
            name, text = _map(value)
            document["data"][name] = base64.b64encode(text).decode()
        elif field_number == 3:
            document["type"] = value.decode()
    return document


@dataclass
class Store:
    """Objects by their path, and what has happened to them, in order."""

    objects: dict[str, Json] = field(default_factory=dict)
    events: list[tuple[str, str, Json]] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    #: Whether programs in pods end well.
    well: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, document: Json) -> Json:
        with self.lock:
            known = path in self.objects
            metadata = document["metadata"] | {"resourceVersion": str(len(self.events) + 1)}
            metadata.setdefault("uid", f"uid-{len(self.events) + 1}")
            metadata.setdefault("generation", 1)
            found = {**document, "metadata": metadata}
            if status := STATUS.get((document["kind"], self.well)):
                found["status"] = {**status, "observedGeneration": 1}
            self.objects[path] = found
            self.events.append(("MODIFIED" if known else "ADDED", path, found))
            if not known:
                self.created.append(f"{document['kind']} {metadata['name']}")
            return found

    def remove(self, path: str) -> Json | None:
        with self.lock:
            found = self.objects.pop(path, None)
            if found is not None:
                self.events.append(("DELETED", path, found))
            return found

    def names(self, kind: str | None = None) -> list[str]:
        """What is there, but for what Helm keeps its releases in."""
        found = [each for each in self.objects.values() if each.get("type") != "helm.sh/release.v1"]
        wanted = [each for each in found if kind in {None, each["kind"]}]
        return sorted(f"{each['kind']} {each['metadata']['name']}" for each in wanted)


def _openapi() -> Iterator[tuple[str, Json]]:
    """So much that clients leave the checking of fields to the server."""
    roots = {gv: f"api{'s' if '/' in gv else ''}/{gv}" for gv in KINDS}
    paths = {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in roots.values()}
    yield "/openapi/v3", {"paths": paths}
    for gv, root in roots.items():
        group, _, version = gv.rpartition("/")
        patches = {
            f"/{root}/{kind}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
                }
            }
            for kind in KINDS[gv]
        }
        yield f"/openapi/v3/{root}", {"openapi": "3.0.0", "info": {}, "paths": patches}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, store: Store, known: dict[str, Json], *rest: Any) -> None:
        self.store, self.known = store, known
        super().__init__(*rest)

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        match = _PATH.fullmatch(split.path)
        if match is None:
            answer(self, self.known.get(split.path))
        elif match[5] == "log" and split.path.rpartition("/")[0] in self.store.objects:
            send(self, 200, "text/plain", f"{LOG}\n".encode())
        elif match[4]:
            answer(self, None if match[5] else self.store.objects.get(split.path))
        elif "sendInitialEvents" in query:
            # As a server that does not know it: the client lists, and then watches.
            answer(self, {**LACKING, "reason": "Invalid", "code": 422}, 422)
        elif query.get("watch") in {"1", "true"}:
            with suppress(OSError):  # the client has seen enough
                self._watch(split.path, query)
        else:
            root, plural = match[1].split("/", 2)[2], match[3]
            [kind] = [each for each in KINDS[root] if plural_of(each) == plural]
            items = [each for _, each in self._matching(split.path, query)]
            version = {"resourceVersion": str(len(self.store.events))}
            answer(self, {"kind": f"{kind}List", "apiVersion": root, "metadata": version, "items": items})

    def do_POST(self) -> None:
        document = self._body()
        name = document["metadata"].get("name")
        path = f"{urlsplit(self.path).path}/{name}"
        if path in self.store.objects:
            answer(self, {**LACKING, "reason": "AlreadyExists", "code": 409}, 409)
        else:
            answer(self, self.store.put(path, document), 201)

    def do_PUT(self) -> None:
        answer(self, self.store.put(urlsplit(self.path).path, self._body()))

    def do_PATCH(self) -> None:
        """As server-side apply: what is sent is the whole."""
        assert self.headers["Content-Type"] == "application/apply-patch+yaml", "no merge is made here"
        self.do_PUT()

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer(self, self.store.remove(urlsplit(self.path).path))

    def _matching(self, path: str, query: dict[str, str]) -> Iterator[tuple[str, Json]]:
        wanted = dict(each.split("=", 1) for each in query.get("labelSelector", "").split(",") if each)
        named = query.get("fieldSelector", "").removeprefix("metadata.name=")
        for each, document in list(self.store.objects.items()):
            labels = document["metadata"].get("labels", {})
            found = each.rpartition("/")[0] == path and wanted.items() <= labels.items()
            if found and named in {"", document["metadata"]["name"]}:
                yield each, document

    def _watch(self, path: str, query: dict[str, str]) -> None:
        """From a version on, or from what is there."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seen = int(query.get("resourceVersion") or 0)
        named = query.get("fieldSelector", "").removeprefix("metadata.name=")
        end = time.monotonic() + float(query.get("timeoutSeconds", 60))
        while time.monotonic() < end and not self.store.ended.is_set():
            for kind, where, document in self.store.events[seen:]:
                if where.rpartition("/")[0] == path and named in {"", document["metadata"]["name"]}:
                    line = json.dumps({"type": kind, "object": document}).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                seen += 1
            time.sleep(POLL_SECONDS)
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> Json:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if text.startswith(MAGIC):
            return _release(text)
        found: Json = yaml.safe_load(text) or {}
        return found

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def api_server(folder: Path) -> Iterator[tuple[Path, Store]]:
    """The kubeconfig of an empty cluster, and what it will have."""
    store = Store()
    handler = partial(_Handler, store, dict(discovered()) | dict(_openapi()))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield kubeconfig(folder, server.server_port), store
        store.ended.set()
        server.shutdown()
