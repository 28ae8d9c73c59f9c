"""HOST=:: is both families: a pod of a dual-stack cluster is asked by either."""

from pathlib import Path

import pytest

from tests.server.process import cloned_database, get, started


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_probes_and_metrics_answer_on_both(tmp_path: Path, command: str) -> None:
    with (
        cloned_database() as url,
        started(tmp_path, module=("service", command), DATABASE_URL=url, HOST="::") as process,
    ):
        process.wait_until_up().wait_for("metrics.served")
        for host in ("127.0.0.1", "[::1]"):
            assert get(f"http://{host}:{process.port}/livez").status_code == 200
            assert get(f"http://{host}:{process.metrics_port}/metrics").status_code == 200
        assert process.stop() == 0
