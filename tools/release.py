"""Publish a release: the image for two architectures and the chart, both signed, in the owner's registry.

    python tools/release.py check v0.1.0            the tag is the version of the service and of the chart
    python tools/release.py image ghcr.io/OWNER     build, push and sign the image
    python tools/release.py chart ghcr.io/OWNER     push and sign the chart, which names that image by digest

--show prints the commands. Needed: docker with buildx (and QEMU for the other architecture), cosign, and
that docker is signed in to the registry, which the others then are too. cosign signs without a key: the
build's OIDC provider says who it is. SBOM and provenance are part of the image's index, so that its
signature holds for them as well.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import build_image
import helm

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "tradepost"
METADATA = ROOT / "build" / "release" / "image.json"
PLATFORMS = "linux/amd64,linux/arm64"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=("check", "image", "chart"))
    parser.add_argument("what", help="a tag, or registry and owner")
    parser.add_argument("--show", action="store_true", help="only print the commands")
    arguments = parser.parse_args()
    steps = {"check": check, "image": publish_image, "chart": publish_chart}
    steps[arguments.step](arguments.what.lower(), arguments.show)
    return 0


def check(tag: str, _: bool) -> None:
    """A release is what its tag says, everywhere."""
    chart = (CHART / "Chart.yaml").read_text()
    found = {
        "the tag": tag.removeprefix("v"),
        "service/__init__.py": build_image.version(),
        "version in Chart.yaml": line(chart, "version"),
        "appVersion in Chart.yaml": line(chart, "appVersion"),
    }
    if len(set(found.values())) > 1:
        stop("these must be the same: " + ", ".join(f"{where} {what}" for where, what in found.items()))
    if f"## [{found['the tag']}]" not in (ROOT / "CHANGELOG.md").read_text():
        stop(f"CHANGELOG.md has no section [{found['the tag']}]")
    print(f"{found['the tag']} it is, everywhere")


def line(text: str, name: str) -> str:
    found = re.search(rf'^{name}: "?([^"\n]+)"?$', text, re.MULTILINE)
    return found.group(1) if found else "missing"


def publish_image(registry: str, show: bool) -> None:
    image, version = f"{registry}/tradepost", build_image.version()
    facts = {
        "VERSION": version,
        "REVISION": build_image.revision(),
        "CREATED": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    METADATA.parent.mkdir(parents=True, exist_ok=True)
    command = ["docker", "buildx", "build", f"--platform={PLATFORMS}", "--sbom=true", "--provenance=mode=max"]
    command += [f"--build-arg={name}={value}" for name, value in facts.items()]
    command += ["--pull", f"--tag={image}:{version}", f"--metadata-file={METADATA}", "--push", "."]
    run(command, show)
    digest = "sha256:" + 64 * "0" if show else json.loads(METADATA.read_text())["containerimage.digest"]
    sign(f"{image}@{digest}", show)
    output(image=image, digest=digest)


def publish_chart(registry: str, show: bool) -> None:
    """The chart as it is in the repository, but for where its image is."""
    image = f"{registry}/tradepost"
    digest = "sha256:" + 64 * "0" if show else json.loads(METADATA.read_text())["containerimage.digest"]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tradepost"
        shutil.copytree(CHART, copy)
        name_image(copy, image, digest)
        program = str(helm.helm("4"))
        run([program, "lint", "--strict", str(copy), *two_secrets()], show=False)
        run([program, "package", str(copy), "--destination", folder], show=False)
        [package] = Path(folder).glob("tradepost-*.tgz")
        pushed = run([program, "push", str(package), f"oci://{registry}/charts"], show, capture=True)
    found = DIGEST.search(pushed)
    if not (found or show):
        stop(f"helm did not say under which digest it pushed the chart: {pushed}")
    sign(f"{registry}/charts/tradepost@{found.group() if found else digest}", show)


def two_secrets() -> list[str]:
    return ["--set", "secrets.secretKey=k", "--set", "secrets.databaseUrl=postgresql://u:p@h/d"]


def name_image(chart: Path, image: str, digest: str) -> None:
    """In the values, and in the README, which says what they are."""
    changes = {
        "values.yaml": (
            ("\n  repository: tradepost\n", f"\n  repository: {image}\n"),
            ('\n  digest: ""\n', f"\n  digest: {digest}\n"),
        ),
        "README.md": (
            ('| image.repository | string | `"tradepost"` |', f'| image.repository | string | `"{image}"` |'),
            ('| image.digest | string | `""` |', f'| image.digest | string | `"{digest}"` |'),
        ),
    }
    for name, replaced in changes.items():
        text = (chart / name).read_text()
        for old, new in replaced:
            if text.count(old) != 1:
                stop(f"{name} of the chart has {text.count(old)} times: {old.strip()}")
            text = text.replace(old, new)
        (chart / name).write_text(text)


def sign(reference: str, show: bool) -> None:
    run(["cosign", "sign", "--yes", reference], show)


def run(command: list[str], show: bool, *, capture: bool = False) -> str:
    print(f"+ {shlex.join(command)}", flush=True)
    if show:
        return ""
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if capture else {}
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, **streams)
    if capture:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        stop(f"status {done.returncode}: {shlex.join(command)}")
    return done.stdout or ""


def output(**values: str) -> None:
    """For the steps that follow in a workflow."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())


def stop(what: str) -> NoReturn:
    sys.exit(f"release: {what}")


if __name__ == "__main__":
    sys.exit(main())
