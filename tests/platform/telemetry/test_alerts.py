"""Rules and alerts: well written, and each shown firing and silent."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.platform.telemetry import rules

TESTS = Path(__file__).parent / "alerts"
#: These stand on metrics of kube-state-metrics, which no test of the service can have.
OF_THE_CLUSTER = {
    "TradepostAutoscalerAtMaximum", "TradepostCrashLooping", "TradepostMigrationFailed",
    "TradepostTaskFailed",
}  # fmt: skip


def cases(name: str) -> list[dict[str, Any]]:
    """The tests of a file for promtool."""
    document: dict[str, Any] = yaml.safe_load((TESTS / name).read_text())
    found: list[dict[str, Any]] = document["tests"]
    return found


FILES = sorted(path.name for path in TESTS.glob("*.yaml"))
CHECKS = [check for name in FILES for case in cases(name) for check in case["alert_rule_test"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Each group of rules in a file of its own, so that a test reckons no more than it needs."""
    for group in rules.groups():
        (tmp_path / f"{group['name']}.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    return tmp_path


class TestRules:
    @pytest.mark.slow
    def test_promtool_finds_nothing_wrong_with_the_file_itself(self) -> None:
        count = sum(len(group["rules"]) for group in rules.groups())
        said = rules.promtool("check", "rules", "--lint-fatal", rules.FILES / "alerts.yaml")
        assert f"SUCCESS: {count} rules found" in said

    @pytest.mark.slow
    def test_nor_when_it_is_filled_in(self, folder: Path) -> None:
        rules.promtool("check", "rules", "--lint-fatal", *folder.glob("*.yaml"))

    def test_nothing_is_left_to_fill_in(self) -> None:
        assert "@@" not in yaml.safe_dump(rules.groups())

    def test_every_selector_names_the_release(self) -> None:
        expressions = [rule["expr"] for group in rules.groups() for rule in group["rules"]]
        assert [bare for text in expressions if (bare := rules.bare_names(text))] == []
        found = {selector for text in expressions for selector in rules.selectors(text)}
        assert [selector for selector in found if f'namespace="{rules.NAMESPACE}"' not in selector] == []
        ours = {selector for selector in found if not rules.CLUSTER.match(selector)}
        assert [selector for selector in ours if f'job="{rules.FULLNAME}"' not in selector] == []

    def test_the_guards_know_the_interval(self) -> None:
        """They add up rates per second that are recorded every 30 s."""
        intervals = {group["name"]: group.get("interval") for group in rules.groups()}
        guarded = ("tradepost-requests", "tradepost-objectives", "tradepost-burn")
        assert {intervals[name] for name in guarded} == {"30s"}
        burning = [alert for alert in rules.alerts() if "burn_rate" in alert["labels"]]
        assert all("]) * 30 > 10" in alert["expr"] for alert in burning)

    def test_burn_rates_are_those_of_the_objectives(self) -> None:
        burning = [alert for alert in rules.alerts() if "burn_rate" in alert["labels"]]
        keys = ("objective", "severity", "burn_rate", "window")
        found = [tuple(alert["labels"][key] for key in keys) for alert in burning]
        rates = [("page", "14.4", "1h"), ("page", "6", "6h"), ("ticket", "3", "1d"), ("ticket", "1", "3d")]
        assert found == [(objective, *rate) for objective in ("availability", "latency") for rate in rates]

    def test_those_of_the_cluster_are_known(self) -> None:
        [group] = [group for group in rules.groups() if group["name"] == "tradepost-cluster"]
        assert {rule["alert"] for rule in group["rules"]} == OF_THE_CLUSTER
        elsewhere = {
            alert["alert"]
            for alert in rules.alerts()
            if any(rules.CLUSTER.match(selector) for selector in rules.selectors(alert["expr"]))
        }
        assert elsewhere == OF_THE_CLUSTER


class TestFiring:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", FILES)
    def test_alerts_fire_when_they_should_and_only_then(self, folder: Path, name: str) -> None:
        (folder / name).write_text((TESTS / name).read_text())
        assert "SUCCESS" in rules.promtool("test", "rules", name, folder=folder)

    def test_every_alert_is_shown_firing_in_each_severity_and_window(self) -> None:
        shown = {
            (check["alertname"], fired["exp_labels"]["severity"], fired["exp_labels"].get("window"))
            for check in CHECKS
            for fired in check["exp_alerts"]
        }
        labels = ((alert["alert"], alert["labels"]) for alert in rules.alerts())
        assert shown == {(name, each["severity"], each.get("window")) for name, each in labels}

    def test_every_alert_is_shown_silent(self) -> None:
        silent = {check["alertname"] for check in CHECKS if not check["exp_alerts"]}
        assert silent == {alert["alert"] for alert in rules.alerts()}

    def test_every_burn_rate_is_shown_silent_while_a_slower_one_fires(self) -> None:
        budget = {"TradepostErrorBudgetBurn", "TradepostLatencyBudgetBurn"}
        firing = {
            (check["alertname"], *sorted(fired["exp_labels"]["burn_rate"] for fired in check["exp_alerts"]))
            for check in CHECKS
            if check["alertname"] in budget
        }
        for name in budget:
            assert {(name, "1"), (name, "1", "3"), (name, "1", "3", "6")} <= firing
