"""Run in a mount namespace of its own, by test_metric_values: metrics in a folder that is full, and then not.

Prints what the exporter finds while it is full, and what it finds afterwards.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

KEYS = 400
BLOCK = 4096


def fill(folder: Path) -> Path:
    """What is left of the folder's room."""
    file = folder / "other"
    with file.open("wb") as output:
        try:
            while os.write(output.fileno(), b"x" * BLOCK) == BLOCK:
                pass
        except OSError:
            return file
    return file


def found() -> dict[str, float]:
    from prometheus_client import CollectorRegistry, multiprocess

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return {
        "-".join((sample.name, *sample.labels.values())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def main() -> None:
    folder = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    from service.platform.telemetry import metric_values
    from service.platform.telemetry.metrics import Counter, unlabelled_gauge

    metric_values.RETRY_SECONDS = 0.0  # type: ignore[misc]

    before = Counter("before", "Made while there is room.", ["of"])
    before.labels("x").inc()
    other = fill(folder)
    after = Counter("after", "Made when there is none.", ["of"])
    for number in range(KEYS):
        after.labels(str(number)).inc(number)
        before.labels("x").inc()
    unlabelled_gauge("gauge", "In a file that cannot be made.", "livesum").set(7.0)
    full = found()
    lacked = metric_values.lack_values()
    other.unlink()
    before.labels("x").inc()
    after.labels("0").inc()
    unlabelled_gauge("gauge", "", "livesum").set(8.0)
    whole = {"full": full, "lacked": lacked, "then": found(), "lacks": metric_values.lack_values()}
    names = sorted(path.name.partition(str(os.getpid()))[0] for path in folder.iterdir())
    json.dump({**whole, "files": names}, sys.stdout)


if __name__ == "__main__":
    main()
