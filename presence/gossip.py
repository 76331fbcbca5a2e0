"""What the processes that hold a room tell each other: each has a map of its own, and copies of the others'.

A process tells what has changed in its map since it told last, numbered without holes, with a digest of the
whole map after it. Whoever misses a number, or comes to another digest, asks for the whole map. So does
everybody who is new; and a process that has nothing to tell repeats its digest, so that a message that was
lost and followed by none is missed as well: 30 s after it, and ever more rarely while nothing changes. It
says when the next is due; one that does not come is asked for, and who does not answer either is gone.

    message := [DELTA,  process, life, number, digest, {key: value | nil}]       msgpack, keys and values bin
             | [STATE,  process, life, number, digest, part, parts, {key: value}]
             | [DIGEST, process, life, number, digest, pause]    seconds to the next one, if nothing changes
             | [ASK,    process, life, [process asked*]]                         of nobody: of all
             | [BYE,    process, life]

``number`` counts the deltas of a life, which is one opening of the room by the process; lives of a process
grow. ``digest`` is XXH3 of each (key, value), XORed. The whole map comes in ``parts``, one behind the other.

Pure: messages come in with the time, in seconds of a clock that does not jump, and go out when asked for.
The model is the Tracker of Phoenix, whose deltas also carry a replica's clock and whose gaps end in a
transfer; maps here have one writer each, so that a number is clock enough.
"""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from roomful.crdt.varint import Malformed

DELTA, STATE, DIGEST, ASK, BYE = range(5)

REPEAT_SECONDS: Final = 30.0
"""Between the last change and the first digest after it."""
LONGEST_REPEAT_SECONDS: Final = 240.0
LATE_SECONDS: Final = 10.0
"""After what was due a process is asked for it."""
SILENT_SECONDS: Final = 70.0
"""After what was due a process is taken for gone, whatever its lease says."""
_GOLDEN: Final = 0.618
_ASK_SECONDS: Final = 2.0
"""Between two questions for the same map."""
_ASK_LATE_SECONDS: Final = 20.0
"""The same where nothing is known to be missing: it may be this process that hears nobody, in any room."""
_ANSWER_SECONDS: Final = 0.2
"""Between two answers: all that ask meanwhile hear the same one."""
_PART_BYTES: Final = 256 << 10
_MOST_PROCESSES: Final = 1_024
_MOST_KEYS: Final = 65_536
_MOST_BYTES: Final = 64 << 20
"""Of one process' map."""
_LARGEST_MESSAGE: Final = 4 << 20
_LONGEST_NAME: Final = 64
_LARGEST_NUMBER: Final = 1 << 53


class Change(NamedTuple):
    """A key of another process' map; its new value, or None when it is no more."""

    process: str
    key: bytes
    value: bytes | None


class _Map:
    """A map with its digest and its size."""

    __slots__ = ("digest", "size", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.digest = 0
        self.size = 0

    def put(self, key: bytes, value: bytes | None) -> bool:
        """Set or, with None, remove a value. Returns whether anything is different now."""
        before = self.values.get(key)
        if before == value:
            return False
        if before is not None:
            self.digest ^= _hash(key, before)
            self.size -= len(key) + len(before)
            del self.values[key]
        if value is not None:
            self.digest ^= _hash(key, value)
            self.size += len(key) + len(value)
            self.values[key] = value
        return True


class _Copy:
    """What is known of another process' map. ``number`` is that of the last delta in it."""

    __slots__ = ("arriving", "asked_at", "due_at", "held", "is_whole", "life", "next_part", "number")

    def __init__(self, life: int) -> None:
        self.life = life
        self.number = 0
        self.held = _Map()
        self.is_whole = True
        self.due_at = 0.0
        self.asked_at = -math.inf
        self.arriving = _Map()
        self.next_part = 0

    def asks_at(self, now: float) -> float:
        """Return when the whole map is to be asked for: soon, or if what is due does not come."""
        if self.is_whole:
            return max(self.due_at + LATE_SECONDS, self.asked_at + _ASK_LATE_SECONDS)
        return max(now, self.asked_at + _ASK_SECONDS)


class Gossip:
    """One process' side, for one room. ``process`` is its name; ``life`` is greater each time it opens it."""

    def __init__(self, process: str, life: int) -> None:
        self._process = process
        self._life = life
        self._number = 0
        self._own = _Map()
        self._changed: dict[bytes, bytes | None] = {}
        self._copies: dict[str, _Copy] = {}
        self._departed: dict[str, None] = {}
        self._left: list[str] = []
        # The last life of each that is known to be over.
        self._ended: dict[str, int] = {}
        self._repeats_at = 0.0
        self._rest = REPEAT_SECONDS
        # Not quite 2, and another for each room: what begins together, after a link was cut, comes apart.
        self._growth = 2 - life * _GOLDEN % 0.25
        self._answered_at = -_ANSWER_SECONDS
        self._is_asked = False
        self._asks_all = True

    # What this process tells

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a key of the own map, or remove it with None; ``due`` tells the others."""
        if self._own.put(key, value):
            self._changed[key] = value

    def ask_all(self) -> None:
        """Ask everybody for everything: something may have been missed. It is so at the start."""
        self._asks_all = True

    def due(self, now: float) -> list[bytes]:
        """Return what is to be told now."""
        messages = []
        asked = self._wanted(now)
        if asked or self._asks_all:
            messages.append(_packed(ASK, self._process, self._life, [] if self._asks_all else asked))
        if self._asks_all:
            self._asks_all = False
            # What was told meanwhile may have been lost as well.
            self._repeats_at, self._rest = now, 0.0
            for copy in self._copies.values():
                copy.due_at = min(copy.due_at, now)
        if self._changed:
            self._number += 1
        if self._is_asked and now >= self._answered_at + _ANSWER_SECONDS:
            messages.extend(self._state())
            self._answered_at = now
            self._is_asked = False
            self._rest = REPEAT_SECONDS
        elif self._changed:
            messages.extend(self._delta())
            self._rest = REPEAT_SECONDS
        elif self._number and now >= self._repeats_at:
            self._rest = min(max(self._rest * self._growth, REPEAT_SECONDS), LONGEST_REPEAT_SECONDS)
            head = (DIGEST, self._process, self._life, self._number, self._own.digest)
            messages.append(_packed(*head, math.ceil(self._rest)))
        else:
            return messages
        self._changed = {}
        self._repeats_at = now + self._rest
        return messages

    def next_due(self, now: float) -> float | None:
        """Return when ``due`` has something to tell, or ``take_gone`` may have, as things stand."""
        copies = self._copies.values()
        times = [copy.asks_at(now) for copy in copies]
        if self._changed or self._asks_all:
            times.append(now)
        if self._is_asked:
            times.append(self._answered_at + _ANSWER_SECONDS)
        if self._number:
            times.append(self._repeats_at)
        times.extend(copy.due_at + SILENT_SECONDS for copy in copies)
        return min(times, default=None)

    def bye(self) -> bytes:
        """Return what tells the others that this process lets the room go."""
        return _packed(BYE, self._process, self._life)

    # What the others tell

    def hear(self, message: bytes, now: float) -> list[Change]:
        """Take what another process has told. Returns what has changed in its map. Raises Malformed."""
        match _unpacked(message):
            case [int(kind), str(process), *_] if kind != ASK and process in self._departed:
                return []
            case [int(kind), str(process), *rest] if len(process) <= _LONGEST_NAME:
                if process == self._process:
                    raise Malformed("type", "another process has this one's name")
                return self._take(kind, process, rest, now)
        raise Malformed("type", "no message of a process")

    def depart(self, process: str) -> bool:
        """A process is gone: forget it, and take nothing more from it until it is said to be back.

        Returns whether it had told anything.
        """
        self._departed[process] = None
        if len(self._departed) > _MOST_PROCESSES:
            # So long ago that it has fallen silent by itself.
            del self._departed[next(iter(self._departed))]
        return self._copies.pop(process, None) is not None

    def come_back(self, process: str) -> bool:
        """A process is there, and may be one that was said to be gone: that is asked what it has to tell.

        Returns whether it is.
        """
        if process not in self._departed:
            return False
        del self._departed[process]
        self._asks_all = True
        return True

    def take_gone(self, now: float) -> list[str]:
        """Forget, and return, the processes that have said goodbye, or nothing for too long."""
        gone, self._left = self._left, []
        silent = [name for name, copy in self._copies.items() if now >= copy.due_at + SILENT_SECONDS]
        for name in silent:
            del self._copies[name]
        return gone + silent

    def _take(self, kind: int, process: str, rest: list[Any], now: float) -> list[Change]:
        match rest:
            case [int(life), list(asked), *_] if kind == ASK:
                # Its life before has ended, be it that the goodbye was lost.
                self._end(process, life - 1)
                if not asked or self._process in asked:
                    self._is_asked = self._is_asked or self._number > 0 or bool(self._changed)
                return []
            case [int(life), *_] if kind == BYE:
                self._end(process, life)
                return []
            case [int(life), int(number), int(digest), *more] if 0 < number < _LARGEST_NUMBER:
                copy = self._copy(process, life)
                if copy is None:
                    return []
                copy.due_at = now + REPEAT_SECONDS
                match more:
                    case [dict(values), *_] if kind == DELTA:
                        return list(self._apply(process, copy, number, digest, values))
                    case [int(part), int(parts), dict(values), *_] if kind == STATE and part < parts:
                        return list(self._gather(process, copy, (number, digest, part, parts), values))
                    case [int(pause), *_] if kind == DIGEST and pause >= 0:
                        copy.due_at = now + min(pause, LONGEST_REPEAT_SECONDS)
                        if number > copy.number or (number == copy.number and digest != copy.held.digest):
                            copy.is_whole = False
                        return []
        raise Malformed("type", f"no message of kind {kind}")

    def _end(self, process: str, life: int) -> None:
        """This life of a process is over."""
        copy = self._copies.get(process)
        if copy is not None and life >= copy.life:
            del self._copies[process]
            self._left.append(process)
        if life > self._ended.get(process, 0):
            self._ended.pop(process, None)
            if len(self._ended) >= _MOST_PROCESSES:
                del self._ended[next(iter(self._ended))]
            self._ended[process] = life

    def _copy(self, process: str, life: int) -> _Copy | None:
        """Return the copy of this life, or None when it is over."""
        if life <= self._ended.get(process, 0):
            return None
        copy = self._copies.get(process)
        if copy is None:
            if len(self._copies) >= _MOST_PROCESSES:
                raise Malformed("limit", f"more than {_MOST_PROCESSES} processes")
            copy = self._copies[process] = _Copy(life)
        elif life < copy.life:
            return None
        elif life > copy.life:
            # What is held of the life before stays until the whole map of this one comes.
            held, copy = copy.held, _Copy(life)
            self._copies[process] = copy
            copy.held, copy.is_whole = held, not held.values
        return copy

    def _apply(
        self, process: str, copy: _Copy, number: int, digest: int, values: dict[Any, Any]
    ) -> Iterator[Change]:
        if number <= copy.number:
            return
        if number != copy.number + 1 or not copy.is_whole:
            copy.is_whole = False
            return
        _check(values, copy.held, may_be_gone=True)
        copy.number = number
        for key, value in values.items():
            if copy.held.put(key, value):
                yield Change(process, key, value)
        copy.is_whole = copy.held.digest == digest

    def _gather(
        self, process: str, copy: _Copy, place: tuple[int, int, int, int], values: dict[Any, Any]
    ) -> Iterator[Change]:
        number, digest, part, parts = place
        if number < copy.number:
            return
        if part == 0:
            copy.arriving, copy.next_part = _Map(), 0
        if part != copy.next_part:
            copy.is_whole = False
            return
        _check(values, copy.arriving, may_be_gone=False)
        for key, value in values.items():
            copy.arriving.put(key, value)
        copy.next_part += 1
        if copy.next_part < parts:
            return
        before, copy.held, copy.arriving, copy.next_part = copy.held, copy.arriving, _Map(), 0
        copy.number = number
        copy.is_whole = copy.held.digest == digest
        for key in before.values.keys() - copy.held.values.keys():
            yield Change(process, key, None)
        for key, value in copy.held.values.items():
            if before.values.get(key) != value:
                yield Change(process, key, value)

    def _wanted(self, now: float) -> list[str]:
        """Return whose map is to be asked for now."""
        wanted = [name for name, copy in self._copies.items() if now >= copy.asks_at(now)]
        for name in wanted:
            self._copies[name].asked_at = now
        return wanted

    def _delta(self) -> list[bytes]:
        if sum(len(key) + len(value or b"") for key, value in self._changed.items()) > _PART_BYTES:
            return self._state()
        return [_packed(DELTA, self._process, self._life, self._number, self._own.digest, self._changed)]

    def _state(self) -> list[bytes]:
        parts: list[dict[bytes, bytes]] = [{}]
        size = 0
        for key, value in self._own.values.items():
            size += len(key) + len(value)
            if size > _PART_BYTES and parts[-1]:
                parts.append({})
                size = len(key) + len(value)
            parts[-1][key] = value
        head = (STATE, self._process, self._life, self._number, self._own.digest)
        return [_packed(*head, at, len(parts), part) for at, part in enumerate(parts)]


def _hash(key: bytes, value: bytes) -> int:
    return xxh3_64_intdigest(value, xxh3_64_intdigest(key))


def _packed(*message: object) -> bytes:
    packed: bytes = msgpack.packb(message)
    return packed


def _unpacked(message: bytes) -> object:
    if len(message) > _LARGEST_MESSAGE:
        raise Malformed("limit", f"{len(message)} bytes")
    try:
        return msgpack.unpackb(message, strict_map_key=True)
    except (ValueError, RecursionError) as error:
        raise Malformed("type", "no msgpack") from error


def _check(values: dict[Any, Any], held: _Map, *, may_be_gone: bool) -> None:
    """Raise Malformed unless these are keys and values, and few enough beside what is held."""
    size = held.size
    for key, value in values.items():
        if not isinstance(value, bytes):
            if value is not None or not may_be_gone:
                raise Malformed("type", "a value is no bytes")
        elif isinstance(key, bytes):
            size += len(key) + len(value)
        if not isinstance(key, bytes):
            raise Malformed("type", "a key is no bytes")
    if size > _MOST_BYTES or len(held.values) + len(values) > _MOST_KEYS:
        raise Malformed("limit", f"a map of more than {_MOST_KEYS} keys or {_MOST_BYTES} bytes")
