"""What must be right at the same moment in every process takes its time from the database."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
READS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
#: Where the machine's clock may be read, and how often: what is shown there, or compared with a time that is
#: not ours, may be as wrong as that clock.
SHOWN = {
    "platform/telemetry/access_log.py": 2,
    "platform/telemetry/metrics.py": 1,
    "platform/telemetry/otlp_metrics.py": 2,
    "platform/mail/transports.py": 2,
    "platform/jobs/worker.py": 1,
}
FOREIGN = {
    # A date in another server's Retry-After.
    "webhooks/deliveries/retries.py": 1,
    # A time that an administrator, or a file, gives: whether it is likely. What counts is asked elsewhere.
    "accounts/api_keys/schemas.py": 1,
    "cli/import_csv/schemas.py": 1,
}
#: Until the database has been asked for the first time.
AT_THE_START = {"platform/database/clock.py": 1}


def reads(path: Path) -> int:
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return sum(ast.unparse(call.func) in READS for call in calls)


def test_the_machines_clock_is_read_for_what_is_shown_alone() -> None:
    service = ROOT / "service"
    found = {
        str(path.relative_to(service)): reads(path)
        for path in sorted(service.rglob("*.py"))
        if path.relative_to(service).parts[0] not in {"dev", "migrations"}
    }
    assert +Counter(found) == Counter({**SHOWN, **FOREIGN, **AT_THE_START})
