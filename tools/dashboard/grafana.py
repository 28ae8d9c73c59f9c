"""How a panel is written as Grafana's JSON (by the schema of 11.6, which later ones read too)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

Json = dict[str, Any]
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
#: In queries: series of the chosen pods, of all pods (what rules have recorded), and the cluster's own.
ABBREVIATIONS: Final = {
    "{*": '{job="@@FULLNAME@@", namespace=~"$namespace", pod=~"$pod"',
    "{@": '{job="@@FULLNAME@@", namespace=~"$namespace"',
    "{^": '{namespace=~"$namespace", pod=~"@@FULLNAME@@-.+"',
    "[~]": "[$__rate_interval]",
}


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    #: Pairs of legend and query.
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "heatmap", "table"] = "timeseries"
    width: int = 8
    height: int = 7
    #: From which value on it has which colour; before the first it is green.
    thresholds: tuple[tuple[float, str], ...] = ()
    #: Of the lowest values, where more is better.
    base: str = "green"
    #: The alert whose page tells what to do.
    runbook: str | None = None
    stacked: bool = False
    decimals: int | None = None
    highest: float | None = None


def expression(text: str) -> str:
    for short, long in ABBREVIATIONS.items():
        text = text.replace(short, long)
    return text


def quantile(share: float, metric: str, by: str = "", also: str = "") -> str:
    """Of a histogram, over the chosen pods."""
    labels = ", ".join(filter(None, ["le", by]))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{*{also}}}[~])))"


def quantiles(metric: str, also: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((f"p{share * 100:.0f}", quantile(share, metric, also=also)) for share in (0.5, 0.95, 0.99))


def rates(metric: str, by: str, also: str = "") -> tuple[tuple[str, str], ...]:
    """A counter's by these labels, a line for each of their values."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return ((legend, f"sum by ({by}) (rate({metric}{{*{also}}}[~]))"),)


def dashboard(rows: Iterable[tuple[str, tuple[Panel, ...]]]) -> Json:
    return {
        "uid": "@@FULLNAME@@",
        "title": "Tradepost: @@FULLNAME@@",
        "description": "Objectives, requests, processes, database, dependencies and business of one release.",
        "tags": ["tradepost"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [_link("Runbooks", "@@RUNBOOKS@@/README.md")],
        "templating": {"list": list(_variables())},
        "annotations": {"list": [_deploys()]},
        "panels": list(_placed(rows)),
    }


def _placed(rows: Iterable[tuple[str, tuple[Panel, ...]]]) -> Iterator[Json]:
    """From left to right, and on the next line what does not fit; a heading before each row."""
    number = y = 0
    for heading, panels in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": heading,
            "collapsed": False,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        x, y, tallest = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _panel(panel: Panel) -> Json:
    links = [_link("Runbook", f"@@RUNBOOKS@@/{panel.runbook}.md")] if panel.runbook else []
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "links": links,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
        "transformations": _transformations(panel),
        "targets": [_target(panel, *query, position) for position, query in enumerate(panel.queries)],
    }


def _target(panel: Panel, legend: str, query: str, position: int) -> Json:
    formats = {"table": "table", "heatmap": "heatmap"}
    return {
        "refId": chr(ord("A") + position),
        "expr": expression(query),
        "legendFormat": legend,
        "format": formats.get(panel.kind, "time_series"),
        "editorMode": "code",
        "instant": panel.kind in {"stat", "table"},
        "range": panel.kind not in {"stat", "table"},
        "datasource": DATASOURCE,
    }


def _defaults(panel: Panel) -> Json:
    steps = [{"value": None, "color": panel.base}]
    steps += [{"value": value, "color": colour} for value, colour in panel.thresholds]
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "noValue": "none",
    }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 5,
            "showPoints": "auto",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
    if panel.highest is not None:
        defaults["max"] = panel.highest
    return defaults


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {
            "reduceOptions": reduced, "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
            "orientation": "auto", "textMode": "auto", "wideLayout": True, "showPercentChange": False,
            "percentChangeColorMode": "standard",
        }  # fmt: skip
    if panel.kind == "heatmap":
        return {
            "calculate": False, "cellGap": 1, "legend": {"show": True},
            "color": {"mode": "scheme", "scheme": "Oranges", "fill": "orange", "exponent": 0.5, "steps": 64,
                      "reverse": False},
            "yAxis": {"unit": "s", "axisPlacement": "left"}, "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
            "rowsFrame": {"layout": "auto"}, "filterValues": {"le": 1e-9},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
        }  # fmt: skip
    if panel.kind == "table":
        sorting = [{"displayName": panel.queries[0][0], "desc": True}]
        return {"showHeader": True, "cellHeight": "sm", "sortBy": sorting, "frameIndex": 0}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


#: Of a table: its columns by name and unit, in the order of its queries; the first label is the row's name.
COLUMNS: Final = (("Requests", "reqps"), ("5xx", "percentunit"), ("p50", "s"), ("p99", "s"))


def _transformations(panel: Panel) -> list[Json]:
    if panel.kind != "table":
        return []
    names = {f"Value #{chr(ord('A') + n)}": legend for n, (legend, _) in enumerate(panel.queries)}
    hidden = {"Time": True}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": names}},
    ]


def _overrides(panel: Panel) -> list[Json]:
    if panel.kind != "table":
        return []
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "unit", "value": unit}],
        }
        for name, unit in COLUMNS
    ]


def _link(title: str, url: str) -> Json:
    return {
        "title": title, "url": url, "type": "link", "icon": "doc", "tooltip": "", "tags": [],
        "targetBlank": True, "asDropdown": False, "includeVars": False, "keepTime": False,
    }  # fmt: skip


def _variables() -> Iterator[Json]:
    yield {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
        "hide": 0, "multi": False, "includeAll": False, "refresh": 1, "regex": "", "options": [],
    }  # fmt: skip
    yield _variable("namespace", 'label_values(build_info{job="@@FULLNAME@@"}, namespace)', many=False)
    yield _variable("pod", f"label_values({expression('build_info{@}')}, pod)", many=True)
    yield _variable("route", f"label_values({expression('http_requests_total{@}')}, route)", many=True)


def _variable(name: str, query: str, *, many: bool) -> Json:
    variable: Json = {
        "name": name, "label": name.capitalize(), "type": "query", "datasource": DATASOURCE,
        "query": {"query": query, "refId": "A"}, "refresh": 2, "sort": 1, "hide": 0,
        "regex": "", "multi": many, "includeAll": many, "options": [],
    }  # fmt: skip
    if many:
        # What has gone since counts too, and the query stays short.
        variable |= {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"], "selected": True}}
    return variable


def _deploys() -> Json:
    """A line where a version appears that was not there five minutes before."""
    there = "count by (version) (build_info{@}"
    return {
        "name": "Deploys",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": expression(f"{there}) unless {there} offset 5m)"),
        "step": "60s",
        "titleFormat": "Version {{version}}",
        "tagKeys": "version",
    }
