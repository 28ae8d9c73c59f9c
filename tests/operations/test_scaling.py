"""A real Prometheus answers what autoscalers ask: KEDA's queries, and those of an adapter."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import asyncpg
import pytest
import yaml

from tests.chart.chart import NAMESPACE, Json, one, rendered
from tests.helpers.client import V1
from tests.helpers.waiting import wait_until
from tests.platform.telemetry.rules import FULLNAME
from tests.platform.telemetry.world import Prometheus, watching
from tests.server.process import PASSWORD, REPOSITORY, Service, cloned_database, started, statement

pytestmark = pytest.mark.slow

#: How long the oldest job has been due when the workers begin to look, which tells one of it from two.
AGE_SECONDS: Final = 10_000
REQUESTS: Final = 3
WORKERS: Final = ("tradepost-worker-a", "tradepost-worker-b")
APIS: Final = ("tradepost-a", "tradepost-b")
JOB: Final = f"""
    INSERT INTO pgqueuer (priority, entrypoint, payload, execute_after, headers, status)
    VALUES (0, 'event', convert_to('{{}}', 'UTF8'), now() - interval '{AGE_SECONDS} s', '{{}}', 'queued')
"""

SLOW_REGISTRATION: Final = (
    """CREATE FUNCTION wait_for_minutes() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN PERFORM pg_sleep(300); RETURN NEW; END $$""",
    "CREATE TRIGGER slow BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION wait_for_minutes()",
)


@contextmanager
def unclaimed(database: str) -> Iterator[None]:
    """Every job that is there is locked by another session, so that no worker claims it."""
    with asyncio.Runner() as runner:
        connection: asyncpg.Connection = runner.run(asyncpg.connect(database))
        runner.run(connection.execute("BEGIN"))
        assert runner.run(connection.fetch("SELECT id FROM pgqueuer WHERE status = 'queued' FOR UPDATE"))
        try:
            yield
        finally:
            runner.run(connection.close())


def unfinished_request(service: Service, number: int) -> socket.socket:
    """A registration that takes minutes: it stays in progress."""
    connection = socket.create_connection(("127.0.0.1", service.port))
    email = f"maria-{service.port}-{number}@shop.example"
    body = json.dumps({"email": email, "password": PASSWORD, "full_name": "Maria Anders"})
    head = f"POST {V1}/users HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return connection


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It looks at two workers while a job waits, and at two pods of the API with requests in progress."""
    folder = tmp_path_factory.mktemp("scaling")
    with ExitStack() as stack:
        database = stack.enter_context(cloned_database())
        statement(database, JOB, *SLOW_REGISTRATION)
        stack.enter_context(unclaimed(database))
        settings: dict[str, Any] = {
            "DATABASE_URL": database,
            "WEB_CONCURRENCY": 1,
            "DATABASE_STATEMENT_TIMEOUT": 300,
        }
        pods = {
            pod: stack.enter_context(started(folder / pod, module=("service", command), **settings))
            for command, names in (("worker", WORKERS), ("serve", APIS))
            for pod in names
        }
        for pod, service in pods.items():
            service.wait_until_up()
            if pod in APIS:
                for number in range(REQUESTS):
                    stack.enter_context(unfinished_request(service, number))
        progress, age = f"http_requests_in_progress {REQUESTS}.0", 'job_oldest_waiting_seconds{kind="event"}'
        wait_until(lambda: all(progress in pods[pod].metrics() for pod in APIS))
        wait_until(lambda: all(age in pods[pod].metrics() for pod in WORKERS))
        # As the chart's monitors have it.
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": FULLNAME,
                    "static_configs": [
                        {
                            "targets": [f"127.0.0.1:{service.metrics_port}"],
                            "labels": {"namespace": NAMESPACE, "pod": pod},
                        }
                        for pod, service in pods.items()
                    ],
                }
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        found = stack.enter_context(watching(folder, folder / "prometheus.yaml"))
        wait_until(lambda: len(found.query(f'up{{job="{FULLNAME}"}} == 1')) == len(pods))
        yield found


def keda_query(suffix: str, trigger: str) -> str:
    """As the chart renders it for production."""
    scaler = one(rendered("environment-production"), "ScaledObject", suffix)["spec"]
    [found] = [each["metadata"]["query"] for each in scaler["triggers"] if each.get("name") == trigger]
    return str(found)


def adapter_rules() -> Json:
    """As the page has them."""
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    [block] = re.findall(r"```yaml\n(rules:\n.*?)```", page, re.DOTALL)
    found: Json = yaml.safe_load(block)
    return found


def adapter_query(rule: Json, metric: str, matchers: str, group: str = "") -> str:
    """As prometheus-adapter fills it in."""
    places = {"<<.Series>>": metric, "<<.LabelMatchers>>": matchers, "<<.GroupBy>>": group}
    text: str = rule["metricsQuery"]
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def one_value(found: list[dict[str, Any]]) -> float:
    """KEDA and the adapter's external metrics take one element, and no more."""
    [element] = found
    return float(element["value"][1])


class TestOldestJob:
    def test_keda_gets_the_age_and_not_one_for_each_worker(self, prometheus: Prometheus) -> None:
        reports = prometheus.query(f'job_oldest_waiting_seconds{{job="{FULLNAME}", kind="event"}}')
        assert {each["metric"]["pod"] for each in reports} == set(WORKERS)
        age = one_value(prometheus.query(keda_query("-worker", "oldest-waiting-job")))
        assert AGE_SECONDS <= age < 2 * AGE_SECONDS

    def test_the_adapter_too(self, prometheus: Prometheus) -> None:
        [rule] = adapter_rules()["externalRules"]
        scaler = one(rendered("autoscaled"), "HorizontalPodAutoscaler", "-worker")["spec"]
        [metric] = [each["external"]["metric"] for each in scaler["metrics"]]
        assert metric["name"] in {
            each["metric"]["__name__"] for each in prometheus.query(rule["seriesQuery"])
        }
        [(label, value)] = metric["selector"]["matchLabels"].items()
        query = adapter_query(rule, metric["name"], f'{label}="{value}",namespace="{NAMESPACE}"')
        assert AGE_SECONDS <= one_value(prometheus.query(query)) < 2 * AGE_SECONDS


class TestRequestsInProgress:
    def test_keda_gets_those_of_all_pods_and_divides(self, prometheus: Prometheus) -> None:
        found = one_value(prometheus.query(keda_query("tradepost", "requests-in-progress")))
        assert found == REQUESTS * len(APIS)

    def test_the_adapter_has_them_by_pod(self, prometheus: Prometheus) -> None:
        [rule] = adapter_rules()["rules"]
        scaler = one(rendered("autoscaled"), "HorizontalPodAutoscaler", "tradepost")["spec"]
        [metric] = [each["pods"]["metric"]["name"] for each in scaler["metrics"] if "pods" in each]
        assert metric in {each["metric"]["__name__"] for each in prometheus.query(rule["seriesQuery"])}
        matchers = f'namespace="{NAMESPACE}",pod=~"{"|".join(APIS)}"'
        found = prometheus.query(adapter_query(rule, metric, matchers, "pod"))
        assert {each["metric"]["pod"]: float(each["value"][1]) for each in found} == dict.fromkeys(
            APIS, float(REQUESTS)
        )
