"""DNS that changes its answer between registration and delivery: no packet for such an address leaves."""

import json
import os
import subprocess
import sys
from ipaddress import ip_address

from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import REPOSITORY
from tests.webhooks.in_namespace import PUBLIC, REFUSED, WOULD_LEAVE

#: Root of the machine may make namespaces; any other user becomes root of their own first.
UNSHARE = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def test_no_packet_leaves_for_an_address_that_is_not_public() -> None:
    ran = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.webhooks.in_namespace"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["faults"] == dict.fromkeys(REFUSED, ["private_address"] * 2)
    called = {address for address in told["refused"] if not ip_address(address).is_multicast}
    assert called & {str(ip_address(address)) for address in (*REFUSED, *PUBLIC)} == set()
    # Or the measure would prove nothing.
    assert {str(ip_address(address)) for address in WOULD_LEAVE} <= set(told["allowed"])
