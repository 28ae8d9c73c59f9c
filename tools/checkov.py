"""Policies over what is deployed: the chart as it renders, the Dockerfile, the workflows.

    python tools/checkov.py

checkov stands in an environment of its own, .venv/checkov, from tools/checkov.lock, because it has many
dependencies of many years. It sends no requests. Every finding must be in tools/checkov-waivers.yaml with a
reason, and every waiver must be needed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

import helm
import yaml

ROOT = Path(__file__).resolve().parent.parent
LOCK, WAIVERS = ROOT / "tools" / "checkov.lock", ROOT / "tools" / "checkov-waivers.yaml"
FOLDER = ROOT / ".venv" / "checkov"
FRAMEWORKS = ("kubernetes", "dockerfile", "github_actions")
#: As a release is: by digest.
DIGEST = "image.digest=sha256:" + 64 * "0"
RENDERED = {
    "two-secrets": ["--set", "secrets.secretKey=k,secrets.databaseUrl=postgresql://u:p@h/d"],
    "staging": ["--values", "k8s/environments/staging.yaml"],
    "production": ["--values", "k8s/environments/production.yaml"],
}
APIS = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")


def main() -> int:
    install()
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder))
        passed, findings = look(Path(folder))
    waivers = yaml.safe_load(WAIVERS.read_text())
    open_ = [one for one in findings if not any(fits(waiver, one) for waiver in waivers)]
    unused = [waiver for waiver in waivers if not any(fits(waiver, one) for one in findings)]
    for one in open_:
        print(f"{one['check_id']} {one['resource']}: {one['check_name']} ({one['file_path']})")
    for waiver in unused:
        print(f"{WAIVERS.name}: nothing needs {waiver['check']} of {waiver['resource']} any more")
    print(
        f"checkov: {passed} checks passed, {len(findings) - len(open_)} findings waived with a reason,"
        f" {len(open_)} open, {len(unused)} waivers too many"
    )
    return 1 if open_ or unused else 0


def install() -> None:
    """Once for each lock."""
    stamp, wanted = FOLDER / "lock", LOCK.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("checkov: installing it, which takes a while", file=sys.stderr, flush=True)
    uv = [sys.executable, str(ROOT / "tools" / "bootstrap.py"), "uv"]
    run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(FOLDER)])
    python = ["--python", str(FOLDER / "bin" / "python")]
    run([*uv, "pip", "install", "-q", *python, "--require-hashes", "-r", str(LOCK)])
    stamp.write_text(wanted)


def render(folder: Path) -> None:
    apis = [argument for api in APIS for argument in ("--api-versions", api)]
    for name, values in RENDERED.items():
        (folder / name).mkdir()
        command = [str(helm.helm("4")), "template", "tradepost", "charts/tradepost", "-n", "tradepost"]
        text = run([*command, "--set", DIGEST, *apis, *values], stdout=subprocess.PIPE)
        (folder / name / "chart.yaml").write_text(text)
    (folder / "image").mkdir()
    (folder / "image" / "Dockerfile").write_text((ROOT / "Dockerfile").read_text())
    shutil.copytree(ROOT / ".github", folder / ".github")


def look(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """How many checks passed, and what was found."""
    command = [str(FOLDER / "bin" / "checkov"), "--directory", str(folder), "--skip-download", "--quiet"]
    command += ["--framework", *FRAMEWORKS, "--output", "json", "--soft-fail"]
    answer = json.loads(run(command, stdout=subprocess.PIPE))
    reports = answer if isinstance(answer, list) else [answer]
    seen = {report.get("check_type") for report in reports if report["summary"]["passed"]}
    if missing := set(FRAMEWORKS) - seen:
        stop(f"nothing was checked of {', '.join(sorted(missing))}")
    if errors := [error for report in reports for error in report["results"].get("parsing_errors", [])]:
        stop(f"cannot be read: {', '.join(errors)}")
    found = [one for report in reports for one in report["results"]["failed_checks"]]
    return sum(report["summary"]["passed"] for report in reports), found


def fits(waiver: dict[str, str], finding: dict[str, Any]) -> bool:
    return waiver["check"] == finding["check_id"] and fnmatchcase(finding["resource"], waiver["resource"])


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, **options)
    if done.returncode:
        stop(f"this failed with status {done.returncode}: {' '.join(command)}")
    return done.stdout or ""


def stop(what: str) -> NoReturn:
    sys.exit(f"checkov: {what}")


if __name__ == "__main__":
    sys.exit(main())
