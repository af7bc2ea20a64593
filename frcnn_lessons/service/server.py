"""Start the service and end it in order.

Lesson 13.
"""

import asyncio
import signal
import socket
import threading

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from frcnn_lessons.detectors import Detector
from frcnn_lessons.service.app import create_app
from frcnn_lessons.service.uploads import Limits

SECONDS_TO_FINISH = 8  # what runs when the service is told to end
SECONDS_TO_ASK = 5  # from a connection to the whole head of a request; from an answer to the next, at most twice that


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any free one.

    Raises:
        OSError: it is in use, or not ours to take, or `host` is no name; the message says so.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if not host:  # for which a socket takes every address of the machine
            raise ValueError
        taken.bind((host, port))
        taken.listen(2048)
    except (OSError, TypeError, ValueError) as error:  # the last two: of what can be no name
        taken.close()
        reason = error.strerror if isinstance(error, OSError) else "no name of a machine"
        raise OSError(f"cannot listen on {host}:{port} ({reason}); choose another --port or --host") from error
    return taken


class AsksInTime(H11Protocol):
    """Hangs up on who is connected and does not ask: uvicorn waits without end for the rest of a request's head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look after the connection."""
        super().connection_made(transport)
        self.loop.call_later(SECONDS_TO_ASK, self._look, None)

    def _look(self, last: object) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.cycle is last:  # no new request since the last look
            self.timeout_keep_alive_handler()
        else:
            self.loop.call_later(SECONDS_TO_ASK, self._look, self.cycle)


def server_of(detector: Detector, limits: Limits | None = None, host: str = "127.0.0.1") -> uvicorn.Server:
    """Make a server for `create_app`, to be run."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(detector, limits, host),
            http=AsksInTime,
            log_level="warning",
            timeout_keep_alive=SECONDS_TO_ASK,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
            server_header=False,
        )
    )


def serve(detector: Detector, at: socket.socket, limits: Limits | None = None) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then finish what runs, within 10 seconds, and return."""
    server = server_of(detector, limits, at.getsockname()[0])
    # uvicorn ends in order and then raises the signal again, for which this is the end of the process.
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: None)
    server.run(sockets=[at])
