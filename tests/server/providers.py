"""What Hocuspocus providers say and hear, in words."""

from roomful.crdt.sync import EMPTY_STATE_VECTOR, STEP_1
from roomful.server.protocols import hocuspocus
from tests.presence.entries import entry
from tests.server.nodes import FakeNode, Provider, awareness, settle, spoken, sync, token

ASK = sync(STEP_1, EMPTY_STATE_VECTOR)
ME = awareness(entry(1, 1, {"name": "Ann"}))
QUERY, CLOSE = b"\x03", b"\x07"
MAY_WRITE, MAY_READ = hocuspocus.authenticated(read_only=False), hocuspocus.authenticated(read_only=True)
SAVED, REFUSED = hocuspocus.sync_status(True), hocuspocus.sync_status(False)
DENIED = hocuspocus.permission_denied("not for you")


async def joined(node: FakeNode, document: str = "doc", said: str = "ann") -> Provider:
    """Connect, log in to a document and be told all of it."""
    client = node.provider()
    client.send_to(document, token(said), ASK)
    await settle()
    client.received()
    return client


def words(messages: list[bytes]) -> list[str]:
    return [spoken(message) for message in messages]
