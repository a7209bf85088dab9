"""The server: on this machine alone, until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from labelgan.core.errors import DataError
from labelgan.studio.app import build_app
from labelgan.studio.guard import cookie_name, new_token
from labelgan.studio.session import Session

if TYPE_CHECKING:
    from starlette.types import ASGIApp

ADDRESS = "127.0.0.1"
SHUTDOWN_S = 2


class Server(uvicorn.Server):
    """Serves an application, says nothing of itself, and tells when it answers."""

    def __init__(self, app: ASGIApp, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer."""
        await super().startup(sockets)
        self._ready()


def listen(port: int) -> socket.socket:
    """Takes a port of the loopback interface, 0 for any free one; raises DataError where it is taken."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((ADDRESS, port))
    except OSError as error:
        taken.close()
        raise DataError(f"--port {port}", f"cannot be used ({error.strerror}); --port 0 takes any free one") from None
    return taken


def run_studio(
    roots: Sequence[Path],
    port: int,
    *,
    ready: Callable[[str], None],
) -> None:
    """Serves folders until it is interrupted.

    Args:
        roots: what may be looked at; nothing outside of them is opened.
        port: of the loopback interface; 0 for any free one.
        ready: called with the address, token included, once requests are answered.

    Raises:
        DataError: there is nothing to see in the folders, or the port is taken.
    """
    session = Session(roots)
    with contextlib.closing(listen(port)) as taken:
        number = taken.getsockname()[1]
        token = new_token()
        app = build_app(session, token, cookie_name(number))
        session.start()
        server = Server(app, lambda: ready(f"http://{ADDRESS}:{number}/?token={token}"))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[taken])
