"""The dashboard: valid by Grafana's schema, and complete for its readers."""

from collections import Counter
from itertools import combinations

from tests.platform.telemetry import rules
from tests.platform.telemetry.grafana_schema import faults

ROWS = [
    "Objectives and error budget",
    "Requests: rate, errors, duration",
    "Runtime",
    "Database",
    "Dependencies, jobs and webhooks",
    "Business",
]
UNITS = {"short", "percentunit", "s", "reqps", "ops", "bytes"}


class TestSchema:
    def test_grafana_knows_every_name_and_takes_every_value(self) -> None:
        assert [*faults(rules.dashboard())] == []

    def test_unknown_names_and_values_are_found(self) -> None:
        board = rules.dashboard()
        board["templatin"] = {}
        board["graphTooltip"] = 7
        first = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
        first["gridPos"]["w"] = "8"
        first["options"]["legend"]["displayMode"] = "lines"
        first["fieldConfig"]["defaults"]["custom"]["drawStyl"] = "line"
        first["targets"][0]["exprs"] = ""
        where = f"dashboard.panels[{board['panels'].index(first)}]"
        found = {fault.partition(": ")[0] for fault in faults(board)}
        assert found == {
            "dashboard.templatin",
            "dashboard.graphTooltip",
            f"{where}.gridPos.w",
            f"{where}.legend.displayMode",
            f"{where}.drawStyl",
            f"{where}.targets[0].exprs",
        }


class TestReading:
    def test_there_are_six_rows(self) -> None:
        assert [panel["title"] for panel in rules.dashboard()["panels"] if panel["type"] == "row"] == ROWS

    def test_its_reader_chooses_source_namespace_pods_and_routes(self) -> None:
        names = [variable["name"] for variable in rules.dashboard()["templating"]["list"]]
        assert names == ["datasource", "namespace", "pod", "route"]

    def test_every_panel_says_what_it_shows(self) -> None:
        for panel in rules.panels():
            assert panel["description"].endswith((".", ").")), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
            assert panel["targets"], panel["title"]

    def test_no_two_are_called_the_same_or_lie_on_each_other(self) -> None:
        board = rules.dashboard()["panels"]
        for key in ("id", "title"):
            assert [value for value, n in Counter(panel[key] for panel in board).items() if n > 1] == []
        squares = [(panel["title"], cells(panel["gridPos"])) for panel in board]
        assert [(a, b) for (a, one_), (b, other) in combinations(squares, 2) if one_ & other] == []
        assert {x for _, square in squares for x, _ in square} == set(range(24))

    def test_its_links_lead_to_pages_that_exist(self) -> None:
        links = [link for panel in rules.panels() for link in panel["links"]] + rules.dashboard()["links"]
        assert links
        for link in links:
            base, _, page = link["url"].rpartition("/")
            assert base == rules.ADDRESS
            assert (rules.RUNBOOKS / page).is_file(), page

    def test_every_alert_has_a_panel_that_leads_to_its_page(self) -> None:
        linked = {link["url"].rpartition("/")[2] for panel in rules.panels() for link in panel["links"]}
        no_panel = {f"Tradepost{name}.md" for name in ("Down", "WorkerDown", "MigrationFailed", "TaskFailed")}
        assert linked == {f"{alert['alert']}.md" for alert in rules.alerts()} - no_panel

    def test_panels_of_durations_show_exemplars(self) -> None:
        """One query of each: Grafana would draw the same ones again for every percentile."""
        shown = [
            (panel["title"], [target["refId"] for target in panel["targets"] if target.get("exemplar")])
            for panel in rules.panels()
        ]
        assert [each for each in shown if each[1]] == [
            ("Request duration", ["C"]),
            ("Request duration by route, p99", ["A"]),
            ("Request duration, distribution", ["A"]),
            ("Password hashing duration", ["C"]),
            ("Wait for a connection", ["C"]),
            ("Query duration, p95", ["A"]),
            ("Upstream call duration, p95", ["A"]),
            ("Job delay and duration, p95", ["B"]),
            ("Webhook delivery duration, p95", ["A"]),
        ]

    def test_releases_are_marked(self) -> None:
        [deploys] = rules.dashboard()["annotations"]["list"]
        assert deploys["name"] == "Deploys"
        assert rules.selectors(deploys["expr"]) == {
            f'build_info{{job="{rules.FULLNAME}", namespace=~"$namespace"}}'
        }

    def test_every_query_is_of_the_release_and_what_was_chosen(self) -> None:
        for panel in rules.panels():
            for target in panel["targets"]:
                assert rules.bare_names(target["expr"]) == set(), panel["title"]
                for selector in rules.selectors(target["expr"]):
                    assert 'namespace=~"$namespace"' in selector
                    assert f'job="{rules.FULLNAME}"' in selector or rules.CLUSTER.match(selector)


def cells(place: dict[str, int]) -> set[tuple[int, int]]:
    return {
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }
