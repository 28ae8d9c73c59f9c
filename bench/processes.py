"""Free ports, and services that are awaited."""

import socket
import subprocess
import sys
import time
import urllib.request

START_WITHIN = 180.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(process: subprocess.Popen[bytes], port: int, path: str = "/readyz") -> None:
    """Return once this address answers. Ends the program when the process ends or takes too long."""
    deadline = time.monotonic() + START_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit("a service did not become ready")
