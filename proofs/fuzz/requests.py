"""Requests made up from the OpenAPI document by schemathesis, as one caller; schemathesis.toml judges."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.server.process import Service

ROOT: Final = Path(__file__).parents[2]
#: In the environment of schemathesis' hooks: who is calling, and where each answer is counted.
CALLER, COUNTS = "FUZZ_CALLER", "FUZZ_COUNTS"
#: Beside schemathesis.toml: who calls, and who must not see the other's objects. A token lasts ten minutes.
_CALLS_AS: Final = """
[auth.wfc]
path = "{}"
user = "{}"
peers = ["customer", "another-customer"]
refresh_interval = 300
"""


@dataclass(frozen=True)
class Fuzzed:
    """What one run of schemathesis found."""

    #: Answers, by operation and status.
    counts: dict[str, dict[str, int]]
    #: Operations that the document has, without those that schemathesis.toml leaves out.
    operations: int
    findings: list[str]
    output: str

    @property
    def requests(self) -> int:
        return sum(sum(statuses.values()) for statuses in self.counts.values())

    @property
    def accepted(self) -> list[str]:
        """Operations that answered with a 2xx."""
        return sorted(
            operation
            for operation, statuses in self.counts.items()
            if any(status.startswith("2") for status in statuses)
        )


def fuzz(url: str, caller: str, credentials: Path, folder: Path, *options: str) -> Fuzzed:
    """Fuzz what is served at `url` as this caller; schemathesis' files go to `folder`."""
    configuration = folder / "schemathesis.toml"
    configuration.write_text((ROOT / "schemathesis.toml").read_text() + _CALLS_AS.format(credentials, caller))
    counts, report = folder / f"{caller}-counts.json", folder / f"{caller}.json"
    command = [str(Path(sys.executable).with_name("schemathesis")), "--no-color"]
    command += ["--config-file", str(configuration), "run", f"{url}/openapi.json"]
    command += ["--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", str(report), *options]
    finished = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), CALLER: caller, COUNTS: str(counts)},
        capture_output=True,
        text=True,
        check=False,
    )
    output = finished.stdout + finished.stderr
    answered = json.loads(counts.read_text()) if counts.exists() else {}
    if not answered or not report.exists():
        return Fuzzed({}, 0, [f"schemathesis ended with {finished.returncode}: {output[-2_000:]}"], output)
    return _read(json.loads(report.read_text()), answered, output)


def _read(report: dict[str, Any], counts: dict[str, dict[str, int]], output: str) -> Fuzzed:
    findings = [
        f"{failure['title']}: {', '.join(failure['operations'])}, {failure['count']} times"
        for failure in report["failures"]
    ]
    findings += [f"{error['title']}, {error['count']} times" for error in report["errors"]]
    findings += [
        f"{operation} answered {status}, {times} times"
        for operation, statuses in counts.items()
        for status, times in statuses.items()
        if status.startswith("5")
    ]
    return Fuzzed(counts, report["operations"]["selected"], findings, output)


def logged_faults(service: Service) -> list[str]:
    """What is not an answer shows in the log alone."""
    lines = [line for line in service.lines() if line["level"] in ("error", "critical")]
    return [f"logged: {json.dumps(line)[:1_000]}" for line in lines]
