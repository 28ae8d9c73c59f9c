"""Of the dashboard: objectives, requests, runtime and database."""

from typing import Final

from grafana import Panel, quantile, quantiles, rates

ROUTE: Final = ', route=~"$route"'
REQUESTS: Final = f"http_requests_total{{*{ROUTE}}}[~]"
ERRORS: Final = f'http_requests_total{{*{ROUTE}, status=~"5.."}}[~]'
DEPLOYMENTS: Final = '{namespace=~"$namespace", deployment=~"@@FULLNAME@@(-worker)?"}'
AUTOSCALER: Final = '{namespace=~"$namespace", horizontalpodautoscaler="@@FULLNAME@@"}'
IN_USE: Final = "database_pool_connections_in_use{*}"
DURATION: Final = "http_request_duration_seconds"


def cached(outcome: str) -> str:
    """Requests a second that the response cache has seen."""
    return f'sum(rate(response_cache_requests_total{{*, outcome=~"{outcome}"}}[~]))'


def objective(name: str, bad: str, budget: float, runbook: str) -> tuple[Panel, Panel]:
    """How good it was, and what of the badness that is allowed is left."""
    ratio = f"job:{bad}:ratio_30d{{@}}"
    kept = 1 - budget
    return (
        Panel(
            f"{name}, 30 days", f"The objective is {kept:.1%}, over all requests of 30 days.",
            (("", f"1 - {ratio}"),), "percentunit", "stat", 6, 4, ((kept, "green"),), "red", runbook,
            decimals=3,
        ),
        Panel(
            f"{name}: error budget left",
            "Of the bad answers that the objective allows in 30 days. Below zero it is missed: releases that "
            "are not repairs wait.",
            (("", f"1 - {ratio} / {budget}"),), "percentunit", "stat", 6, 4, ((0, "orange"), (0.25, "green")),
            "red", runbook, decimals=1,
        ),
    )  # fmt: skip


def burn(name: str, bad: str, budget: float, runbook: str) -> Panel:
    windows = ("1h", "6h", "1d", "3d")
    return Panel(
        f"{name}: burn rate",
        "How much too fast the error budget is used up: at 1 it lasts for exactly 30 days. 14.4 over an hour "
        "and 6 over six hours get somebody up.",
        tuple((window, f"job:{bad}:ratio_{window}{{@}} / {budget}") for window in windows),
        thresholds=((6, "orange"), (14.4, "red")),
        runbook=runbook,
    )


AVAILABLE: Final = ("Available", "http_request_errors", 0.001, "TradepostErrorBudgetBurn")
QUICK: Final = ("Under 300 ms", "http_requests_slow", 0.01, "TradepostLatencyBudgetBurn")

OBJECTIVES: Final = (
    *objective(*AVAILABLE),
    *objective(*QUICK),
    burn(*AVAILABLE),
    burn(*QUICK),
    Panel(
        "Bad answers",
        "5xx, and answers that took longer than 300 ms, without weather and compute, over five minutes.",
        (("5xx", "job:http_request_errors:rate5m{@}"), ("slow", "job:http_requests_slow:rate5m{@}")),
        "reqps",
    ),
)

RED: Final = (
    Panel(
        "Requests by status", "All answers but those of probes.",
        rates("http_requests_total", "status", ROUTE), "reqps", stacked=True,
    ),
    Panel(
        "Share of errors",
        "5xx are ours. 4xx are the clients', and many at once may still be our doing: a release that refuses "
        "what it took before.",
        (
            ("5xx", f"(sum(rate({ERRORS})) or 0 * sum(rate({REQUESTS}))) / sum(rate({REQUESTS}))"),
            ("4xx", f"sum(rate({ERRORS.replace('5..', '4..')})) / sum(rate({REQUESTS}))"),
        ),
        "percentunit", thresholds=((0.001, "red"),), runbook="TradepostErrorBudgetBurn",
    ),
    Panel(
        "Duration", "From the first byte of the request to the last of the answer; without streams.",
        quantiles(DURATION, ROUTE), "s", thresholds=((0.3, "red"),), runbook="TradepostLatencyBudgetBurn",
    ),
    Panel(
        "Duration by route, p99", "The ten slowest routes.",
        (("{{route}}", f"topk(10, {quantile(0.99, DURATION, 'route', ROUTE)})"),), "s",
    ),
    Panel(
        "Spread of durations", "How many requests took how long: two humps are two kinds of requests.",
        (("{{le}}", f"sum by (le) (increase({DURATION}_bucket{{*{ROUTE}}}[~]))"),), "short", "heatmap",
    ),
    Panel(
        "Under way, and shed",
        "Requests being worked on in each pod; and per second those answered 503 at once because there were "
        "too many.",
        (
            ("{{pod}}", "sum by (pod) (http_requests_in_progress{*})"),
            ("shed per second", "sum(rate(requests_shed_total{*}[~]))"),
        ),
        runbook="TradepostPoolSaturated",
    ),
    Panel(
        "Routes", "Now; the sort order is the reader's.",
        (
            ("Requests", f"sum by (route) (rate({REQUESTS})) > 0"),
            ("5xx", f"sum by (route) (rate({ERRORS})) / sum by (route) (rate({REQUESTS}))"),
            ("p50", f"{quantile(0.5, DURATION, 'route', ROUTE)} > 0"),
            ("p99", f"{quantile(0.99, DURATION, 'route', ROUTE)} > 0"),
        ),
        "short", "table", 16, 8,
    ),
    Panel(
        "Sizes, p95", "Bodies of requests and answers.",
        (
            ("request", quantile(0.95, "http_request_size_bytes", also=ROUTE)),
            ("answer", quantile(0.95, "http_response_size_bytes", also=ROUTE)),
        ),
        "bytes", height=8,
    ),
    Panel(
        "Answers from memory",
        "Hits, of the public reads that may come from memory. Bypassed, of all public reads: with "
        "credentials, a body or another format, or because the change feed is not heard.",
        (
            ("hits", f"{cached('hit')} / {cached('hit|miss')}"),
            ("bypassed", f"{cached('bypass')} / {cached('.+')}"),
        ),
        "percentunit", width=6, runbook="TradepostChangeFeedSilent", highest=1,
    ),
    Panel(
        "Answers dropped",
        "From memory, by what has changed: where there are many, hits are few. everything: a process began "
        "to listen anew.",
        rates("response_cache_invalidations_total", "of"), "ops", width=6, stacked=True,
        runbook="TradepostChangeFeedSilent",
    ),
    Panel(
        "Answers kept", "In memory, in all processes of each pod.",
        (("{{pod}}", "sum by (pod) (response_cache_entries{*})"),), width=6, stacked=True,
    ),
    Panel(
        "Memory of answers kept", "About; each process has RESPONSE_CACHE_BYTES for them.",
        (("{{pod}}", "sum by (pod) (response_cache_bytes{*})"),), "bytes", width=6, stacked=True,
    ),
)  # fmt: skip

RUNTIME: Final = (
    Panel(
        "Event loop lag, p99", "How late a turn of the event loop comes; every request of the process waits.",
        (("{{pod}}", quantile(0.99, "event_loop_lag_seconds", "pod")),), "s", width=6,
        thresholds=((0.1, "red"),), runbook="TradepostEventLoopLag",
    ),
    Panel(
        "Threads", "In use, and how many there may be: work that would block the event loop.",
        (("in use", "sum(thread_pool_tasks{*})"), ("limit", "sum(thread_pool_limit{*})")), width=6,
    ),
    Panel(
        "Passwords to hash", "Being hashed, or waiting for a thread that does it; sign-ins wait as long.",
        (("{{pod}}", "sum by (pod) (password_hashes_waiting{*})"),), width=6,
        runbook="TradepostSignInsFailing",
    ),
    Panel(
        "Hashing", "Of one password, the waiting for its turn included.",
        quantiles("password_hash_duration_seconds"), "s", width=6,
    ),
    Panel(
        "Worker processes", "Of each pod: fewer than WEB_CONCURRENCY, and one is being replaced.",
        (("{{pod}}", "sum by (pod) (gunicorn_workers{*})"),), width=6, runbook="TradepostWorkerTimeouts",
    ),
    Panel(
        "Worker processes that came and went",
        "timeout: no sign of life for a minute. signal: killed, perhaps for its memory. Others are told to.",
        (
            ("started", "sum(increase(gunicorn_workers_started_total{*}[~]))"),
            ("ended: {{reason}}", "sum by (reason) (increase(gunicorn_worker_exits_total{*}[~]))"),
        ),
        width=6, runbook="TradepostWorkerTimeouts",
    ),
    Panel(
        "CPU", "Of each pod, in cores (by the cluster's own metrics).",
        (("{{pod}}", 'sum by (pod) (rate(container_cpu_usage_seconds_total{^, container!=""}[~]))'),),
        width=6,
    ),
    Panel(
        "Memory", "The working set of each pod, by which it is killed (by the cluster's own metrics).",
        (
            ("{{pod}}", 'sum by (pod) (container_memory_working_set_bytes{^, container!=""})'),
            ("lowest limit", 'min(kube_pod_container_resource_limits{^, resource="memory"})'),
        ),
        "bytes", width=6, runbook="TradepostCrashLooping",
    ),
    Panel(
        "Pods", "Ready ones, and how many the autoscaler may make (by kube-state-metrics).",
        (
            ("ready: {{deployment}}", f"kube_deployment_status_replicas_ready{DEPLOYMENTS}"),
            ("at most", f"kube_horizontalpodautoscaler_spec_max_replicas{AUTOSCALER}"),
        ),
        width=8, runbook="TradepostAutoscalerAtMaximum",
    ),
    Panel(
        "Restarts", "Of containers (by kube-state-metrics).",
        (("{{pod}} {{container}}", "increase(kube_pod_container_status_restarts_total{^}[~])"),),
        width=8, thresholds=((1, "red"),), runbook="TradepostCrashLooping",
    ),
    Panel(
        "Versions", "Pods by version: two at a time are a release under way.",
        (("{{version}}", "count by (version) (build_info{@})"),), width=8, stacked=True,
    ),
)  # fmt: skip

DATABASE: Final = (
    Panel(
        "Connections in use", "Of what the pool may open, in each pod.",
        (("{{pod}}", f"sum by (pod) ({IN_USE}) / sum by (pod) (database_pool_size{{*}})"),),
        "percentunit", thresholds=((0.9, "red"),), runbook="TradepostPoolSaturated", highest=1,
    ),
    Panel(
        "Connections", "In use and allowed, over all pods; the database's max_connections must have room.",
        (
            ("in use", "sum(database_pool_connections_in_use{*})"),
            ("allowed", "sum(database_pool_size{*})"),
        ),
        runbook="TradepostPoolSaturated",
    ),
    Panel(
        "Waiting for a connection", "What a request waits before it can ask.",
        quantiles("database_pool_wait_seconds"), "s", thresholds=((0.1, "red"),),
        runbook="TradepostPoolSaturated",
    ),
    Panel(
        "Time of a query, p95", "By what the statement does.",
        (("{{operation}}", quantile(0.95, "database_query_duration_seconds", "operation")),), "s",
    ),
    Panel(
        "Queries", "By what the statement does.",
        rates("database_query_duration_seconds_count", "operation"), "ops", stacked=True,
    ),
    Panel(
        "Transactions", "Rolled back are refusals too. Retried: after a deadlock or a serialisation failure.",
        (
            *rates("database_transactions_total", "outcome"),
            ("retried: {{route}}", "sum by (route) (rate(database_transactions_retried_total{*}[~]))"),
        ),
        "ops",
    ),
    Panel(
        "The database answers", "1, or 0 where a pod cannot reach it.",
        (("{{pod}}", "min by (pod) (database_up{*})"),), width=12, height=5, thresholds=((1, "green"),),
        base="red", runbook="TradepostDatabaseDown", highest=1,
    ),
    Panel(
        "The change feed is heard", "1, or 0 where a pod does not hear what others commit.",
        (("{{pod}}", "min by (pod) (change_feed_listening{*})"),), width=12, height=5,
        thresholds=((1, "green"),), base="red", runbook="TradepostChangeFeedSilent", highest=1,
    ),
)  # fmt: skip

ROWS: Final = (
    ("Objectives and error budget", OBJECTIVES),
    ("Requests: rate, errors, duration", RED),
    ("Runtime", RUNTIME),
    ("Database", DATABASE),
)
