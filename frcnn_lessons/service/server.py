"""Start the service and end it in order.

Lesson 13.
"""

import signal
import socket
import threading

import uvicorn

from frcnn_lessons.detectors import Detector
from frcnn_lessons.service.app import create_app
from frcnn_lessons.service.uploads import Limits

SECONDS_TO_FINISH = 8  # what runs when the service is told to end


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any free one.

    Raises:
        OSError: it is in use, or not ours to take; the message says so.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(2048)
    except OSError as error:
        taken.close()
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host") from error
    return taken


def serve(detector: Detector, at: socket.socket, limits: Limits | None = None) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then finish what runs, within 10 seconds, and return."""
    host = at.getsockname()[0]
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(detector, limits, host),
            log_level="warning",
            timeout_keep_alive=5,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
            server_header=False,
        )
    )
    # uvicorn ends in order and then raises the signal again, for which this is the end of the process.
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: None)
    server.run(sockets=[at])
