"""Write charts/tradepost/files/dashboard.json, or with --check say whether it is what this would write."""

import json
import sys
from pathlib import Path

import grafana
import requests_and_processes
import work_and_business

TARGET = Path(__file__).parents[2] / "charts" / "tradepost" / "files" / "dashboard.json"


def main() -> int:
    rows = (*requests_and_processes.ROWS, *work_and_business.ROWS)
    text = json.dumps(grafana.dashboard(rows), indent=1, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        same = TARGET.read_text() == text
        print("the dashboard is up to date" if same else f"{TARGET} is not: make dashboard")
        return 0 if same else 1
    TARGET.write_text(text)
    print(f"{TARGET.name}: {sum(len(panels) for _, panels in rows)} panels")
    return 0


sys.exit(main())
