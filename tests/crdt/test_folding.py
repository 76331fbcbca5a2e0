import pytest

from roomful.crdt.check import check_update
from roomful.crdt.folding import fold
from roomful.crdt.state_vector import StateVector
from tests.crdt import yjs
from tests.crdt.genuine import GROUPS, Group

pytestmark = pytest.mark.usefixtures("real_yjs")


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.text[:8])
@pytest.mark.parametrize("merge_only", [False, True])
@pytest.mark.parametrize("folds", [1, 3])
def test_a_folded_document_is_the_one_that_yjs_has(group: Group, merge_only: bool, folds: int) -> None:
    pieces: list[bytes] = []
    step = -(-len(group.updates) // folds)
    for at in range(0, len(group.updates), step):
        snapshot = fold(pieces, group.updates[at : at + step], merge_only=merge_only)
        pieces = list(snapshot.pieces)
    assert dict(group.vector) == {
        client: StateVector.decode(snapshot.state_vector).clock(client) for client in group.vector
    }
    for piece in pieces:
        check_update(piece)
    assert yjs.apply(pieces, [list(range(len(pieces)))])[0]["text"] == group.text
