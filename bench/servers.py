"""The servers, and how each is started as its users start it.

The peers run as they come, without any persistence, which is what costs them least. Roomful runs with its
store and its checks.
"""

import sys
from dataclasses import dataclass

from .environment import HERE, NODE, NODE_MODULES, PEER_PYTHON
from .measurement import Launch
from .wire import Dialect

PLAIN, KEYED = "y-websocket", "hocuspocus"


@dataclass(frozen=True)
class Server:
    """``argv`` starts it, followed by ``alone`` or, where several share a Redis, by ``shared``.

    They may name ``{port}`` (which peers find in PORT), ``{data}``, the folder of a server that keeps
    documents, and ``{redis}``, a URL. Without ``shared`` a server shares nothing.
    """

    name: str
    argv: tuple[str, ...]
    dialects: tuple[Dialect, ...]
    alone: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    documents: bool = True
    events: bool = False

    @property
    def keeps(self) -> bool:
        """Whether documents are still there after a restart."""
        return bool(self.alone)

    def can(self, launch: Launch) -> bool:
        """Whether it can be launched so. Options are Roomful's."""
        if launch.events:
            return self.events
        can_share = bool(self.shared) or not launch.redis
        return self.documents and can_share and (self.keeps or not any(launch.nodes))

    def dialect(self, name: str | None) -> Dialect:
        """The dialect of that name, or this server's first when it does not speak it or none is named."""
        return next((dialect for dialect in self.dialects if dialect.name == name), self.dialects[0])


SERVERS = {
    server.name: server
    for server in (
        Server(
            "roomful",
            (
                sys.executable,
                "-m",
                "roomful.server",
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                "{port}",
            ),
            (Dialect(PLAIN, "/sync/", keyed=False), Dialect(KEYED, "/hocuspocus", keyed=True)),
            alone=("--data", "{data}"),
            shared=("--redis", "{redis}"),
            events=True,
        ),
        Server(
            "y-websocket-server",
            (str(NODE), str(NODE_MODULES / "@y" / "websocket-server" / "src" / "server.js")),
            (Dialect(PLAIN, "/", keyed=False),),
        ),
        Server(
            "hocuspocus",
            (str(NODE), str(HERE / "peers" / "hocuspocus.mjs")),
            (Dialect(KEYED, "/", keyed=True),),
            shared=("{redis}",),
        ),
        Server(
            "pycrdt-websocket",
            (str(PEER_PYTHON), str(HERE / "peers" / "pycrdt_server.py")),
            (Dialect(PLAIN, "/", keyed=False),),
        ),
        Server(
            "bare-events",
            (sys.executable, str(HERE / "peers" / "bare_events.py")),
            (Dialect(PLAIN, "/", keyed=False),),
            documents=False,
            events=True,
        ),
    )
}
NODE_SERVERS = ("y-websocket-server", "hocuspocus")
