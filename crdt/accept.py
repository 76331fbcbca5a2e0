"""The last word on an update from outside, before it is given to anybody and kept for ever."""

from pycrdt import get_state

from .check import Contents, check_update
from .varint import Malformed

MOST_RUNS = 1 << 16
"""Runs of structs, each of one client and without a hole, that one update may hold.

Everything that is done with an update or a document costs something for each of its runs. Yjs makes a run for
each client in it, and a hole only where an update was lost.
"""


def accept_update(update: bytes) -> Contents:
    """Walk an update (v1) as ``check_update`` does, and ask the library whether it reads it as well.

    Raises ``Malformed``. What passes can be merged with anything that has passed, and be diffed.
    """
    contents = check_update(update)
    if len(contents.ranges) > MOST_RUNS:
        raise Malformed("count", f"{len(contents.ranges)} runs of structs; at most {MOST_RUNS} are taken")
    try:
        # It fails exactly when the library's merge and diff do, at a tenth of the cost of the walk.
        get_state(update)
    except ValueError as error:
        raise Malformed("unmergeable", str(error)) from None
    return contents
