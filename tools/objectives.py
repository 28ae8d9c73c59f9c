"""Write what Prometheus, Sloth and OpenSLO need of the objectives in charts/tradepost/files/objectives.yaml.

    python tools/objectives.py                                  the files of the repository
    python tools/objectives.py sloth --namespace shop --release tradepost --runbooks https://...
    python tools/objectives.py openslo ...                      a document for one release, on standard output

The first three groups of alerts.yaml are rewritten, the others are written by hand. With `--check` nothing is
written, and the exit status says whether the files are what they would be.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
FILES: Final = ROOT / "charts" / "tradepost" / "files"
SLO: Final = ROOT / "docs" / "slo"
BEGIN: Final = "  # Written by `make objectives` from objectives.yaml, from here\n"
END: Final = "\n  # to here.\n"
#: Between two evaluations. The guards multiply by it.
INTERVAL_SECONDS: Final = 30
#: What is recorded, and what the shares over longer windows are made of.
BASE: Final = "5m"
RELEASE: Final = 'of="@@RELEASE@@"'
#: As the documents in docs/slo are filled in.
EXAMPLE: Final = {
    "namespace": "shop",
    "release": "tradepost",
    "runbooks": "https://tradepost.example/runbooks",
}
WRITTEN: Final = "# Written by `make objectives` from charts/tradepost/files/objectives.yaml.\n"

Json = dict[str, Any]


def source() -> Json:
    found: Json = yaml.safe_load((FILES / "objectives.yaml").read_text())
    return found


def windows(given: Json) -> list[str]:
    """Of all burn rates, from the shortest; and the period."""
    units = {"m": 1, "h": 60, "d": 1440}
    found = {each[name] for each in given["burn_rates"] for name in ("over", "and")}
    return [*sorted(found, key=lambda each: int(each[:-1]) * units[each[-1]]), given["period"]]


def query(part: Json, window: str) -> str:
    return str(part["query"]).replace("WINDOW", window)


def budget(objective: Json) -> str:
    """The share that may be bad."""
    return f"{1 - objective['target'] / 100:.6f}".rstrip("0")


def percent(objective: Json) -> str:
    return f"{100 - objective['target']:.6g}"


def rule(head: str, expression: str, rest: str = "") -> str:
    return f"      - {head}\n        expr: |-\n{indent(expression, ' ' * 10)}\n{rest}"


def groups(given: Json) -> str:
    """Of rules, with comments."""
    return "\n\n".join(
        [
            "  # The requests that the objectives count.\n"
            + group("tradepost-requests", requests(given), " # the guards below multiply by it"),
            "  # The share of failed or slow requests over each window, by the number of requests and not\n"
            "  # by time: a quiet night does not make a bad noon better.\n"
            + group("tradepost-objectives", ratios(given)),
            "  # The long window shows that it matters, the short one that it goes on; the last line, that\n"
            "  # there were more than a handful of requests.\n" + group("tradepost-burn", burns(given)),
        ]
    )


def group(name: str, rules: Iterator[str], comment: str = "") -> str:
    text = "".join(rules).rstrip("\n")
    return f"  - name: {name}\n    interval: {INTERVAL_SECONDS}s{comment}\n    rules:\n{text}"


def requests(given: Json) -> Iterator[str]:
    for objective in given["objectives"]:
        for part in (objective["total"], objective["bad"]):
            yield rule(f"record: {part['record']}:rate{BASE}", query(part, BASE))


def ratios(given: Json) -> Iterator[str]:
    for objective in given["objectives"]:
        bad, total = (f"{objective[name]['record']}:rate{BASE}{{{RELEASE}}}" for name in ("bad", "total"))
        for window in windows(given):
            expression = f"{bad}\n/ {total}"
            if window != BASE:
                expression = f"sum_over_time({bad}[{window}])\n/ sum_over_time({total}[{window}])"
            yield rule(f"record: {objective['bad']['record']}:ratio_{window}", expression)


def burns(given: Json) -> Iterator[str]:
    for objective in given["objectives"]:
        record = objective["bad"]["record"]
        for each in given["burn_rates"]:
            limit = f"{each['rate']} * {budget(objective)}"
            ratio = f"{record}:ratio_{{}}{{{{{RELEASE}}}}} > {limit}"
            guard = f"sum_over_time({record}:rate{BASE}{{{RELEASE}}}[{each['over']}])"
            lines = [ratio.format(each["over"]), f"and {ratio.format(each['and'])}"]
            lines.append(f"and {guard} * {INTERVAL_SECONDS} > {given['least']}")
            yield rule(f"alert: {objective['alert']}", "\n".join(lines), alert(given, objective, each))


def alert(given: Json, objective: Json, burn: Json) -> str:
    """Labels and annotations."""
    allowed = f"{percent(objective)} % are allowed over {given['period'].removesuffix('d')} days."
    slowest = burn is given["burn_rates"][-1]
    speed = (
        "have used up a tenth of the error budget in three days"
        if slowest
        else f"use up the error budget {burn['rate']} times too fast"
    )
    return f"""\
        labels:
          severity: {burn["severity"]}
          objective: {objective["name"]}
          window: {burn["over"]}
          burn_rate: "{burn["rate"]}"
        annotations:
          summary: {objective["subject"]} {speed}
          description: >-
            {{{{ $value | humanizePercentage }}}} of the responses in the last {burn["over"]} \
{objective["fault"]}: {allowed}
          runbook_url: "@@RUNBOOKS@@/{objective["alert"]}.md"
"""


def sloth(given: Json) -> Json:
    """The `spec` of a PrometheusServiceLevel. Sloth puts the window into the queries."""
    return {
        "service": "@@FULLNAME@@",
        "slos": [
            {
                "name": objective["name"],
                "description": objective["description"],
                "objective": objective["target"],
                "labels": {"objective": objective["name"]},
                "sli": {
                    "events": {
                        f"{ours}Query": query(objective[part], "{{.window}}")
                        for ours, part in (("error", "bad"), ("total", "total"))
                    }
                },
                "alerting": {
                    "name": objective["alert"],
                    "annotations": {
                        "summary": f"{objective['subject']} use up the error budget too fast",
                        "runbook_url": f"@@RUNBOOKS@@/{objective['alert']}.md",
                    },
                    "pageAlert": {"labels": {"severity": "page"}},
                    "ticketAlert": {"labels": {"severity": "ticket"}},
                },
            }
            for objective in given["objectives"]
        ],
    }


def openslo(given: Json) -> list[Json]:
    """OpenSLO v1. A policy has one condition there, and a condition one window: the long one."""
    objects = [
        openslo_object("Service", "@@FULLNAME@@", {"description": "The backend of a shop."}),
        openslo_object(
            "DataSource",
            "prometheus",
            {"type": "Prometheus", "connectionDetails": {"url": "http://prometheus.example:9090"}},
        ),
    ]
    objects += [
        openslo_object("AlertNotificationTarget", severity, {"target": severity})
        for severity in dict.fromkeys(each["severity"] for each in given["burn_rates"])
    ]
    for objective in given["objectives"]:
        policies = [policy(objective, burn) for burn in given["burn_rates"]]
        objects += [openslo_slo(given, objective, policies), *policies]
    return objects


def openslo_object(kind: str, name: str, spec: Json, title: str | None = None) -> Json:
    metadata = {"name": name} | ({"displayName": title} if title else {})
    return {"apiVersion": "openslo/v1", "kind": kind, "metadata": metadata, "spec": spec}


def openslo_slo(given: Json, objective: Json, policies: list[Json]) -> Json:
    def metric(part: str) -> Json:
        text = query(objective[part], BASE)
        return {
            "metricSource": {"metricSourceRef": "prometheus", "type": "Prometheus", "spec": {"query": text}}
        }

    indicator = {
        "metadata": {"name": f"@@FULLNAME@@-{objective['name']}", "displayName": objective["title"]},
        "spec": {"ratioMetric": {"counter": False, "bad": metric("bad"), "total": metric("total")}},
    }
    spec = {
        "description": objective["description"],
        "service": "@@FULLNAME@@",
        "indicator": indicator,
        "timeWindow": [{"duration": given["period"], "isRolling": True}],
        "budgetingMethod": "Occurrences",
        "objectives": [{"displayName": objective["title"], "target": round(objective["target"] / 100, 6)}],
        "alertPolicies": [{"alertPolicyRef": each["metadata"]["name"]} for each in policies],
    }
    return openslo_object("SLO", f"@@FULLNAME@@-{objective['name']}", spec, objective["title"])


def policy(objective: Json, burn: Json) -> Json:
    name = f"@@FULLNAME@@-{objective['name']}-{burn['over']}"
    condition = {
        "kind": "burnrate",
        "op": "gt",
        "threshold": burn["rate"],
        "lookbackWindow": burn["over"],
        "alertAfter": "1m",
    }
    spec = {
        "description": f"The runbook: @@RUNBOOKS@@/{objective['alert']}.md",
        "alertWhenNoData": False,
        "alertWhenResolved": False,
        "alertWhenBreaching": True,
        "conditions": [
            {
                "kind": "AlertCondition",
                "metadata": {"name": name},
                "spec": {
                    "description": f"{objective['subject']} use up the budget {burn['rate']} times too fast; "
                    f"still so over the last {burn['and']}.",
                    "severity": burn["severity"],
                    "condition": condition,
                },
            }
        ],
        "notificationTargets": [{"targetRef": burn["severity"]}],
    }
    return openslo_object("AlertPolicy", name, spec)


class Block(yaml.SafeDumper):
    """Texts of several lines as they are read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Block.add_representer(str, _text)


def dumped(*documents: Any) -> str:
    return yaml.dump_all(documents, Dumper=Block, sort_keys=False, width=1000, allow_unicode=True)


def filled(text: str, namespace: str, release: str, runbooks: str) -> str:
    """As the chart fills it in."""
    release_only = f'namespace="{namespace}", job="{release}"'
    text = text.replace(RELEASE, release_only).replace("@@FULLNAME@@", release)
    return text.replace("@@RUNBOOKS@@", runbooks.rstrip("/"))


def document(kind: str, namespace: str, release: str, runbooks: str) -> str:
    given = source()
    if kind == "openslo":
        objects = openslo(given)
    else:
        metadata = {"name": release, "namespace": namespace}
        head = {"apiVersion": "sloth.slok.dev/v1", "kind": "PrometheusServiceLevel", "metadata": metadata}
        objects = [head | {"spec": sloth(given)}]
    return filled(dumped(*objects), namespace, release, runbooks)


def files() -> dict[Path, str]:
    """Of the repository, as they should be."""
    given = source()
    rules = (FILES / "alerts.yaml").read_text()
    before, after = rules.partition(BEGIN)[0], rules.partition(END)[2]
    return {
        FILES / "alerts.yaml": before + BEGIN + groups(given) + "\n" + END + after,
        FILES / "sloth.yaml": WRITTEN + dumped(sloth(given)),
        SLO / "sloth.yaml": WRITTEN + document("sloth", **EXAMPLE),
        SLO / "openslo.yaml": WRITTEN + document("openslo", **EXAMPLE),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", nargs="?", choices=("sloth", "openslo"))
    for name, default in EXAMPLE.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.document:
        print(document(given.document, given.namespace, given.release, given.runbooks), end="")
        return 0
    wanted = files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if given.check:
        print(*(f"{path.relative_to(ROOT)} is not what `make objectives` writes" for path in stale), sep="\n")
        return 1 if stale else 0
    SLO.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
