"""The runbooks: one page an alert, complete, and naming only what exists.

Their queries and statements are run by test_prometheus.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from service.__main__ import COMMANDS
from service.platform.config import Settings
from tests.chart.chart import of_kind, rendered
from tests.platform.telemetry import rules
from tests.platform.telemetry.test_event_names import SERVICE
from tests.server.process import REPOSITORY

HEADINGS: Final = [
    "What it means",
    "What users notice",
    "The first five minutes",
    "How to stop it",
    "Afterwards",
]
PAGES: Final = sorted({alert["alert"] for alert in rules.alerts()})
TEMPLATES: Final = REPOSITORY / "charts" / "tradepost" / "templates"
#: Of every line, or of those of a request; the rest are given where a line is logged.
FIELDS: Final = {"ts", "level", "event", "logger", "request_id", "route", "status", "duration_ms", "client"}
FIELDS_OF_A_FAULT: Final = {"exception"}
#: Of PostgreSQL, Gunicorn, Kubernetes and this folder, not of the service.
OTHER_NAMES: Final = {"WEB_CONCURRENCY", "METRICS_PORT", "ANALYZE", "COMMIT", "LISTEN"}


def text(page: str) -> str:
    return (rules.RUNBOOKS / f"{page}.md").read_text()


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", text(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(page: str) -> Iterator[str]:
    """Lines of the blocks for a shell, and commands within a sentence."""
    for block in re.findall(r"```sh\n(.*?)```", text(page), re.DOTALL):
        yield from block.strip().split("\n")
    prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    yield from re.findall(r"`((?:kubectl|tradepost|helm) [^`]+)`", prose)


def all_commands() -> list[str]:
    return [command for page in [*PAGES, "README"] for command in commands(page)]


def told() -> tuple[set[str], set[str]]:
    """Every text in the code, of which some are names of lines; and every name of a field."""
    texts, names = set(), set()
    for file in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                names.add(node.arg)
    return texts, names


class TestPages:
    def test_every_alert_has_a_page_and_every_page_an_alert(self) -> None:
        assert {page.stem for page in rules.RUNBOOKS.glob("*.md")} - {"README"} == set(PAGES)

    def test_alerts_name_their_page(self) -> None:
        for alert in rules.alerts():
            assert alert["annotations"]["runbook_url"] == f"{rules.ADDRESS}/{alert['alert']}.md"

    def test_the_list_of_pages_is_complete_and_says_how_urgent_each_is(self) -> None:
        severities: dict[str, list[str]] = {page: [] for page in PAGES}
        for alert in rules.alerts():
            severities[alert["alert"]].append(alert["labels"]["severity"])
        listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([^|]+) \|", text("README"), re.MULTILINE)
        assert listed == [(page, ", ".join(dict.fromkeys(severities[page]))) for page in PAGES]

    @pytest.mark.parametrize("page", PAGES)
    def test_a_page_has_every_heading_and_stays_short(self, page: str) -> None:
        assert text(page).startswith(f"# {page}\n")
        found = sections(page)
        assert list(found) == HEADINGS
        assert [heading for heading, body in found.items() if not body.strip()] == []
        assert len(text(page).split()) < 700

    @pytest.mark.parametrize("page", PAGES)
    def test_its_first_five_minutes_have_commands_and_queries(self, page: str) -> None:
        first = sections(page)["The first five minutes"]
        assert "```sh\n" in first
        assert "```promql\n" in first

    @pytest.mark.parametrize("page", [*PAGES, "README"])
    def test_its_links_lead_to_pages(self, page: str) -> None:
        links = re.findall(r"\]\(([^)]+)\)", text(page))
        assert [link for link in links if not (rules.RUNBOOKS / link.partition("#")[0]).is_file()] == []


class TestNames:
    """The labels, log events, settings and commands that a page names exist."""

    def test_queries_name_the_release(self) -> None:
        found = [query for _, query in rules.runbook_queries()]
        assert [bare for query in found if (bare := rules.bare_names(query))] == []

    def test_labels_are_those_of_the_chart(self) -> None:
        chart = "\n".join(file.read_text() for file in TEMPLATES.rglob("*.*"))
        components = set(re.findall(r'"component" "([\w-]+)"', chart))
        selectors = [found for each in all_commands() for found in re.findall(r" -l (\S+)", each)]
        asked = {part for selector in selectors for part in selector.split(",")}
        assert {"api", "worker", "migration"} <= components
        assert "app.kubernetes.io/name: {{" in chart
        assert "app.kubernetes.io/component: {{" in chart
        known = {"$OURS"} | {f"app.kubernetes.io/component={each}" for each in components}
        assert asked - known == set()
        assert {f"app.kubernetes.io/component={each}" for each in ("api", "worker", "migration")} <= asked
        assert "\nOURS=app.kubernetes.io/name=tradepost " in text("README")

    def test_deployments_are_those_of_the_chart(self) -> None:
        named = {found for each in all_commands() for found in re.findall(r"deploy/([^\s,]+)", each)}
        assert named == {"$APP", "$APP-worker"}
        assert {
            name.replace("tradepost", "$APP") for name in of_kind(rendered("minimal"), "Deployment")
        } == named

    def test_log_events_and_fields_are_those_of_the_code(self) -> None:
        texts, keywords = told()
        asked = {found for each in all_commands() for found in re.findall(r'\.event == "([^"]+)"', each)}
        prose = "\n".join(text(page) for page in PAGES)
        asked |= set(re.findall(r"`((?:worker|process|request|invariant|changes|job)\.[a-z_]+)`", prose))
        assert len(asked) >= 5
        assert asked - texts == set()
        fields = {field for each in all_commands() for field in fields_of(each)}
        assert fields - keywords - FIELDS - FIELDS_OF_A_FAULT == set()

    def test_settings_exist(self) -> None:
        settings = {name.upper() for name in Settings.model_fields} | OTHER_NAMES
        asked = {
            name
            for page in PAGES
            for name in re.findall(r"`([A-Z]+_[A-Z_]+)(?:=\w+)?`", text(page))
            if name not in settings and not name.startswith("OTEL_")
        }
        assert asked == set()

    def test_commands_of_the_service_exist(self) -> None:
        asked = {found for each in all_commands() for found in re.findall(r"\btradepost ([a-z-]+)", each)}
        assert asked == {"verify", "check-config", "profile"}
        assert asked <= set(COMMANDS)


def fields_of(command: str) -> set[str]:
    """Those that its jq asks for."""
    found: set[str] = set()
    for program in re.findall(r"jq -\w+ '([^']+)'", command):
        found |= set(re.findall(r"(?<![\w\"])\.(\w+)", program))
        for picked in re.findall(r"\{([^}]+)\}", program):
            found |= {part.partition(":")[0].strip() for part in picked.split(",") if ":" not in part}
    return found
