"""Of the dashboard: what is called and what is done later; what the shop is there for."""

from typing import Final

from grafana import Panel, quantile, rates

WORK: Final = (
    Panel(
        "Calls to others", "By service and outcome; the weather's two, mail, Redis, the traces' collector.",
        rates("upstream_requests_total", "upstream, outcome"), "reqps", runbook="TradepostUpstreamFailing",
    ),
    Panel(
        "Time of a call, p95", "By service.",
        (("{{upstream}}", quantile(0.95, "upstream_request_duration_seconds", "upstream")),), "s",
        runbook="TradepostUpstreamFailing",
    ),
    Panel(
        "Oldest job", "For how long the oldest of each kind could have been taken.",
        (("{{kind}}", "max by (kind) (job_oldest_waiting_seconds{*})"),), "s",
        thresholds=((300, "red"),), runbook="TradepostOldestJobWaiting",
    ),
    Panel(
        "Jobs", "Attempts by kind and outcome; put off are to be tried again.",
        rates("jobs_total", "kind, outcome"), "ops", runbook="TradepostJobsFailed",
    ),
    Panel(
        "Queue", "Jobs that wait, and those that have failed for good and are kept.",
        (
            ("{{kind}} waiting", "max by (kind) (jobs_waiting{*})"),
            ("{{kind}} failed", "max by (kind) (jobs_failed{*})"),
        ),
        runbook="TradepostJobsFailed",
    ),
    Panel(
        "Delay and time of a job, p95", "From when it was due to its beginning; and of an attempt.",
        (
            ("delay: {{kind}}", quantile(0.95, "job_delay_seconds", "kind")),
            ("time: {{kind}}", quantile(0.95, "job_duration_seconds", "kind")),
        ),
        "s", runbook="TradepostOldestJobWaiting",
    ),
    Panel(
        "Events", "Raised by changes, and handed on to who wants them: the same number, a moment later.",
        rates("events_total", "outcome"), "ops", runbook="TradepostOldestJobWaiting",
    ),
    Panel(
        "Webhook deliveries", "Tries by outcome.", rates("webhook_deliveries_total", "outcome"), "ops",
        stacked=True, runbook="TradepostWebhooksFailing",
    ),
    Panel(
        "Time of a delivery, p95", "From looking up the receiver to the end of its answer.",
        (("{{outcome}}", quantile(0.95, "webhook_delivery_duration_seconds", "outcome")),), "s",
        runbook="TradepostWebhooksFailing",
    ),
    Panel("Mails", "By outcome.", rates("mails_total", "outcome"), "ops", width=6, stacked=True),
    Panel(
        "Webhooks given up", "In the time shown, by reason.",
        (("{{reason}}", "sum by (reason) (increase(webhooks_disabled_total{*}[$__range]))"),), "short",
        "stat", 6, decimals=0, runbook="TradepostWebhooksFailing",
    ),
    Panel(
        "Spans", "Sent; lost because the collector did not take them; dropped because too many waited.",
        rates("trace_spans_total", "outcome"), "ops", width=6, runbook="TradepostUpstreamFailing",
    ),
    Panel(
        "Streams of notifications", "Open ones.",
        (("{{opened_by}}", "sum by (opened_by) (notification_streams{*})"),), width=6,
    ),
)  # fmt: skip

BUSINESS: Final = (
    Panel(
        "Orders by what became of them", "In the time shown.",
        (("{{outcome}}", "sum by (outcome) (increase(orders_total{*}[$__range]))"),), "short", "stat", 12, 4,
        decimals=0,
    ),
    Panel(
        "Revenue", "Of orders that were paid in the time shown; refunds are not taken off.",
        (("{{currency}}", "sum by (currency) (increase(order_revenue_total{*}[$__range]))"),), "short",
        "stat", 6, 4, decimals=0,
    ),
    Panel(
        "Faults of orders", "That the hourly check has found: what must never be.",
        (("", "sum(order_invariant_faults_total{@})"),), "short", "stat", 6, 4, ((1, "red"),), decimals=0,
        runbook="TradepostOrderInvariantBroken",
    ),
    Panel(
        "Orders an hour", "By outcome.",
        (("{{outcome}}", "3600 * sum by (outcome) (rate(orders_total{*}[~]))"),),
    ),
    Panel(
        "Orders an hour by shipping", "Those that were placed.",
        (("{{shipping}}", '3600 * sum by (shipping) (rate(orders_total{*, outcome="placed"}[~]))'),),
        stacked=True,
    ),
    Panel(
        "Refused orders an hour", "By the code of the problem.",
        (("{{code}}", "3600 * sum by (code) (rate(order_refusals_total{*}[~]))"),), stacked=True,
    ),
    Panel(
        "Sign-ins", "With a password, by outcome; slowed are those that follow too many failures.",
        (
            *rates("sign_ins_total", "outcome"),
            ("slowed: {{outcome}}", "sum by (outcome) (rate(sign_ins_slowed_total{*}[~]))"),
        ),
        "ops", runbook="TradepostSignInsFailing",
    ),
    Panel(
        "Refresh tokens", "reused: a second time, which is theft or a broken client.",
        rates("token_refreshes_total", "outcome"), "ops", runbook="TradepostRefreshTokensReused",
    ),
    Panel(
        "Rate limits", "What was not simply allowed: refused, or let through because the store has failed.",
        rates("rate_limit_decisions_total", "policy, decision", ', decision!="allowed"'), "ops", stacked=True,
        runbook="TradepostSignInsFailing",
    ),
    Panel(
        "Answers given again", "Requests that came again under their key, by route.",
        rates("idempotent_replays_total", "route"), "ops", width=12,
    ),
    Panel(
        "Invoices", "By outcome.", rates("invoices_total", "outcome"), "ops", width=12, stacked=True,
    ),
)  # fmt: skip

ROWS: Final = (
    ("Dependencies, jobs and webhooks", WORK),
    ("Business", BUSINESS),
)
