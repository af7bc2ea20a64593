"""Start, question and end the processes in which answers run: `Court` keeps a worker, `Witness` is one answer in it."""

import contextlib
import os
import queue
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psutil
import torch

from frcnn_lessons.course.grading.wire import BadMessage, change, decoded, encoded, receive, send
from frcnn_lessons.course.grading.worker import become_subreaper, end_all
from frcnn_lessons.exercises.running import OutOfTime

PACKAGE = Path(__file__).resolve().parents[2]
START_SECONDS, END_SECONDS = 120.0, 3.0  # for the worker to load torch; to end what an answer left, and to read
MOST_ASKED = 2**16  # bytes of a tensor that a function of ours is called with: it runs in our memory
KEPT_VARIABLES = ("PATH", "LANG", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# What the notebooks import from here. The checks themselves are not told to an answer that is graded.
NO_EXERCISES = '''"""Checks that say nothing: answers are graded elsewhere."""


class _Silent:
    def __getattr__(self, name):
        return lambda *inputs, **named: None


check = _Silent()
hint = solution = progress = lambda *inputs, **named: None
'''


class Broken(RuntimeError):
    """The process of an answer ended, or wrote what is no answer."""


class Forbidden(BaseException):
    """The answer used what its exercise does not allow; the message is the name. No `except Exception` stops it."""


class Court:
    """A worker process that outlives the answers judged in it; use it in a `with`.

    Args:
        fork: whether a child is forked for each exercise, as everywhere but on Windows, or started anew.
    """

    def __init__(self, fork: bool = hasattr(os, "fork")) -> None:
        self.fork = fork
        self.scratch = Path(tempfile.mkdtemp(prefix="frcnn-grading-"))
        self.worker: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.own = set(psutil.Process().children())  # of whoever uses us: never touched

    def __enter__(self) -> "Court":
        become_subreaper()
        package = self.scratch / "frcnn_lessons"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("exercises", "course", "__pycache__"))
        for folder in ("exercises", "course/grading"):
            (package / folder).mkdir(parents=True)
        (package / "exercises" / "__init__.py").write_text(NO_EXERCISES, encoding="utf-8")
        for name in ("__init__.py", "grading/__init__.py"):
            (package / "course" / name).touch()
        for name in ("wire.py", "worker.py"):
            shutil.copy(Path(__file__).with_name(name), package / "course" / "grading" / name)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop()
        become_subreaper(False)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def hear(
        self, name: str, answer: str, before: Sequence[str] = (), forbidden: Sequence[str] = (), seconds: float = 2.0
    ) -> "Witness":
        """Run an answer in a process of its own; close the witness when all is asked.

        Args:
            name: of the function or value that the answer defines.
            answer: the source of the student's cell.
            before: sources to run before it.
            forbidden: names not allowed.
            seconds: that the answer may take to run the cell, and in each case (`Witness.start_case`).

        Raises:
            OutOfTime: the cell did not end.
            Broken: the process ended instead of answering.
            Forbidden: the cell used what is not allowed.
        """
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        reader, writer, stop = self._forked() if self.fork else self._spawned()
        witness = Witness(reader, writer, stop, folder, seconds)
        start = {"folder": str(folder), "name": name, "answer": answer, "before": list(before), "seconds": seconds}
        try:
            witness.begin(start | {"forbidden": list(forbidden)}, 0.0 if self.fork else START_SECONDS)
        except BaseException:
            witness.close()
            raise
        return witness

    def _forked(self) -> tuple[IO[bytes], IO[bytes], Callable[[], None]]:
        if self.worker is None or self.worker.poll() is not None:
            self._stop()
            self._start()
        assert self.control is not None
        ours, theirs = socket.socketpair()
        # An answer that does not read must not stop us. (A timeout of Python's would hold for reading as well.)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(END_SECONDS), 0))
        try:
            socket.send_fds(self.control, [b"g"], [theirs.fileno()])
            self._confirmed()
        except OSError:  # an answer has harmed the worker: the next one gets a new one
            self._stop()
            self._start()
            socket.send_fds(self.control, [b"g"], [theirs.fileno()])
            self._confirmed()
        theirs.close()

        def stop() -> None:
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
            ours.close()
            try:
                assert self.control is not None
                self.control.sendall(b"e")
                self._confirmed()
            except OSError:
                self._stop()
            self._end_strays()

        return ours.makefile("rb"), ours.makefile("wb"), stop

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self.worker = self._popen(f"worker.main({theirs.fileno()})", pass_fds=(theirs.fileno(),))
        theirs.close()
        self.control = ours
        ours.settimeout(START_SECONDS)
        self._confirmed()
        ours.settimeout(END_SECONDS)

    def _confirmed(self) -> None:
        assert self.control is not None
        if not self.control.recv(1):
            raise ConnectionError("the worker is gone")

    def _spawned(self) -> tuple[IO[bytes], IO[bytes], Callable[[], None]]:
        process = self._popen("worker.alone()", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        family = psutil.Process(process.pid)

        def stop() -> None:
            with contextlib.suppress(psutil.Error):
                end_all(lambda: [*family.children(recursive=True)])
            process.kill()
            process.wait()
            self._end_strays()

        return process.stdout, process.stdin, stop

    def _popen(self, call: str, **pipes: Any) -> "subprocess.Popen[bytes]":
        code = f"import sys; sys.path.insert(0, {str(self.scratch)!r}); "
        code += f"from frcnn_lessons.course.grading import worker; {call}"
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        home = {"HOME": str(self.scratch), "TMPDIR": str(self.scratch), "MPLBACKEND": "agg"}
        everything: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | pipes
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", code],
            cwd=self.scratch,
            env=kept | threads | home,
            stderr=subprocess.DEVNULL,
            **everything,
        )
        return process

    def _stop(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.worker is not None:
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(self.worker.pid)
                end_all(lambda: family.children(recursive=True))
            self.worker.kill()
            self.worker.wait()
            self.worker = None
        self._end_strays()

    def _end_strays(self) -> None:
        """End what became our child because an answer killed the worker above it."""
        kept = self.own | ({psutil.Process(self.worker.pid)} if self.worker and self.worker.poll() is None else set())

        def strays() -> list[psutil.Process]:
            return [c for child in set(psutil.Process().children()) - kept if child.ppid() for c in _family(child)]

        with contextlib.suppress(psutil.Error):
            if sys.platform == "linux":
                end_all(strays)


def _family(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


class Witness:
    """One answer in its process. `kind` is "function" or "value"; `value` holds the value."""

    def __init__(
        self, reader: IO[bytes], writer: IO[bytes], stop: Callable[[], None], folder: Path, seconds: float
    ) -> None:
        self.writer, self.stop, self.folder = writer, stop, folder
        self.seconds = self.left = seconds  # for a case; what is left of them, as only waiting for the answer counts
        self.kind, self.value, self.is_deaf = "", None, False
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=4)
        self.thread = threading.Thread(target=self._read, args=(reader,), daemon=True)
        self.thread.start()

    def _read(self, reader: IO[bytes]) -> None:
        message: dict[str, Any] | None = {}
        while message is not None:
            try:
                message = receive(reader)
            except (BadMessage, OSError, ValueError):
                message = None
            self.messages.put(message)

    def begin(self, start: dict[str, Any], more_seconds: float) -> None:
        """Run the cell; raises what its code raised, and as `Court.hear` does."""
        self._send(start)
        self.left = more_seconds + self.seconds
        reply = self._reply([])
        if "ready" not in reply:
            raise _error_of(reply)
        self.kind = "function" if reply["ready"] == "function" else "value"
        self.value = decoded(reply.get("value"))

    def start_case(self) -> None:
        """Give the answer its full time again, for all calls of a case together."""
        self.left = self.seconds

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Call the student's function with copies of these inputs; what it changed is changed here as well.

        Raises:
            NotPlain: an input cannot go over a pipe.
            OutOfTime, Broken, Forbidden: see `Court.hear`.
            Exception: what the function raised.
        """
        functions: list[Callable[..., Any]] = []
        sent = [encoded(one, functions) for one in inputs]
        self._send({"inputs": sent, "named": encoded(named, functions)})
        reply = self._reply(functions)
        if "error" in reply:
            raise _error_of(reply)
        after = reply.get("inputs")
        for place, one in enumerate(inputs):
            if isinstance(after, list) and place < len(after) and after[place] not in (None, sent[place]):
                change(one, decoded(after[place]))
        if reply.get("drew") is True:
            torch.rand(())  # whoever watches over the global random numbers of this process is to see it
        return decoded(reply.get("value"))

    def _send(self, message: dict[str, Any]) -> None:
        if self.is_deaf:
            raise Broken("its process ended")
        try:
            send(self.writer, message)
        except (OSError, ValueError) as error:
            self.is_deaf = True  # not to be waited for again in each case
            raise Broken("its process ended") from error

    def _reply(self, functions: list[Callable[..., Any]]) -> dict[str, Any]:
        while True:
            since = time.monotonic()
            try:
                message = self.messages.get(timeout=max(self.left, 0.001))
            except queue.Empty:
                raise OutOfTime from None
            self.left -= time.monotonic() - since
            if message is None:
                raise Broken("its process ended")
            if "forbidden" in message:
                raise Forbidden(str(message["forbidden"]))
            if "ask" not in message:
                return message
            if not functions:
                raise Broken("it wrote what is no answer")
            self._send(_asked(message, functions))

    def close(self) -> None:
        """End the process and all that it started; remove its folder."""
        self.stop()
        while self.thread.is_alive():  # it may wait for room in the queue
            with contextlib.suppress(queue.Empty):
                self.messages.get(timeout=0.01)
        shutil.rmtree(self.folder, ignore_errors=True)


def _asked(message: dict[str, Any], functions: list[Callable[..., Any]]) -> dict[str, Any]:
    """Call one of our own functions for the student's."""
    try:
        function = functions[int(message["ask"])]
        inputs = decoded(message["inputs"])
        if any(getattr(one, "nbytes", 0) > MOST_ASKED for one in inputs):
            raise ValueError("that is too much for a test: take fewer numbers")
        value = function(*inputs, **decoded(message["named"]))
        return {"value": encoded(value), "inputs": encoded(inputs)}
    except Exception as error:
        return {"error": type(error).__name__, "says": str(error)[:500]}


def _error_of(reply: dict[str, Any]) -> BaseException:
    """The exception that was told, as one of Python's own where it is one."""
    import builtins

    name, place = str(reply.get("error", ""))[:80], str(reply.get("place", ""))[:200]
    says = str(reply.get("says", ""))[:500] + (f" in {place}" if place else "")
    kind = getattr(builtins, name, None)
    if name == "SystemExit":
        return Broken("it called exit()")
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):
            return kind(says)
    return RuntimeError(f"{name}: {says}")
