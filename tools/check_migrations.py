"""Show squawk the SQL of each migration on its own, as a database that is in use would get it.

Each revision is rendered apart: seen in one piece with the revision that creates it, every table
would look new and empty, and nothing done to it dangerous.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).resolve().parent.parent
# Alembic puts each revision into a transaction by itself; text with a CHECK is this schema's way;
# migrations/env.py sets the lock and statement time-outs before any of this runs; what is an INTEGER
# here is a count whose bound the schemas keep, and ids are BIGINT.
EXCLUDED = "transaction-nesting,prefer-text-field,require-timeout-settings,prefer-bigint-over-int"


def main() -> int:
    config = Config(str(ROOT / "alembic.ini"))
    revisions = [*ScriptDirectory.from_config(config).walk_revisions()][::-1]
    with tempfile.TemporaryDirectory() as folder:
        for number, revision in enumerate(revisions):
            target = Path(folder) / f"{number:04}_{Path(revision.path).stem}.sql"
            target.write_text(rendered(config, f"{revision.down_revision or 'base'}:{revision.revision}"))
        squawk = [str(Path(sys.executable).with_name("squawk")), "--assume-in-transaction"]
        return subprocess.run([*squawk, f"--exclude={EXCLUDED}", folder + "/*.sql"], check=False).returncode


def rendered(config: Config, steps: str) -> str:
    config.output_buffer = io.StringIO()
    command.upgrade(config, steps, sql=True)
    return config.output_buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
