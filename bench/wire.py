"""The two wire formats the generator speaks, and just enough of Yjs' v1 update format to see who wrote what.

A y-websocket message is ``varUint type, body``; Hocuspocus puts ``varString document name`` before it. A sync
message (type 0) is ``varUint step, varUint8Array body`` with steps 0 (state vector), 1 (the difference) and 2
(an update). Sources: y-protocols' PROTOCOL.md, @hocuspocus/common, yjs' UpdateEncoder.
"""

from dataclasses import dataclass

SYNC, AWARENESS, AUTH = 0, 1, 2
STEP_1, STEP_2, UPDATE = 0, 1, 2
EMPTY_STATE = b"\x00"
EMPTY_UPDATE = b"\x00\x00"

_GC, _DELETED, _STRING, _SKIP = 0, 1, 4, 10


def varuint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def state_of(client: int, clocks: int) -> bytes:
    """The state vector of one who has all that one client has written, and nothing else."""
    return varuint(1) + varuint(client) + varuint(clocks)


def read_varuint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and the offset after it."""
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def sized(data: bytes) -> bytes:
    """varUint8Array, which is also how a varString of UTF-8 ``data`` looks."""
    return varuint(len(data)) + data


@dataclass(frozen=True)
class Dialect:
    """One protocol as one server offers it: where a room is, and what stands before each message.

    ``prefix`` is put before the room's name in the URL; a keyed dialect (Hocuspocus) names the room in each
    message instead, and logs in with a message.
    """

    name: str
    prefix: str
    keyed: bool

    def path(self, room: str) -> str:
        return self.prefix if self.keyed else self.prefix + room

    def key(self, room: str) -> bytes:
        return sized(room.encode()) if self.keyed else b""

    def opening(self, room: str, state: bytes = EMPTY_STATE) -> list[bytes]:
        """What a client sends at once: its login if there is one, and step 1."""
        login = [self.key(room) + bytes((AUTH, 0)) + sized(b"") + sized(b"4.7.0")] if self.keyed else []
        return [*login, self.key(room) + bytes((SYNC, STEP_1)) + sized(state)]

    def step_2(self, room: str, update: bytes = EMPTY_UPDATE) -> bytes:
        return self.key(room) + bytes((SYNC, STEP_2)) + sized(update)

    def update(self, room: str, update: bytes) -> bytes:
        return self.key(room) + bytes((SYNC, UPDATE)) + sized(update)

    def sync_step(self, room_key: bytes, message: bytes) -> int | None:
        """STEP_1, STEP_2 or UPDATE if the message (or its first bytes) is one, else None."""
        at = len(room_key)
        if message[:at] != room_key or len(message) < at + 2 or message[at] != SYNC:
            return None
        return message[at + 1]

    def sync_body(self, room_key: bytes, message: bytes) -> bytes:
        size, start = read_varuint(message, len(room_key) + 2)
        return message[start : start + size]


def written(update: bytes) -> list[tuple[int, int, int]]:
    """The runs of structs in an update made by typing: (client id, first clock, number of clocks).

    Knows the content that typed text is made of, and what merging makes of it (deleted, collected and skipped
    runs). Skipped clocks are not in the update, so they are not in the answer. Raises ValueError on anything
    else: an update that this function cannot read must not count as delivered.
    """
    runs: list[tuple[int, int, int]] = []
    clients, at = read_varuint(update, 0)
    for _ in range(clients):
        structs, at = read_varuint(update, at)
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        for _ in range(structs):
            info = update[at]
            at += 1
            content = info & 0x1F
            if content in (_GC, _SKIP):
                length, at = read_varuint(update, at)
            else:
                at = _after_links(update, at, info)
                length, at = read_varuint(update, at)
                if content == _STRING:
                    text = update[at : at + length]
                    at += length
                    length = len(text) if text.isascii() else len(text.decode().encode("utf-16-le")) // 2
                elif content != _DELETED:
                    raise ValueError(f"content {content} is not what typing makes")
            if content != _SKIP:
                runs.append((client, clock, length))
            clock += length
    return runs


def _after_links(update: bytes, at: int, info: int) -> int:
    """The offset after an item's neighbours or, when it has none, its parent."""
    for present in (info & 0x80, info & 0x40):
        if present:
            _, at = read_varuint(update, at)
            _, at = read_varuint(update, at)
    if not info & 0xC0:
        named, at = read_varuint(update, at)
        first, at = read_varuint(update, at)
        at = at + first if named else read_varuint(update, at)[1]
        if info & 0x20:
            size, at = read_varuint(update, at)
            at += size
    return at
