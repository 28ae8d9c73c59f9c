"""Print the targets of a Makefile with the words that follow their `##`."""

import re
import sys
from pathlib import Path

TARGET = re.compile(r"^([a-z][a-z-]*):[^#]*## (.+)$", re.MULTILINE)

for makefile in sys.argv[1:]:
    for name, meaning in TARGET.findall(Path(makefile).read_text()):
        print(f"  make {name:11} {meaning}")
