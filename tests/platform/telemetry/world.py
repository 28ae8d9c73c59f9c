"""A shop as it runs in a cluster: the service, a worker, what they call, and a Prometheus that looks on."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from service.platform.config import generate_key
from tests.contract.upstream import weather_upstream
from tests.helpers.collector import Collector
from tests.helpers.redis import Redis
from tests.helpers.waiting import wait_until
from tests.platform.telemetry.rules import FULLNAME, NAMESPACE, groups
from tests.server.process import Service, cloned_database, free_port, started, statement

#: Sign-ins of one address are slowed down after three failures, and refused after four in a minute.
SETTINGS: Final = {
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "TRUSTED_PROXIES": "127.0.0.1",
    "RATE_LIMIT_SIGN_IN": "4/minute",
    "MAIL_FROM": "shop@shop.example",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
}
API_POD: Final = f"{FULLNAME}-1"
WORKER_POD: Final = f"{FULLNAME}-worker-1"
GOODS: Final = """
    INSERT INTO items (sku, name, price, availability)
        SELECT 'NW-' || n, 'Chai ' || n, 60, CASE WHEN n < 20 THEN 'in_stock' ELSE 'out_of_stock' END
        FROM generate_series(1, 20) AS n;
    INSERT INTO stock (item_id, quantity, reorder_level)
        SELECT id, CASE availability WHEN 'in_stock' THEN 100000 ELSE 0 END, 0 FROM items;
    INSERT INTO stock_movements (item_id, kind, delta, reason)
        SELECT item_id, 'initial', quantity, 'Opening' FROM stock WHERE quantity > 0
"""
#: An order with this reference is refused once for what another transaction might have done.
CONTENTION: Final = """
    CREATE SEQUENCE contentions;
    CREATE FUNCTION contend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('contentions') % 2 = 1 THEN RAISE EXCEPTION 'made up' USING ERRCODE = '40001'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER contend BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.reference = 'contended')
        EXECUTE FUNCTION contend()
"""


class Prometheus:
    """The real one, on a free port of this machine."""

    def __init__(self, port: int) -> None:
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, verify=False)

    def ask(self, path: str, **parameters: Any) -> Any:
        document = self.client.get(f"/{path}", params=parameters).json()
        assert document["status"] == "success", (parameters, document)
        return document["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=text)["result"]
        return found

    def exemplars(self, text: str) -> list[dict[str, Any]]:
        """Each with the labels of its series."""
        now = time.time()
        found = self.ask("query_exemplars", query=text, start=now - 3600, end=now + 60)
        return [{**each, "series": of["seriesLabels"]} for of in found for each in of["exemplars"]]

    def has_data(self, text: str) -> bool:
        """Numbers, that is: a share of nothing is none."""
        return any(each["value"][1] != "NaN" for each in self.query(text))


@dataclass
class World:
    service: Service
    worker: Service
    database: str
    prometheus: Prometheus
    receiver: str
    redis: Redis
    collector: Collector
    #: A fault of the load itself: then the results mean nothing.
    faults: list[str] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Who asked may be gone before the answer."""


def _server(handler: type[BaseHTTPRequestHandler], stack: ExitStack) -> int:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    stack.callback(server.server_close)
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    return int(server.server_port)


class _Receiver(BaseHTTPRequestHandler):
    """Takes webhooks at /erp; /broken does not, and /gone is no more."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.02)
        self.send_response({"/broken": 500, "/gone": 410}.get(self.path, 204))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


def cluster(pods: dict[str, Service]) -> type[BaseHTTPRequestHandler]:
    """Stands in for what kube-state-metrics and the kubelet report, from the processes that there are."""

    def samples() -> Iterator[tuple[str, dict[str, str], float]]:
        for deployment in (FULLNAME, f"{FULLNAME}-worker"):
            yield "kube_deployment_status_replicas_ready", {"deployment": deployment}, 1
        yield "kube_horizontalpodautoscaler_spec_max_replicas", {"horizontalpodautoscaler": FULLNAME}, 4
        for pod, service in pods.items():
            of = {"pod": pod, "container": "tradepost"}
            cpu, memory = _used(service)
            yield "container_cpu_usage_seconds_total", of, cpu
            yield "container_memory_working_set_bytes", of, memory
            yield "kube_pod_container_resource_limits", {**of, "resource": "memory"}, 1024.0**3
            yield "kube_pod_container_status_restarts_total", of, 0

    def line(name: str, labels: dict[str, str], value: float) -> str:
        written = ",".join(f'{key}="{each}"' for key, each in ({"namespace": NAMESPACE} | labels).items())
        return f"{name}{{{written}}} {value}\n"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = "".join(line(*sample) for sample in samples()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing on standard error."""

    return Handler


def _used(service: Service) -> tuple[float, int]:
    """Seconds of CPU, and bytes that no other process has too."""
    cpu, memory = 0.0, 0
    for process in [psutil.Process(service.process.pid), *service.descendants()]:
        try:
            times, sizes = process.cpu_times(), process.memory_full_info()
        except psutil.Error:
            continue
        cpu, memory = cpu + times.user + times.system, memory + sizes.uss
    return cpu, memory


def _configuration(folder: Path, targets: dict[str, int], cluster_port: int) -> Path:
    """As the chart's monitors have it: the release as `job`, and whose pod it is."""
    rules = {"groups": [{**group, "interval": "1s"} for group in groups()]}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    ours = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": NAMESPACE, "pod": pod}}
        for pod, port in targets.items()
    ]
    configuration = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": FULLNAME, "static_configs": ours},
            {"job_name": "cluster", "static_configs": [{"targets": [f"127.0.0.1:{cluster_port}"]}]},
        ],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@contextmanager
def watching(folder: Path, configuration: Path) -> Iterator[Prometheus]:
    """A Prometheus with this configuration."""
    port = free_port()
    command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    command += ["--enable-feature=exemplar-storage"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    found = Prometheus(port)
    try:
        wait_until(lambda: _answers(process, found, folder))
        yield found
    finally:
        found.client.close()
        process.terminate()
        process.wait()


def _answers(process: "subprocess.Popen[bytes]", prometheus: Prometheus, folder: Path) -> bool:
    assert process.poll() is None, (folder / "prometheus.log").read_text()
    try:
        return bool(prometheus.query("vector(1)"))
    except (httpx2.TransportError, json.JSONDecodeError):
        return False


@contextmanager
def running(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        database = stack.enter_context(cloned_database())
        statement(database, GOODS, CONTENTION)
        weather = stack.enter_context(weather_upstream())
        collector = Collector()
        stack.callback(collector.close)
        mail_port = free_port()
        mail = Controller(Sink(), hostname="127.0.0.1", port=mail_port)
        mail.start()
        stack.callback(mail.stop)
        redis = Redis(folder)
        redis.start()
        stack.callback(redis.kill)
        settings: dict[str, Any] = {
            **SETTINGS,
            "DATABASE_URL": database,
            "REDIS_URL": redis.url,
            "SMTP_URL": f"smtp://127.0.0.1:{mail_port}",
            "WEATHER_URL": f"{weather}/forecast",
            "WEATHER_GEOCODING_URL": f"{weather}/search",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "SECRET_KEY": generate_key(),
        }
        service = stack.enter_context(started(folder / "api", **settings))
        worker = stack.enter_context(started(folder / "worker", module=("service", "worker"), **settings))
        pods = {API_POD: service, WORKER_POD: worker}
        cluster_port = _server(cluster(pods), stack)
        targets = {pod: each.metrics_port for pod, each in pods.items()}
        receiver = f"http://127.0.0.1:{_server(_Receiver, stack)}"
        configuration = _configuration(folder, targets, cluster_port)
        prometheus = stack.enter_context(watching(folder, configuration))
        service.wait_until_up()
        worker.wait_until_up()
        yield World(service, worker, database, prometheus, receiver, redis, collector)
