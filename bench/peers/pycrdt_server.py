"""pycrdt-websocket on its ASGI adapter and the fastest server for it that we know: uvicorn with uvloop."""

import asyncio
import os

import uvicorn
from pycrdt.websocket import ASGIServer, WebsocketServer, exception_logger


async def main() -> None:
    # Its own handler for this: without one, a client that leaves in mid-send ends the server.
    rooms = WebsocketServer(exception_handler=exception_logger)
    config = uvicorn.Config(
        ASGIServer(rooms),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
    )
    async with rooms:
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
