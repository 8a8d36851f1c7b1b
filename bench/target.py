"""What is measured, as a process of its own: `receiver`, or the `noop` endpoint of the same server."""

import os
import sys
from typing import Any

import uvicorn
import uvloop

from receiver.app import create_app
from receiver.protocol import BoundedProtocol
from receiver.server import freeze, run
from receiver.settings import load


async def noop(_scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers empty."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def serve_noop(port: int) -> None:
    config = uvicorn.Config(
        noop, host="127.0.0.1", port=port, http=BoundedProtocol, ws="none", lifespan="off", log_config=None,
        access_log=False, proxy_headers=False, server_header=False, timeout_keep_alive=75,
    )  # fmt: skip
    server = uvicorn.Server(config)
    freeze()
    print("ready", flush=True)
    await server.serve()


def main() -> int:
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "noop":
        uvloop.run(serve_noop(port))
        return 0
    settings = load(None, os.environ)
    return run(
        lambda: create_app(settings), lambda url, socket: print("ready", url, socket and socket.name, flush=True)
    )


if __name__ == "__main__":
    sys.exit(main())
