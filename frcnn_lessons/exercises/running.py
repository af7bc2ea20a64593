"""Call a student's function so that nothing it does harms the kernel it runs in.

An endless loop is ended, what it prints is cut, exceptions and `exit()` are noted, and random numbers, torch's defaults
and open figures are left as they were. A click on "interrupt the kernel" stops the check as it stops any cell.

How a loop is ended. On Linux and macOS, in the main thread (where notebooks run their cells), an interval timer raises
`OutOfTime` inside the student's code, again and again while a bare `except:` swallows it: this ends loops of Python, of
torch and of `time.sleep`. Elsewhere, on Windows above all, a second thread asks Python to raise it. Python does so
between two of its own instructions only: a `time.sleep(1000)` or one very long call of a library is not ended before it
returns, and a loop inside two bare `except:` may go on; then the kernel has to be restarted.
"""

import ctypes
import io
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import FrameType
from typing import Any, no_type_check

import numpy as np
import torch

MOST_LINES, LONGEST_PRINT = 100, 10_000  # of what a student's function prints in one case


class OutOfTime(BaseException):
    """Raised inside code whose time is over; no `except Exception` may stop it."""


@dataclass
class Outcome:
    """What came of a call.

    Attributes:
        value: what was returned; None when nothing was.
        error: the exception that ended it: `OutOfTime`, `SystemExit` or any other.
        printed: the beginning of what it printed.
        drew: whether global random numbers were drawn or seeded.
    """

    value: Any = None
    error: BaseException | None = None
    printed: str = ""
    drew: bool = False


def run_safely(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Outcome:
    """Call `function(*arguments)`, for so many seconds at most.

    Raises:
        KeyboardInterrupt: somebody interrupted the kernel.
    """
    outcome, printed = Outcome(), _FirstLines()
    with _left_as_it_was() as has_drawn, redirect_stdout(printed), redirect_stderr(printed):
        try:
            outcome.value = _limited(function, arguments, seconds)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome.error = error
        outcome.drew = has_drawn()
    outcome.printed = printed.kept()
    return outcome


def place_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the student's own code an error arose: "line 3: `return a / b`"; "" if that is not known."""
    code = getattr(function, "__code__", None)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if code is not None and frame.filename == code.co_filename
    ]
    return f"line {frames[-1].lineno}: `{frames[-1].line}`" if frames else ""


# --- time ------------------------------------------------------------------------------------------------------


def _limited(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Any:
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _limited_by_timer(function, arguments, seconds)
    return _limited_by_thread(function, arguments, seconds)


def _limited_by_timer(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Any:
    tracing, handler = sys.gettrace(), signal.signal(signal.SIGALRM, _time_is_over)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
        return _the_call(function, arguments)
    finally:
        sys.settrace(tracing)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


# `no_type_check`: no wrapper of the tests' shape checker may lie around these, where an alarm could go off.
@no_type_check
def _the_call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


@no_type_check
def _time_is_over(_signal: int, frame: FrameType | None) -> None:
    of_the_student = []
    while frame is not None and frame.f_code is not _the_call.__code__:
        of_the_student.append(frame)
        frame = frame.f_back
    if frame is None:
        return  # the call has ended, or has not begun
    # A bare `except:` catches what is raised here. So whatever line comes next raises it once more.
    sys.settrace(_raise_at_next_line)
    for one in of_the_student:
        one.f_trace = _raise_at_next_line
    raise OutOfTime


@no_type_check
def _raise_at_next_line(_frame: FrameType, event: str, _argument: Any) -> Any:
    if event == "line":
        signal.setitimer(signal.ITIMER_REAL, 1e-5, 0.05)  # at once again, in case another `except:` lies around it
        raise OutOfTime
    return _raise_at_next_line


def _limited_by_thread(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Any:
    thread, ended = ctypes.c_ulong(threading.get_ident()), threading.Event()

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))
            wait = 0.1

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return function(*arguments)
    finally:
        ended.set()
        watcher.join()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # one that was asked for and has not come yet


# --- what is left as it was --------------------------------------------------------------------------------------


@contextmanager
def _left_as_it_was() -> Iterator[Callable[[], bool]]:
    """Put everything back at the end; yields a function that tells whether random numbers were drawn so far."""
    of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    pyplot = sys.modules.get("matplotlib.pyplot")
    figures = set(pyplot.get_fignums()) if pyplot else set()

    def has_drawn() -> bool:
        numpy_now: Any = np.random.get_state()  # noqa: NPY002
        return not (
            torch.equal(of_torch, torch.get_rng_state())
            and all(np.array_equal(a, b) for a, b in zip(of_numpy, numpy_now, strict=True))
            and of_python == random.getstate()
        )

    try:
        yield has_drawn
    finally:
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            for number in set(pyplot.get_fignums()) - figures:
                pyplot.close(number)


class _FirstLines(io.TextIOBase):
    """Takes any amount of print and keeps the beginning."""

    def __init__(self) -> None:
        self.text, self.cut = "", False

    def write(self, text: str) -> int:
        room = LONGEST_PRINT - len(self.text)
        self.cut |= len(text) > room
        self.text += text[: max(room, 0)]
        return len(text)

    def kept(self) -> str:
        lines = self.text.splitlines(keepends=True)
        more = "... (the rest of what it prints is left out)\n" if self.cut or len(lines) > MOST_LINES else ""
        return "".join(lines[:MOST_LINES]) + more
