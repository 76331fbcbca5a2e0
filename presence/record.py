"""One session in one room, as the processes that serve the room tell each other of it.

    record := [1, clock, user, instance, began, said, lost, fields]   msgpack; what follows is passed over

``clock`` rises with each record of a session: the newest counts.
"""

from hashlib import blake2b
from typing import NamedTuple

import msgpack

from roomful.crdt.varint import Malformed

from .fields import NO_FIELDS, Fields, encode_array, encode_map, pack, patched

_VERSION = 1
_LONGEST_USER = 512
LONGEST_ID = 2 + _LONGEST_USER
"""Bytes of a person's id."""
_LONGEST_INSTANCE = 192
_HEAD_BYTES = 1 << 10
LATEST = 1 << 52
"""The last time on a tracker's clock that is believed of another process."""


class Record(NamedTuple):
    """What is known of a session.

    ``user`` is the server's word, empty for those without a name. ``instance`` is the client's own word for
    itself, by which it is known again after a lost connection; it is never shown to other clients.
    ``began`` and ``said`` are when it joined and when it last changed a field, on the tracker's clock.
    """

    user: str
    instance: str
    began: int
    said: int
    lost: bool = False
    fields: Fields = NO_FIELDS

    @property
    def may_return(self) -> bool:
        """Whether it would be known again."""
        return bool(self.user or self.instance)

    def person(self, session: str) -> str:
        """Return the id of the person whose session this is.

        u:<user>       somebody with a user id
        i:<digest>     a client without; the digest keeps its instance to itself
        s:<session>    nobody who would be known again
        """
        if self.user:
            return f"u:{self.user}"
        if self.instance:
            return f"i:{blake2b(self.instance.encode(), digest_size=12).hexdigest()}"
        return f"s:{session}"


def check_identity(user: str, instance: str) -> None:
    """Raise Malformed for a user id above 512 bytes, an instance above 192, and what is no text."""
    if len(pack(user)) > _LONGEST_USER + 3 or len(pack(instance)) > _LONGEST_INSTANCE + 2:
        raise Malformed("limit", "user id or instance is too long")


def encode_record(clock: int, record: Record) -> bytes:
    """Return the bytes of a record."""
    parts = (_VERSION, clock, record.user, record.instance, record.began, record.said, record.lost)
    return encode_array([*map(pack, parts), encode_map(record.fields)])


def decode_record(data: bytes, largest: int) -> tuple[int, Record]:
    """Return (clock, record), whose fields take at most ``largest`` bytes. Raises Malformed."""
    if len(data) > _HEAD_BYTES + largest:
        raise Malformed("limit", f"presence record of {len(data)} bytes")
    try:
        parts = msgpack.unpackb(data)
    except ValueError as error:
        raise Malformed("content", "presence record is not msgpack") from error
    match parts:
        case [1, int(clock), str(user), str(instance), int(began), int(said), bool(lost), dict(fields), *_]:
            check_identity(user, instance)
            if not (0 <= began <= clock and 0 <= said <= clock and clock <= LATEST):
                raise Malformed("clock", "presence record with a time that is none")
            return clock, Record(user, instance, began, said, lost, patched(NO_FIELDS, fields, largest))
    raise Malformed("content", "presence record of another shape")
