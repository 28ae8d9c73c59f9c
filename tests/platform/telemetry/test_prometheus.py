"""A real Prometheus looks at the service under load: no panel is empty, no alert looks for what is not."""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import asyncpg
import pytest

from service.platform.telemetry.exemplars import PATTERN
from tests.helpers.waiting import wait_until
from tests.platform.telemetry import rules
from tests.platform.telemetry.load import under_load
from tests.platform.telemetry.recording import record
from tests.platform.telemetry.world import World, running

pytestmark = pytest.mark.slow

DURATION = "http_request_duration_seconds_bucket"
#: Everything has happened at least once by then, and rates have two points to be reckoned from.
LONG_ENOUGH_SECONDS = 120.0
#: What the operators are promised, and the series that tell it; of histograms their counts.
PROMISED = {
    "rate, errors, duration": (
        "http_requests_total{method='GET', route='/api/v1/items/{item_id}', status='200'}",
        "http_requests_total{status='500'}",
        "http_request_duration_seconds_count{method='POST', route='/api/v1/orders'}",
    ),
    "in-flight requests, shed ones": ("http_requests_in_progress", "requests_shed_total"),
    "sizes": ("http_request_size_bytes_count", "http_response_size_bytes_count"),
    "event loop": ("event_loop_lag_seconds_count",),
    "threads": ("thread_pool_tasks", "thread_pool_limit"),
    "hashing": ("password_hashes_waiting", "password_hash_duration_seconds_count"),
    "worker starts": ("gunicorn_workers_started_total", "gunicorn_workers"),
    "worker time-outs": ("gunicorn_worker_exits_total{reason='timeout'}",),
    "pool": (
        "database_pool_connections_in_use",
        "database_pool_size",
        "database_pool_wait_seconds_count",
    ),
    "query time by operation": tuple(
        f"database_query_duration_seconds_count{{operation='{name}'}}"
        for name in ("select", "insert", "update", "with")
    ),
    "transactions": (
        "database_transactions_total{outcome='committed'}",
        "database_transactions_total{outcome='rolled_back'}",
        "database_transactions_retried_total{route='/api/v1/orders'}",
    ),
    "database, listener": ("database_up", "change_feed_listening"),
    "response cache": (
        "response_cache_requests_total{outcome='hit'}",
        "response_cache_requests_total{outcome='miss'}",
        "response_cache_requests_total{outcome='bypass'}",
        "response_cache_invalidations_total{of='items'}",
        "response_cache_entries",
        "response_cache_bytes",
    ),
    "rate limits": (
        "rate_limit_decisions_total{decision='allowed'}",
        "rate_limit_decisions_total{policy='sign_in', decision='refused'}",
    ),
    "sign-ins": (
        "sign_ins_total{outcome='succeeded'}",
        "sign_ins_total{outcome='refused'}",
        "sign_ins_slowed_total",
    ),
    "refresh reuse": ("token_refreshes_total{outcome='reused'}",),
    "orders": tuple(
        f"orders_total{{outcome='{outcome}', shipping='{shipping}'}}"
        for outcome in ("placed", "paid", "shipped", "delivered", "cancelled", "refunded")
        for shipping in ("standard", "express", "overnight")
    ),
    "revenue": ("order_revenue_total",),
    "refusals": (
        "order_refusals_total{code='out_of_stock'}",
        "order_refusals_total{code='price_changed'}",
    ),
    "faults of orders": ("order_invariant_faults_total",),
    "replays": ("idempotent_replays_total{route='/api/v1/orders'}",),
    "invoices": ("invoices_total",),
    "events": ("events_total{outcome='raised'}", "events_total{outcome='handed_on'}"),
    "jobs": ("jobs_total{outcome='done'}", "job_duration_seconds_count", "job_delay_seconds_count"),
    "oldest waiting": ("job_oldest_waiting_seconds", "jobs_waiting", "jobs_failed"),
    "mails": ("mails_total",),
    "webhooks": (
        "webhook_deliveries_total{outcome='succeeded'}",
        "webhook_deliveries_total{outcome='retried'}",
        "webhook_delivery_duration_seconds_count",
        "webhooks_disabled_total{reason='gone'}",
    ),
    "streams": ("notification_streams",),
    "upstream calls by outcome": tuple(
        f"upstream_requests_total{{upstream='{name}', outcome='answered'}}"
        for name in ("geocoding", "forecast", "redis", "smtp", "otlp")
    ),
    "their time": ("upstream_request_duration_seconds_count",),
    "traces": ("trace_spans_total{outcome='sent'}",),
    "build": ("build_info",),
    "processes": ("process_start_time_seconds",),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("world")) as world, under_load(world):
        yield world


def all_come_true(world: World, wanted: Iterable[str], test: Callable[[str], object]) -> list[str]:
    """What has not, within a time that is long enough; each needs to be true only once."""
    left, deadline = list(dict.fromkeys(wanted)), time.monotonic() + LONG_ENOUGH_SECONDS
    while left and not world.faults and time.monotonic() < deadline:
        left = [each for each in left if not test(each)]
        time.sleep(0.2)
    assert world.faults == [], world.faults[0]
    return left


def test_every_query_of_the_dashboard_returns_data(world: World) -> None:
    found = {query: name for name, query in rules.queries()}
    empty = all_come_true(world, found, world.prometheus.has_data)
    assert {found[query]: query for query in empty} == {}
    if target := os.environ.get("DASHBOARD_DATA"):
        record(world, Path(target), float(os.environ.get("DASHBOARD_SECONDS", "180")))


def test_every_selector_of_every_rule_matches_a_series(world: World) -> None:
    expressions = [rule["expr"] for group in rules.groups() for rule in group["rules"]]
    wanted = {selector for text in expressions for selector in rules.selectors(text)}
    ours = sorted(selector for selector in wanted if not rules.CLUSTER.match(selector))
    assert (
        all_come_true(world, ours, lambda each: world.prometheus.has_data(f"last_over_time({each}[10m])"))
        == []
    )
    # The rest is listed in test_alerts.OF_THE_CLUSTER, and promtool shows it firing and silent.
    assert {re.split("[{]", each)[0] for each in wanted - set(ours)} == {
        "kube_cronjob_next_schedule_time",
        "kube_cronjob_spec_suspend",
        "kube_cronjob_status_active",
        "kube_cronjob_status_last_schedule_time",
        "kube_cronjob_status_last_successful_time",
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "kube_horizontalpodautoscaler_status_current_replicas",
        "kube_job_failed",
        "kube_pod_container_status_waiting_reason",
    }


def test_prometheus_evaluates_every_rule(world: World) -> None:
    def health() -> set[str]:
        groups = world.prometheus.ask("rules")["groups"]
        return {rule["health"] + rule.get("lastError", "") for group in groups for rule in group["rules"]}

    wait_until(lambda: health() == {"ok"})


def test_what_the_dashboard_lets_one_choose_is_there(world: World) -> None:
    for variable in rules.dashboard()["templating"]["list"]:
        if variable["type"] != "query":
            continue
        match, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
        match = rules.replaced(match, rules.CHOSEN)
        assert world.prometheus.ask(f"label/{label}/values", **{"match[]": match}), variable["name"]


def test_every_metric_that_is_promised_is_there(world: World) -> None:
    wanted = [series for several in PROMISED.values() for series in several]
    assert all_come_true(world, wanted, world.prometheus.query) == []


def test_promtool_has_nothing_to_say_about_the_metrics(world: World) -> None:
    for process in (world.service, world.worker):
        assert rules.promtool("check", "metrics", stdin=process.metrics()) == ""


class TestExemplars:
    def test_every_panel_that_asks_for_them_gets_some(self, world: World) -> None:
        wanted = rules.with_exemplars()
        empty = all_come_true(world, wanted.values(), world.prometheus.exemplars)
        assert [title for title, query in wanted.items() if query in empty] == []

    @pytest.mark.parametrize(
        ("metric", "label", "kind"),
        [
            ("http_request_duration_seconds_bucket", "route", "served"),
            ("job_duration_seconds_bucket", "kind", "consumed"),
        ],
    )
    def test_they_lead_to_spans_at_the_collector(
        self, world: World, metric: str, label: str, kind: str
    ) -> None:
        def found() -> dict[str, str]:
            return {
                each["labels"]["trace_id"]: each["series"][label]
                for each in world.prometheus.exemplars(metric)
            }

        def names() -> dict[str, set[str]]:
            by_trace: dict[str, set[str]] = {}
            for span in getattr(world.collector, kind):
                by_trace.setdefault(span.trace_id.hex(), set()).add(span.name.rpartition(" ")[2])
            return by_trace

        wait_until(lambda: not found().keys().isdisjoint(names()))
        both = found()
        led = {trace: of for trace, of in names().items() if trace in both}
        assert {trace: both[trace] for trace, of in led.items() if both[trace] not in of} == {}

    def test_every_process_has_some(self, world: World) -> None:
        def of_processes() -> list[bool]:
            stored = {each["labels"]["trace_id"] for each in world.prometheus.exemplars(DURATION)}
            files = (world.service.folder / "data" / "metrics").glob(f"*/{PATTERN}")
            return [any(trace in file.read_text() for trace in stored) for file in files]

        wait_until(lambda: len(found := of_processes()) >= 2 and all(found))

    def test_prometheus_takes_all_of_them(self, world: World) -> None:
        wait_until(lambda: len(world.prometheus.exemplars(DURATION)) > 0)
        assert "xemplar" not in (world.service.folder.parent / "prometheus.log").read_text()


class TestRunbooks:
    def test_their_queries_can_be_pasted(self, world: World) -> None:
        found = {query: page for page, query in rules.runbook_queries()}
        ours = [each for each in found if not rules.CLUSTER.search(each)]
        assert len(found) - len(ours) > 0
        for query in found:
            world.prometheus.query(query)
        wanted = sorted({selector for query in ours for selector in rules.selectors(query)})
        assert (
            all_come_true(
                world, wanted, lambda each: world.prometheus.has_data(f"last_over_time({each}[10m])")
            )
            == []
        )

    async def test_their_statements_can_be_pasted(self, world: World) -> None:
        statements = list(rules.runbook_statements())
        assert statements
        connection = await asyncpg.connect(world.database)
        try:
            for _, text in statements:
                async with connection.transaction():
                    await connection.execute(text)
        finally:
            await connection.close()
