"""Well-formed payloads of any size that cost whoever handles them the most for their bytes."""

from roomful.crdt.varint import write_varuint
from tests.attacks import item, update


def many_clients(size: int) -> bytes:
    """One struct each of as many clients as fit."""
    count = size // 8
    sections = (b"\x01" + write_varuint(2**21 + client) + b"\x00\x00\x01" for client in range(count, 0, -1))
    return write_varuint(count) + b"".join(sections) + b"\x00"


def many_holes(size: int) -> bytes:
    """One client's structs with a hole after each."""
    count = size // 4
    return b"\x01" + write_varuint(2 * count) + b"\x01\x00" + b"\x00\x01\x0a\x01" * count + b"\x00"


def many_structs(size: int) -> bytes:
    """The shortest structs there are."""
    count = size // 2 - 8
    return b"\x01" + write_varuint(count) + b"\x01\x00" + b"\x00\x01" * count + b"\x00"


def many_values(size: int) -> bytes:
    """One struct of the shortest values there are."""
    return update(item(8, write_varuint(size - 32) + b"\x7e" * (size - 32)))


def many_deletions(size: int) -> bytes:
    """Every other clock deleted."""
    count = size // 5
    return (
        b"\x00\x01\x01"
        + write_varuint(count)
        + b"".join(write_varuint(2 * at) + b"\x01" for at in range(count))
    )


def many_clocks(size: int) -> bytes:
    """A state vector of as many clients as fit."""
    count = size // 5
    return write_varuint(count) + b"".join(write_varuint(2**21 + client) + b"\x01" for client in range(count))


HEAVY_UPDATES = {
    make.__name__.replace("_", " "): make
    for make in (many_clients, many_holes, many_structs, many_values, many_deletions)
}
