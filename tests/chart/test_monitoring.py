"""What the chart installs for Prometheus and Grafana is what their own tests have seen."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.chart.chart import CASES, Json, of_kind, one, refused, rendered, template
from tests.platform.telemetry import rules

#: As tests/platform/telemetry fill them in.
AS_THERE = ("--set", f"monitoring.enabled=true,monitoring.runbooks={rules.ADDRESS}/")


def labels_of(objects: list[Json], deployment: str) -> dict[str, str]:
    found: dict[str, str] = one(objects, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"]
    return found


class TestRules:
    def test_they_are_the_tested_ones(self) -> None:
        """promtool shows each of those firing and silent."""
        rule = one(rendered("minimal", *AS_THERE), "PrometheusRule")
        assert rule["spec"]["groups"] == rules.groups()

    @pytest.mark.parametrize("name", ["everything", "environment-production"])
    def test_they_are_this_releases(self, name: str) -> None:
        rule = one(rendered(name), "PrometheusRule")
        text = yaml.safe_dump(rule["spec"])
        fullname = rule["metadata"]["name"]
        assert "@@" not in text
        assert set(re.findall(r'\bjob="([^"]*)"', text)) == {fullname}
        assert set(re.findall(r'\bnamespace="([^"]*)"', text)) == {"shop"}

    def test_runbooks_lie_where_the_value_says(self) -> None:
        groups = one(rendered("everything"), "PrometheusRule")["spec"]["groups"]
        addresses = [
            rule["annotations"]["runbook_url"]
            for group in groups
            for rule in group["rules"]
            if "alert" in rule
        ]
        assert addresses
        assert all(re.fullmatch(r"https://wiki\.shop\.example/runbooks/\w+\.md", each) for each in addresses)

    @pytest.mark.slow
    def test_promtool_takes_them(self, tmp_path: Path) -> None:
        spec = one(rendered("everything"), "PrometheusRule")["spec"]
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
        count = sum(len(group["rules"]) for group in spec["groups"])
        said = rules.promtool("check", "rules", "--lint-fatal", tmp_path / "rules.yaml")
        assert f"SUCCESS: {count} rules found" in said

    def test_what_they_say_of_the_cluster_has_its_name(self) -> None:
        """Metrics of kube-state-metrics name Deployments, the autoscaler and the Job."""
        objects = rendered("everything")
        groups = one(objects, "PrometheusRule")["spec"]["groups"]
        text = "\n".join(rule["expr"] for group in groups for rule in group["rules"])
        [job] = set(re.findall(r'job_name=~"([^"]*)"', text))
        assert re.fullmatch(job, one(objects, "Job")["metadata"]["name"])
        [scaler] = set(re.findall(r'horizontalpodautoscaler=~"([^"]*)"', text))
        assert re.fullmatch(scaler, one(objects, "HorizontalPodAutoscaler")["metadata"]["name"])
        for name in ("shop-worker", "keda-hpa-shop", "keda-hpa-shop-worker"):
            assert re.fullmatch(scaler, name)
        assert not re.fullmatch(scaler, "other-shop")
        [pod] = set(re.findall(r'\bpod=~"([^"]*)"', text))
        for deployment in of_kind(objects, "Deployment"):
            assert re.fullmatch(pod, f"{deployment}-6d4cf56db6-abcde")


class TestSloth:
    def test_it_is_asked_for(self) -> None:
        assert of_kind(rendered("everything"), "PrometheusServiceLevel") == {}

    def test_the_objectives_are_this_releases(self) -> None:
        found = one(rendered("sloth"), "PrometheusServiceLevel")
        assert found["metadata"]["labels"]["release"] == "prometheus"
        assert found["spec"]["service"] == found["metadata"]["name"] == "tradepost"
        text = yaml.safe_dump(found["spec"])
        assert "@@" not in text
        assert set(re.findall(r'\bjob="([^"]*)"', text)) == {"tradepost"}
        assert set(re.findall(r'\bnamespace="([^"]*)"', text)) == {"shop"}
        assert text.count("{{.window}}") == 6

    def test_no_alert_comes_twice(self) -> None:
        """Sloth makes those of the objectives; the shares are recorded for the dashboard all the same."""
        objects = rendered("sloth")
        theirs = {each["alerting"]["name"] for each in one(objects, "PrometheusServiceLevel")["spec"]["slos"]}
        groups = one(objects, "PrometheusRule")["spec"]["groups"]
        ours = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
        assert theirs == {"TradepostErrorBudgetBurn", "TradepostLatencyBudgetBurn"}
        assert ours == {alert["alert"] for alert in rules.alerts()} - theirs
        assert [group["name"] for group in groups if not group["rules"]] == []
        assert {"tradepost-requests", "tradepost-objectives"} <= {group["name"] for group in groups}

    def test_a_value_that_is_not_there_is_refused(self) -> None:
        assert "alerts" in refused("--set", "monitoring.slo.sloth.alerts=true")
        assert "enabled" in refused("--set", "monitoring.slo.sloth.enabled=auto")


class TestDashboard:
    def test_it_is_the_tested_one(self) -> None:
        found = one(rendered("minimal", *AS_THERE), "ConfigMap", "-dashboard")
        assert json.loads(found["data"]["tradepost.json"]) == rules.dashboard()
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"

    @pytest.mark.parametrize("name", sorted(CASES))
    def test_grafana_takes_its_name(self, name: str) -> None:
        for found in of_kind(rendered(name), "ConfigMap").values():
            for text in (value for key, value in found["data"].items() if key.endswith(".json")):
                board = json.loads(text)
                assert len(board["uid"]) <= 40
                assert "@@" not in text

    def test_the_braces_of_grafana_survive(self) -> None:
        [text] = one(rendered("everything"), "ConfigMap", "-dashboard")["data"].values()
        assert "{{" in text


class TestScraping:
    """Rules and dashboard look for series with the release's name as `job`, from the API and from workers."""

    def test_the_api_is_found_by_its_metrics_service(self) -> None:
        objects = rendered("everything")
        monitor = one(objects, "ServiceMonitor")["spec"]
        service = one(objects, "Service", "-metrics")
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        plain = one(objects, "Service", "shop")["metadata"]["labels"]
        assert not monitor["selector"]["matchLabels"].items() <= plain.items()
        assert service["spec"]["selector"].items() <= labels_of(objects, "shop").items()
        [endpoint], [port] = monitor["endpoints"], service["spec"]["ports"]
        assert endpoint["port"] == port["name"]
        [container] = one(objects, "Deployment", "shop")["spec"]["template"]["spec"]["containers"]
        assert port["targetPort"] in {each["name"] for each in container["ports"]}

    def test_workers_are_found_by_themselves(self) -> None:
        objects = rendered("everything")
        monitor = one(objects, "PodMonitor")["spec"]
        wanted = monitor["selector"]["matchLabels"].items()
        assert wanted <= labels_of(objects, "-worker").items()
        assert not wanted <= labels_of(objects, "shop").items()
        [endpoint] = monitor["podMetricsEndpoints"]
        [container] = one(objects, "Deployment", "-worker")["spec"]["template"]["spec"]["containers"]
        assert endpoint["port"] in {each["name"] for each in container["ports"]}

    def test_both_are_one_job_called_after_the_release(self) -> None:
        objects = rendered("everything")
        endpoints = [
            *one(objects, "ServiceMonitor")["spec"]["endpoints"],
            *one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"],
        ]
        relabelled = [endpoint["relabelings"] for endpoint in endpoints]
        assert relabelled == [[{"action": "replace", "targetLabel": "job", "replacement": "shop"}]] * 2
        assert {(each["interval"], each["scrapeTimeout"]) for each in endpoints} == {("30s", "10s")}

    def test_prometheus_finds_them_by_labels_of_its_own(self) -> None:
        for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"):
            assert one(rendered("everything"), kind)["metadata"]["labels"]["release"] == "prometheus"

    def test_nothing_of_it_is_there_unasked(self) -> None:
        assert of_kind(rendered("minimal"), "Service").keys() == {"tradepost"}
        assert of_kind(rendered("minimal"), "ConfigMap").keys() == {"tradepost"}

    def test_without_workers_no_alert_expects_them(self) -> None:
        objects = rendered("minimal", *AS_THERE, "--set", "worker.enabled=false")
        assert of_kind(objects, "PodMonitor") == {}
        alerts = {
            rule.get("alert")
            for group in one(objects, "PrometheusRule")["spec"]["groups"]
            for rule in group["rules"]
        }
        assert "TradepostWorkerDown" not in alerts
        assert "TradepostOldestJobWaiting" in alerts


class TestLabels:
    def test_those_of_sloth_may_be_those_of_every_object(self) -> None:
        """A key twice is refused by Helm's server-side apply, and is any of both to other readers."""
        options = (
            "commonLabels.team=commerce,commonAnnotations.owner=commerce,monitoring.slo.sloth.labels.team=sre"
        )
        text = template("4", CASES["sloth"], "--set", options).stdout
        assert "team: sre" in text
        document = one(rendered("sloth", "--set", options), "PrometheusServiceLevel")
        assert document["metadata"]["labels"]["team"] == "sre"
        assert document["metadata"]["annotations"] == {"owner": "commerce"}
        [own] = [part for part in text.split("\n---\n") if "kind: PrometheusServiceLevel" in part]
        assert own.partition("\nspec:")[0].count("team:") == 1
