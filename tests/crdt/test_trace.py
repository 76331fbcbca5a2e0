from typing import Any

from pycrdt import Doc, Text, get_state

from roomful.crdt.check import check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.merge import merge
from roomful.crdt.split import split_update
from roomful.crdt.state_vector import StateVector
from roomful.crdt.surrogates import halved_pairs
from tests.crdt.trace import friends_forever


def test_a_real_session_is_accepted_counted_and_split() -> None:
    updates, content = friends_forever()
    assert len(updates) > 26_000
    vector, deletes = StateVector(), DeleteSet()
    for update in updates:
        contents = check_update(update)
        assert not vector.covers(contents.ranges) or not contents.ranges
        vector.advance(contents.ranges)
        deletes.add(update, contents.deletes_at)
    assert not vector.has_gaps

    merged = merge(updates)
    assert vector.encode() == StateVector.decode(get_state(merged)).encode()
    contents = check_update(merged)
    assert vector.covers(contents.ranges)
    assert deletes.covers(merged, contents.deletes_at)
    assert halved_pairs([merged]) == set()

    doc: Doc[Any] = Doc()
    for piece in split_update(merged, 64 << 10):
        check_update(piece)
        doc.apply_update(piece)
    assert str(doc.get("text", type=Text)) == content
