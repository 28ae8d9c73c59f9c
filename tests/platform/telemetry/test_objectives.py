"""The objectives have one source: rules and alerts, Sloth's and OpenSLO's documents say the same."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart import kubernetes
from tests.platform.telemetry import rules
from tests.server.process import REPOSITORY
from tools import objectives

GIVEN = objectives.source()
#: A day and two hours of requests every 30 s: steadily, with a burst of bad ones in every window but the
#: shortest, two hours of silence of one route, and a restart after them.
SERIES = {
    'http_requests_total{NAMES, route="/v1/items", status="200"}': "0+900x3120",
    'http_requests_total{NAMES, route="/v1/items", status="500"}': "0+1x3080 3140+60x9 3681+1x28",
    'http_requests_total{NAMES, route="/v1/orders", status="503"}': "0+3x1500 _x240 0+3x1380",
    'http_requests_total{NAMES, route="/v1/weather/{city}", status="503"}': "0+500x3120",
    'http_request_duration_seconds_count{NAMES, route="/v1/items"}': "0+903x3120",
    'http_request_duration_seconds_bucket{NAMES, route="/v1/items", le="0.3"}': (
        "0+890x3080 2741700+500x9 2747090+890x28"
    ),
}
NAMES = f'namespace="{rules.NAMESPACE}", job="{rules.FULLNAME}", pod="api-1"'
#: Of three and of 30 days would take promtool minutes; they are written by the same line.
WINDOWS = objectives.windows(GIVEN)[:-2]


def filled(text: str) -> list[Any]:
    return list(yaml.safe_load_all(objectives.filled(text, rules.NAMESPACE, rules.FULLNAME, rules.ADDRESS)))


def sloth() -> dict[str, Any]:
    [found] = filled((objectives.FILES / "sloth.yaml").read_text())
    return dict(found)


def openslo() -> list[dict[str, Any]]:
    return filled(objectives.document("openslo", rules.NAMESPACE, rules.FULLNAME, rules.ADDRESS))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in openslo() if each["kind"] == kind]


def share(bad: str, total: str) -> str:
    """As Sloth divides them."""
    return f"(({bad}) / ({total}))"


class TestFiles:
    def test_they_are_written_from_the_source(self) -> None:
        stale = [path.name for path, text in objectives.files().items() if path.read_text() != text]
        assert stale == [], "run `make objectives`"

    def test_one_that_is_not_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("objectives.yaml", "alerts.yaml"):
            text = (objectives.FILES / name).read_text()
            (tmp_path / name).write_text(text.replace("target: 99.9", "target: 99.5"))
        monkeypatch.setattr(objectives, "FILES", tmp_path)
        text = objectives.files()[tmp_path / "alerts.yaml"]
        assert 'job:http_request_errors:ratio_1h{of="@@RELEASE@@"} > 14.4 * 0.005' in text
        assert "0.5 % are allowed over 30 days" in text
        assert "TradepostOrderInvariantBroken" in text

    @pytest.mark.parametrize("kind", ["sloth", "openslo"])
    def test_the_tool_prints_those_of_a_release(self, kind: str) -> None:
        command = [sys.executable, "tools/objectives.py", kind, "--namespace", "a", "--release", "b"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
        assert 'namespace="a", job="b"' in done.stdout
        assert "@@" not in done.stdout


class TestSloth:
    def test_it_is_what_sloth_takes(self) -> None:
        head = {
            "apiVersion": "sloth.slok.dev/v1",
            "kind": "PrometheusServiceLevel",
            "metadata": {"name": "a"},
        }
        assert kubernetes.faults({**head, "spec": sloth()}, kubernetes.VERSIONS[0]) == []

    def test_objectives_and_names_are_ours(self) -> None:
        found = [(each["name"], each["objective"], each["alerting"]["name"]) for each in sloth()["slos"]]
        assert found == [
            ("availability", 99.9, "TradepostErrorBudgetBurn"),
            ("latency", 99, "TradepostLatencyBudgetBurn"),
        ]

    def test_bad_requests_are_not_all(self) -> None:
        for each in sloth()["slos"]:
            assert each["sli"]["events"]["errorQuery"] != each["sli"]["events"]["totalQuery"]

    def test_windows_are_those_that_sloth_makes_alerts_of(self) -> None:
        """For 30 days, which is its default; they cannot be said in the document."""
        found = [(each["severity"], each["rate"], each["over"], each["and"]) for each in GIVEN["burn_rates"]]
        assert found == [
            ("page", 14.4, "1h", "5m"),
            ("page", 6, "6h", "30m"),
            ("ticket", 3, "1d", "2h"),
            ("ticket", 1, "3d", "6h"),
        ]


class TestOpenSlo:
    def test_it_is_what_the_specification_says(self) -> None:
        validator = jsonschema.Draft202012Validator(kubernetes.own_schema("openslo_v1"))
        for each in openslo():
            validator.validate(each)

    @pytest.mark.parametrize("wrong", [{"kind": "Objective"}, {"spec": {}}, {"metadata": {"name": "A_b"}}])
    def test_a_mistake_is_found(self, wrong: dict[str, Any]) -> None:
        validator = jsonschema.Draft202012Validator(kubernetes.own_schema("openslo_v1"))
        for each in of_kind("SLO"):
            assert not validator.is_valid(each | wrong)

    def test_what_is_referred_to_is_there(self) -> None:
        names = {kind: {each["metadata"]["name"] for each in of_kind(kind)} for kind in KINDS}
        for each in of_kind("SLO"):
            assert each["spec"]["service"] in names["Service"]
            assert {ref["alertPolicyRef"] for ref in each["spec"]["alertPolicies"]} <= names["AlertPolicy"]
            ratio = each["spec"]["indicator"]["spec"]["ratioMetric"]
            for part in ("bad", "total"):
                assert ratio[part]["metricSource"]["metricSourceRef"] in names["DataSource"]
        for each in of_kind("AlertPolicy"):
            targets = {target["targetRef"] for target in each["spec"]["notificationTargets"]}
            assert targets <= names["AlertNotificationTarget"]

    def test_targets_and_burn_rates_are_ours(self) -> None:
        assert [each["spec"]["objectives"][0]["target"] for each in of_kind("SLO")] == [0.999, 0.99]
        conditions = [each["spec"]["conditions"][0]["spec"] for each in of_kind("AlertPolicy")]
        found = [
            (each["severity"], f"{each['condition']['threshold']}", each["condition"]["lookbackWindow"])
            for each in conditions
        ]
        keys = ("severity", "burn_rate", "window")
        burning = [alert["labels"] for alert in rules.alerts() if "burn_rate" in alert["labels"]]
        assert found == [tuple(labels[key] for key in keys) for labels in burning]


KINDS = ("Service", "DataSource", "AlertNotificationTarget", "SLO", "AlertPolicy")


@pytest.mark.slow
class TestNumbers:
    """promtool computes both over the same series."""

    def expressions(self) -> dict[str, str]:
        """Each record of ours, and what the documents say of it."""
        found = {}
        for ours, theirs, document in zip(GIVEN["objectives"], sloth()["slos"], of_kind("SLO"), strict=True):
            record, events = ours["bad"]["record"], theirs["sli"]["events"]
            for window in WINDOWS:
                bad, total = (
                    events[f"{name}Query"].replace("{{.window}}", window) for name in ("error", "total")
                )
                found[f"{record}:ratio_{window}"] = share(bad, total)
            ratio = document["spec"]["indicator"]["spec"]["ratioMetric"]
            bad, total = (ratio[name]["metricSource"]["spec"]["query"] for name in ("bad", "total"))
            found[f"{record}:ratio_5m  "] = share(bad, total)
        return found

    def test_the_documents_compute_what_our_rules_record(self, tmp_path: Path) -> None:
        """But for 3 %: over n samples a rate divides by the n-1 steps between them, and our rules add up
        n rates.
        """
        for group in rules.groups():
            (tmp_path / f"{group['name']}.yaml").write_text(yaml.safe_dump({"groups": [group]}))
        checks = [
            {
                "expr": f"abs({expression} - {record.strip()}) < bool 0.03 * {record.strip()}",
                "eval_time": "26h",
                "exp_samples": [
                    {"labels": f'{{namespace="{rules.NAMESPACE}", job="{rules.FULLNAME}"}}', "value": 1}
                ],
            }
            for record, expression in self.expressions().items()
        ]
        assert len(checks) == 2 * (len(WINDOWS) + 1)
        test = {
            "rule_files": ["tradepost-requests.yaml", "tradepost-objectives.yaml"],
            "group_eval_order": ["tradepost-requests", "tradepost-objectives"],
            "evaluation_interval": "30s",
            "tests": [
                {
                    "interval": "30s",
                    "input_series": [
                        {"series": name.replace("NAMES", NAMES), "values": values}
                        for name, values in SERIES.items()
                    ],
                    "promql_expr_test": checks,
                }
            ],
        }
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
        assert "SUCCESS" in rules.promtool("test", "rules", "test.yaml", folder=tmp_path)
