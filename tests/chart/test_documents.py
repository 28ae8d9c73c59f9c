"""What the chart says of itself."""

import re
from pathlib import Path

import pytest

from tests.chart.chart import CASES, CHART, pods, rendered, run
from tests.chart.restricted import violations
from tools import chart_readme


class TestReadme:
    def test_it_is_up_to_date(self) -> None:
        assert chart_readme.README.read_text() == chart_readme.readme(), "run `make chart-readme`"
        assert "{{ template" not in chart_readme.readme()

    def test_its_example_of_a_proxy_renders(self, tmp_path: Path) -> None:
        [example] = re.findall(r"```yaml\n(migrations:.*?)```", chart_readme.readme(), re.DOTALL)
        (tmp_path / "values.yaml").write_text(example)
        for _, pod in pods(rendered("minimal", "-f", str(tmp_path / "values.yaml"))):
            own = pod["spec"]["containers"][0]["name"]
            proxies = [each["name"] for each in pod["spec"].get("initContainers", [])]
            assert proxies == ([] if own == "smoke" else ["database-proxy"]), own
            assert violations(pod) == []

    def test_every_value_is_described(self) -> None:
        text = (CHART / "values.yaml").read_text()
        names = [name for name, _ in chart_readme.described(text)]
        assert len(names) == len(set(names)) > 100

    def test_a_value_without_a_comment_is_found(self) -> None:
        text = (CHART / "values.yaml").read_text() + "\nforgotten: 1\n"
        with pytest.raises(chart_readme.Undescribed, match="forgotten has no comment"):
            list(chart_readme.described(text))

    def test_a_value_below_a_described_one_belongs_to_it(self) -> None:
        text = "group:\n  # -- One\n  # of them\n  one:\n    inner: 1\n  # -- Other\n  two: 2\n"
        assert list(chart_readme.described(text)) == [("group.one", "One of them"), ("group.two", "Other")]


class TestNotes:
    def notes(self, *options: str, name: str = "minimal") -> str:
        files = [option for file in CASES[name].files for option in ("-f", str(file))]
        done = run("4", "install", "shop", CHART, "-n", "market", "--dry-run=client", *files, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:\n")[2]

    def test_they_name_the_next_three_commands(self) -> None:
        commands = re.findall(r"^   (\S.*)$", self.notes(), re.MULTILINE)
        assert [command.partition("   #")[0] for command in commands] == [
            "kubectl -n market rollout status deployment/shop-tradepost --timeout=5m",
            "helm -n market test shop",
            "kubectl -n market port-forward service/shop-tradepost 8000:80",
        ]

    def test_they_name_no_test_that_is_switched_off(self) -> None:
        notes = self.notes("--set", "smokeTest.enabled=false")
        assert "helm -n market test" not in notes
        assert "\n2. Look at it:" in notes

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ("migrations.mode=none", "the pods are not ready until `tradepost migrate` has been run"),
            ("worker.enabled=false", "no email, webhook or periodic job until workers run somewhere"),
            ("monitoring.enabled=true", "This cluster has no monitoring.coreos.com/v1"),
            ("ingress.enabled=true,trustedProxies={10.0.0.0/8}", "config.PUBLIC_URL is not set"),
        ],
    )
    def test_they_warn_of_what_may_surprise(self, options: str, said: str) -> None:
        assert said not in self.notes()
        assert said in self.notes("--set", options)

    def test_they_explain_how_an_existing_secret_reaches_the_pods(self) -> None:
        assert "The Secret is not the chart's" in self.notes(name="existing-secret")

    def test_they_show_no_secret(self) -> None:
        assert "password" not in self.notes()
