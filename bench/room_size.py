"""What presence costs by the size of a room: python -m bench.room_size, from the root of the repository.

The tracker, the roster and the frames are the real ones; sockets are lists. A tenth of the people, at most
5,000, are in this process. It hears of the others, at some 20 µs for each change, which is not counted. In a
tick 2,000 changed people are looked at, at most. Prints a table, and draws docs/presence.svg.
"""

import random
from collections.abc import Iterator, Sequence
from math import log10
from pathlib import Path
from statistics import median
from time import process_time
from typing import NamedTuple

from roomful.presence.roster import Roster
from roomful.presence.tiers import interval_for
from roomful.presence.tracker import Tracker
from roomful.server.config import Config
from roomful.server.protocols.roomful import RoomfulEnvelope

SIZES = (10, 30, 100, 200, 300, 1_000, 2_000, 3_000, 10_000, 20_000, 50_000)
SHARES = (0.001, 0.01, 0.1, 1.0)
"""Of the people, those who change something between two ticks."""
TICKS = 5
MERGED = 2_000
"""As server/presence.py has it."""
SEED = 20_261_122
PICTURE = Path(__file__).parent.parent / "docs" / "presence.svg"


class Cost(NamedTuple):
    """Of one tick: bytes for each member, and milliseconds of CPU in this process."""

    size: int
    share: float
    frame: int
    cpu: float


class Room:
    """A room of some size, whose people all have something to say of themselves."""

    def __init__(self, size: int) -> None:
        limits, timing = Config().limits, Config().timing
        self.here = min(size, max(10, size // 10), 5_000)
        self.interval = interval_for(self.here, timing.presence_interval)
        self._size = size
        self._now = 0.0
        self._tracker = Tracker(largest=limits.max_presence_bytes, clock=0)
        self._elsewhere = Tracker(largest=limits.max_presence_bytes, clock=1)
        self._roster = Roster(self._tracker.people, limits.presence_frame_bytes)
        self._envelope = RoomfulEnvelope(1)
        self._outboxes: list[list[bytes]] = [[] for _ in range(self.here)]
        for number in range(size):
            process = self._tracker if number < self.here else self._elsewhere
            process.join(0, f"s{number}", f"user {number}", "", {"device": "phone"})
        self.hear()
        while self._tracker.has_changed or self._roster.waiting:
            self.tick()

    def change(self, people: Sequence[int], dice: random.Random) -> None:
        """Let people move, and some of them raise a hand or lower it."""
        for number in people:
            process = self._tracker if number < self.here else self._elsewhere
            cursor = {"line": dice.randrange(10_000), "column": dice.randrange(100)}
            process.change(self._now, f"s{number}", {"cursor": cursor, "hand": dice.random() < 0.1})

    def hear(self) -> None:
        """Let this process hear of what the others have to tell."""
        for each in self._elsewhere.merge(self._now).own:
            self._tracker.hear("elsewhere", each.session, each.value)

    def tick(self) -> int:
        """Let a tick happen. Returns the bytes of what each member was sent."""
        self._now += self.interval
        self._roster.take(self._now, self._tracker.merge(self._now, MERGED))
        body = self._roster.tick(self._now, self._tracker.sessions)
        if body is None:
            return 0
        frame = self._envelope.presence(body)
        for outbox in self._outboxes:
            outbox.append(frame)
            outbox.clear()
        return len(frame)


def measure() -> Iterator[Cost]:
    for size in SIZES:
        room, dice = Room(size), random.Random(SEED)
        for share in SHARES:
            frames, seconds = [], []
            for _ in range(TICKS):
                room.change(dice.sample(range(size), max(1, int(size * share))), dice)
                room.hear()
                start = process_time()
                frames.append(room.tick())
                seconds.append(process_time() - start)
            yield Cost(size, share, max(frames), 1_000 * median(seconds))


def table(costs: Sequence[Cost]) -> str:
    """Return a row for each size: bytes and CPU of a tick at each share."""
    shares = " | ".join(f"{share:.1%}" for share in SHARES)
    lines = [f"| people | {shares} |", "| --- " * (len(SHARES) + 1) + "|"]
    for size in SIZES:
        cells = [f"{each.frame:,} B, {each.cpu:.1f} ms" for each in costs if each.size == size]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(costs: Sequence[Cost], ceiling: int) -> str:
    """Return an SVG: bytes of a tick's frame by the size of the room, a line for each share."""
    width, height, left, top = 640, 320, 60, 20
    across, up = (1, 4.8), (1.5, 4.5)
    colours = ("#7aa6c2", "#3f7fb5", "#205a8d", "#0b2f52")

    def place(size: float, value: float) -> tuple[int, int]:
        x = left + (log10(size) - across[0]) / (across[1] - across[0]) * width
        y = top + height - (log10(max(value, 32)) - up[0]) / (up[1] - up[0]) * height
        return round(x), round(y)

    def line(points: Sequence[tuple[int, int]], style: str) -> str:
        path = " ".join(f"{x},{y}" for x, y in points)
        return f'<polyline points="{path}" fill="none" {style}/>'

    def text(x: int, y: int, words: str, colour: str = "#333") -> str:
        return f'<text x="{x}" y="{y}" fill="{colour}">{words}</text>'

    box = f"{width + 240} {height + 70}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {box}" font-family="sans-serif" '
        'font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for value in (100, 1_000, 10_000):
        x, y = place(10, value)
        parts += [line([(x, y), (x + width, y)], 'stroke="#ddd"'), text(8, y + 4, f"{value:,} B")]
    for size in (10, 100, 1_000, 10_000, 50_000):
        x, _ = place(size, ceiling)
        parts.append(text(x - 14, top + height + 20, f"{size:,}"))
    parts.append(text(left + width // 2 - 60, top + height + 44, "people in the room"))
    bound = [place(10, ceiling), place(50_000, ceiling)]
    parts.append(line(bound, 'stroke="#c33" stroke-dasharray="6 4"'))
    parts.append(text(bound[1][0] + 24, bound[1][1] + 4, "presence_frame_bytes", "#c33"))
    for number, (share, colour) in enumerate(zip(SHARES, colours, strict=True)):
        points = [place(each.size, each.frame) for each in costs if each.share == share]
        parts.append(line(points, f'stroke="{colour}" stroke-width="2"'))
        parts.append(text(left + width + 24, top + 60 + 20 * number, f"{share:.1%} change a tick", colour))
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    costs = list(measure())
    print(table(costs))
    PICTURE.write_text(picture(costs, Config().limits.presence_frame_bytes), encoding="utf-8")


if __name__ == "__main__":
    main()
