"""Every code the server closes a socket with, and whether the client should come back.

RFC 6455 section 7.4 names 1000-1015. Above, y-websocket 3.1 set the custom that is followed here:
4400-4499 are permanent (the client stops), everything else is transient (it reconnects). Hocuspocus
providers and older y-websocket clients reconnect after any code.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Also the value of the metric label ``code``."""

    # Transient by RFC 6455
    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    """A text frame; all protocols here are binary."""
    TOO_BIG = 1009
    """A message over ``max_message_bytes``."""
    INTERNAL = 1011
    RESTART = 1012
    """The server is going down, spread over the drain; or another node has the connection now."""

    # Permanent: trying again can't help
    MALFORMED = 4400
    """Bytes that are no message of the protocol, or an update that failed the check."""
    FORBIDDEN = 4403
    """The authorizer refused the token for this room, or too many on one connection."""
    BAD_ROOM = 4404
    """The room name is empty, too long, or not text."""
    NOT_SPOKEN = 4406
    """Of the subprotocols that the client offers, none is spoken here."""
    LOGIN_TIMEOUT = 4408
    """No token came within ``pre_auth_seconds``, or no hello on a Roomful connection."""
    DOCUMENT_FULL = 4413
    """The document would outgrow ``max_document_bytes``."""
    TOO_MANY_DOCUMENTS = 4429
    """More documents on one socket than ``max_documents_per_connection``, or too much sent before login."""

    # Transient: worth trying again later
    UNAVAILABLE = 4500
    """The authorizer or the store failed unexpectedly."""
    FULL = 4503
    """A limit on connections or rooms is reached."""
    STORAGE = 4507
    """Updates can't be stored, or this room not be loaded (disk full, store away); what was not acknowledged
    is still with the client."""
    SLOW = 4508
    """The client took nothing for ``stall_seconds``."""

    @property
    def permanent(self) -> bool:
        """Whether the client should stop trying."""
        return 4400 <= self < 4500


class Refused(Exception):
    """What a client asks can't be done, and its socket must be closed for it; the text is shown to it."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
