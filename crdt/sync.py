"""Messages of the y-protocols sync and awareness protocols (github.com/yjs/y-protocols, PROTOCOL.md).

message        := varUint(type) . body
sync           := varUint(0) . varUint(step) . varByteArray(payload)
step 1         := step 0, payload is a state vector: "this is what I have"
step 2         := step 1, payload is an update: "this is what you lack"
update         := step 2, payload is an update: "this has just happened"
awareness      := varUint(1) . varByteArray(entries)
queryAwareness := varUint(3)
"""

from .varint import Malformed, read_varuint, write_varuint

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = range(4)
STEP_1, STEP_2, UPDATE = range(3)

EMPTY_UPDATE = b"\x00\x00"
"""An update that says nothing: no structs, no deletions."""

EMPTY_STATE_VECTOR = b"\x00"
"""The state vector of a document that holds nothing."""


def read_payload(message: bytes, at: int) -> bytes:
    """Return the byte array that starts at ``at`` and must be the rest of the message.

    Raises Malformed when it is cut short or something follows it.
    """
    length, at = read_varuint(message, at)
    if at + length != len(message):
        raise Malformed(
            "truncated" if at + length > len(message) else "trailing",
            f"payload of {length} bytes in {len(message) - at}",
        )
    return message[at:]


def read_sync(message: bytes, at: int) -> tuple[int, bytes]:
    """Return (step, payload) of the sync message whose step number is at ``at``. Raises Malformed."""
    # A keystroke: step and length in one byte each.
    rest = len(message) - at
    if 1 < rest < 130 and message[at] <= UPDATE and message[at + 1] == rest - 2:
        return message[at], message[at + 2 :]
    step, at = read_varuint(message, at)
    if step > UPDATE:
        raise Malformed("type", f"unknown sync step {step}")
    return step, read_payload(message, at)


def sync_head(step: int, length: int) -> bytes:
    """Return what stands before a sync payload of ``length`` bytes, message type included."""
    return bytes((SYNC, step)) + write_varuint(length)


def awareness_head(length: int) -> bytes:
    """Return what stands before awareness entries of ``length`` bytes, message type included."""
    return bytes((AWARENESS,)) + write_varuint(length)
