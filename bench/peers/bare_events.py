"""What the kernel asks for an event, and nothing else: who connects is written each event, in a bare loop.

It knows of the protocols no more than the generator needs. No rights, rooms or limits, nobody who is slow:
what a server of any kind takes longer than this on the same machine is its own.
"""

import asyncio
import base64
import hashlib
import os
import resource
from typing import cast

import msgpack
import uvloop

from roomful.server import frames

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ROOM = 1
_JOIN, _EVENT, _JOINED, _TOLD = 1, 8, 17, 25


class Visitor(asyncio.Protocol):
    """A socket that hears all events. Its client's frames are final, short and masked with zeros."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            self._greet(data)
            return
        at = 0
        while at < len(data):
            start = at + 6
            at = start + (data[at + 1] & 127)
            self._take(msgpack.unpackb(data[start:at]))

    def _greet(self, request: bytes) -> None:
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: roomful.v1\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def _take(self, message: list[object]) -> None:
        if message[0] == _JOIN:
            session = {"session": str(len(self._descriptors))}
            self._transport.write(frames.binary(msgpack.packb([_JOINED, 1, _ROOM, session])))
            self._descriptors.append(self._transport.get_extra_info("socket").fileno())
        elif message[0] == _EVENT:
            told = frames.binary(msgpack.packb([_TOLD, _ROOM, *message[2:4], "", "", False]))
            for descriptor in self._descriptors:
                os.write(descriptor, told)


async def main() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    descriptors: list[int] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Visitor(descriptors), "127.0.0.1", int(os.environ["PORT"]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
