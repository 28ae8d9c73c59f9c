"""The secrets of prod-like, made for this checkout: production refuses those that are published in k8s/.

    python tools/prod_like_secrets.py build/prod-like-secrets.yaml

Values for the chart, readable by their owner alone. A file that is there stays as it is: a new key would end
every session, and what is encrypted in the database could not be decrypted any more.
"""

import os
import secrets
import sys
from pathlib import Path


def main(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        print(f"{path} is there already")
        return 0
    with os.fdopen(file, "w") as values:
        # As `tradepost generate-key` makes it; and a password, which needs a digit.
        values.write(f'secrets:\n  secretKey: "{secrets.token_urlsafe(48)}"\n')
        values.write(f'  adminPassword: "{secrets.token_urlsafe(18)}-1"\n')
    print(f"{path} is written, with a key and the administrator's password")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
