"""What goes through the pipes between the service and a process that renders."""

import struct
from typing import Final

#: Before a document, which is pickled.
LENGTH: Final = struct.Struct(">I")
#: Before an answer: what became of it, and its length.
HEAD: Final = struct.Struct(">cI")
RENDERED: Final = b"+"
#: The answer is a traceback.
FAILED: Final = b"-"
