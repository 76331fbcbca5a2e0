"""What a server costs, read from /proc: CPU seconds and memory of a process and all its children.

Linux only. CPU time has the kernel's tick as its step (10 ms), memory is in bytes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on; the second may hold spaces and brackets."""
    return PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()


def family(root: int) -> list[int]:
    """The process and every living descendant of it."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for member in found:
        found.extend(pid for pid, parent in parents.items() if parent == member)
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the family, with that of children that have ended and were waited for."""
    return sum(cpu_by_process([root]).values())


def cpu_by_process(roots: Sequence[int]) -> dict[int, float]:
    """The same of each living member of these families."""
    spent: dict[int, float] = {}
    for pid in (member for root in roots for member in family(root)):
        try:
            spent[pid] = TICK * sum(int(field) for field in _stat(pid)[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return spent


def dropped_connections() -> int:
    """How often, on the whole machine, a connection was dropped because a listener's queue was full.

    The client hears nothing of it; its kernel tries again after 1, 3, 7 seconds.
    """
    lines = [line.split() for line in PROC.joinpath("net", "netstat").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "TcpExt:")
    return int(values[names.index("ListenDrops")])


def stolen_seconds() -> float:
    """How long, since it started, the machine wanted a core that its host gave to another machine."""
    return TICK * int(PROC.joinpath("stat").read_text().split(maxsplit=9)[8])


def _kilobytes(pid: int, file: str, label: str) -> int:
    for line in PROC.joinpath(str(pid), file).read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1]) * 1024
    return 0


def proportional_memory(root: int) -> int:
    """Pss of the family, in which shared pages count once. Walks page tables: not for a hot loop."""
    total = 0
    for pid in family(root):
        try:
            total += _kilobytes(pid, "smaps_rollup", "Pss:")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


class PeakMemory:
    """How far a family's memory rises above where it stood when this was made.

    Two readings that miss different things: ``sample()``, called every few milliseconds, sees the sum of all
    processes but not what happens between two calls; the kernel's high-water mark, reset at the start,
    misses nothing but forgets processes that ended.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._page = os.sysconf("SC_PAGESIZE")
        self._members = family(root)
        for pid in self._members:
            PROC.joinpath(str(pid), "clear_refs").write_text("5")  # 5 resets VmHWM to the present RSS
        self._before = {pid: self._resident(pid) for pid in self._members}
        self._sampled = sum(self._before.values())

    def _resident(self, pid: int) -> int:
        try:
            return int(PROC.joinpath(str(pid), "statm").read_text().split()[1]) * self._page
        except (FileNotFoundError, ProcessLookupError):
            return 0

    def sample(self) -> None:
        self._sampled = max(self._sampled, sum(self._resident(pid) for pid in self._members))

    def growth(self) -> int:
        """The larger of the two readings, in bytes. A process born meanwhile counts with its Pss."""
        marks = 0
        for pid in family(self._root):
            try:
                if pid in self._before:
                    marks += max(0, _kilobytes(pid, "status", "VmHWM:") - self._before[pid])
                else:
                    marks += _kilobytes(pid, "smaps_rollup", "Pss:")
            except (FileNotFoundError, ProcessLookupError):
                continue
        return max(marks, self._sampled - sum(self._before.values()))
