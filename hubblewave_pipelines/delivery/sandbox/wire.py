"""What the sandbox and its keeper say to each other: lengths and bytes, limits and outcomes."""

import struct
from enum import IntEnum

SECONDS = 5.0  # the engine's own limit; the keeper kills a little later
MEMORY_BYTES = 64 << 20
STACK_BYTES = 256 << 10
MAX_CODE = 64 << 10
MAX_INPUT = 4 << 20
MAX_OUTPUT = 1 << 20

REQUEST = struct.Struct("!II")  # bytes of code, bytes of input; both follow
REPLY = struct.Struct("!BI")  # outcome, bytes of text; the text follows


class Outcome(IntEnum):
    """First byte of a reply. READY and WEAK are said once, before any request."""

    READY = 0  # locked down
    WEAK = 1  # not locked down, the text says why; the process ends unless told to go on
    RESULT = 2  # the text is the result as JSON
    ERROR = 3  # the code threw, or cannot be read; the text is what the engine says
    RESULT_UNFIT = 4  # it returned something that is no JSON object of at most MAX_OUTPUT
    OUT_OF_TIME = 5  # the process is spent
    OUT_OF_MEMORY = 6  # the process is spent
