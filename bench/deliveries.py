"""What reached whom, and when: every message of every receiver taken apart after the run.

A delivery is one person's update having reached one other person. A server that merges updates sends fewer
messages than that, so messages are not counted, but the struct ranges in them.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from .keyboard import Writer
from .measurement import percentile
from .participant import Participant
from .wire import written


@dataclass
class Deliveries:
    """Seconds from each letter's press to its arrival at each other person, once for each."""

    expected: int = 0
    near: "array[float]" = field(default_factory=lambda: array("d"))
    """Written and read on one node."""
    far: "array[float]" = field(default_factory=lambda: array("d"))
    """Written on one node, read on another."""

    @property
    def number(self) -> int:
        return len(self.near) + len(self.far)

    def missing(self) -> list[str]:
        """One line when not everything arrived."""
        return [f"{self.number} of {self.expected} updates arrived"] if self.number != self.expected else []

    def figures(self) -> dict[str, float]:
        """Milliseconds: p50 and p99 of all, and of either kind where there are both."""
        kinds = {"": sorted([*self.near, *self.far])}
        if self.far:
            kinds |= {"near_": sorted(self.near), "far_": sorted(self.far)}
        return {
            f"{kind}p{share}": 1000 * percentile(times, share / 100)
            for kind, times in kinds.items()
            for share in (50, 99)
        }


def read_deliveries(
    groups: Sequence[Sequence[Participant]], writers: Sequence[Writer], first: int
) -> Deliveries:
    """Compare what each member of each group, which is a room, recorded with the letters from ``first`` on.

    The recordings are forgotten.
    """
    deliveries = Deliveries()
    by_room: dict[str, dict[int, Writer]] = {group[0].room: {} for group in groups}
    for writer in writers:
        by_room[writer.participant.room][writer.client] = writer
    for group in groups:
        read: dict[bytes, list[tuple[int, int, int]]] = {}
        for participant in group:
            others = {
                client: writer
                for client, writer in by_room[participant.room].items()
                if writer.participant is not participant
            }
            deliveries.expected += sum(len(writer.sent) - first for writer in others.values())
            _receive(participant, others, first, read, deliveries)
            participant.forget()
    return deliveries


def _receive(
    participant: Participant,
    others: dict[int, Writer],
    first: int,
    read: dict[bytes, list[tuple[int, int, int]]],
    deliveries: Deliveries,
) -> None:
    """Note each letter of the others' that reached this participant, once.

    ``read`` remembers what a message holds, as a room's receivers get the same ones.
    """
    seen = {client: bytearray(len(writer.sent)) for client, writer in others.items()}
    for arrived, update in participant.updates():
        runs = read.get(update)
        if runs is None:
            runs = read[update] = written(update)
        for client, start, length in runs:
            marks = seen.get(client)
            if marks is None:  # the participant's own letters, echoed
                continue
            writer = others[client]
            latencies = deliveries.near if writer.participant.node == participant.node else deliveries.far
            for letter in range(max(first, start), start + length):
                if not marks[letter]:
                    marks[letter] = 1
                    latencies.append(arrived - writer.sent[letter])
