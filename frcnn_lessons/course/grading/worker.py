"""The process in which a student's code runs. It knows inputs and functions to call back; it knows no right answer.

`main` loads torch and the course once (without `exercises/`, which its copy of the package does not have) and forks a
child for each exercise. The child goes into an empty folder, limits itself, runs the answer, and then answers calls
until the pipe closes. When told that an exercise has ended, `main` kills whatever is left below it: as the subreaper of
Linux it gets what has left the child's process group and session as well. Where there is no fork, on Windows, each
exercise has a process of its own.
"""

import contextlib
import ctypes
import importlib
import linecache
import math
import os
import pkgutil
import random
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import psutil
import torch

from frcnn_lessons.course.grading.wire import BadMessage, NotPlain, change, decoded, encoded, receive, send

ANSWER = "<answer>"  # the name of the file that a student's code is compiled as
MEMORY, FILE_SIZE = 3 * 2**30, 16 * 2**20  # bytes that an answer may take beside what is loaded, and write to a file
FILES, PROCESSES = 128, 64
CPU_SECONDS = 60  # of the processor, for each second that a case may take
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>


def become_subreaper(on: bool = True) -> None:
    """Let processes whose parent dies become children of this one (Linux; nothing elsewhere)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, int(on), 0, 0, 0)


def end_all(children: Callable[[], list[psutil.Process]]) -> None:
    """Kill processes until there are none: one that forks while it is killed is met in the next round."""
    for _ in range(200):
        found = children()
        psutil.wait_procs(found, timeout=0)  # our own that have ended are gone then
        found = [process for process in found if _lives(process)]
        if not found:
            return
        for process in found:  # first stopped, so that none is born meanwhile
            with contextlib.suppress(psutil.Error):
                process.suspend()
        for process in children():
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=0.05)


def _lives(process: psutil.Process) -> bool:
    """Whether it runs: of what has ended, something may be left until its parent looks, which may be stopped."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def main(control_number: int) -> None:
    """Fork a child for each pipe that comes over the socket of this number; end it when told so."""
    load()
    become_subreaper()
    control = socket.socket(fileno=control_number)
    control.sendall(b"r")
    while True:
        order, numbers, _, _ = socket.recv_fds(control, 1, 1)
        if not order:
            end_all(lambda: psutil.Process().children(recursive=True))
            return
        if order == b"g":
            pid = os.fork()
            if pid == 0:
                control.close()
                os.setsid()
                pipe = socket.socket(fileno=numbers[0])
                try:
                    serve(pipe.makefile("rb"), pipe.makefile("wb"))
                finally:
                    os._exit(0)
            os.close(numbers[0])
        else:
            end_all(lambda: psutil.Process().children(recursive=True))
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        control.sendall(b"d")


def load() -> None:
    """Import what answers use, on one thread: no pool of threads may be there when the process forks."""
    torch.set_num_threads(1)
    import frcnn_lessons

    for module in pkgutil.walk_packages(frcnn_lessons.__path__, "frcnn_lessons."):
        if not module.name.startswith("frcnn_lessons.course"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def serve(reader: IO[bytes], writer: IO[bytes]) -> None:
    """Run an answer and answer calls, in an empty folder and within limits, until the pipe closes."""
    start = receive(reader)
    assert start is not None
    os.chdir(start["folder"])
    _limit(start["seconds"])
    _silence()
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}

    def refuse(name: str) -> None:
        send(writer, {"forbidden": name})

    _replace(tuple(start["forbidden"]), refuse)
    error = None
    for source in start["before"]:  # the notebook's own cells, and helpers: what fails here fails below, with a name
        with contextlib.suppress(Exception):
            exec(compile(source, "<notebook>", "exec"), names)
    linecache.cache[ANSWER] = (len(start["answer"]), None, start["answer"].splitlines(keepends=True), ANSWER)
    try:
        exec(compile(start["answer"], ANSWER, "exec"), names)
        if start["name"] not in names:
            raise NameError(f"the cell does not define {start['name']}")
        thing = names[start["name"]]
        value = None if callable(thing) else encoded(thing)
        message = {"ready": "function" if callable(thing) else "value", "value": value}
    except BaseException as failure:
        error = failure
        message = _told(failure)
    send(writer, message)
    while error is None and (question := receive(reader)) is not None:
        send(writer, _answered(thing, question, reader, writer))


def _answered(function: Any, question: dict[str, Any], reader: IO[bytes], writer: IO[bytes]) -> dict[str, Any]:
    """Call the student's function and say what came of it."""

    def call_back(number: int) -> Callable[..., Any]:
        def theirs(*inputs: Any, **named: Any) -> Any:
            send(writer, {"ask": number, "inputs": encoded(list(inputs)), "named": encoded(named)})
            reply = receive(reader)
            assert reply is not None
            if "error" in reply:
                raise (getattr(__import__("builtins"), reply["error"], None) or RuntimeError)(reply["says"])
            for one, after in zip(inputs, decoded(reply["inputs"]), strict=True):
                change(one, after)
            return decoded(reply["value"])

        return theirs

    try:
        inputs = decoded(question["inputs"], call_back)
        named = decoded(question["named"], call_back)
        states = _random_states()
        value = function(*inputs, **named)
        return {
            "value": encoded(value),
            "inputs": [_or_none(one) for one in inputs],
            "drew": states != _random_states(),
        }
    except BaseException as error:
        return _told(error)


def _or_none(value: Any) -> Any:
    try:
        return encoded(value)
    except NotPlain:  # a function to call back
        return None


def _random_states() -> tuple[Any, ...]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2], random.getstate()


def _told(error: BaseException) -> dict[str, Any]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == ANSWER]
    place = f"line {frames[-1].lineno}: `{frames[-1].line}`" if frames else ""
    try:
        says = str(error)[:500]
    except BaseException:
        says = ""
    return {"error": type(error).__name__, "says": says, "place": place}


def _silence() -> None:
    """Nothing that is printed, not even by a library of C, goes anywhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


def _limit(seconds: float) -> None:
    """Limits of memory, files, processor and processes, where the system has them."""
    if sys.platform == "win32":
        return
    import resource

    def lower(which: int, wanted: int) -> None:
        _, most = resource.getrlimit(which)
        wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (wanted, wanted))

    lower(resource.RLIMIT_FSIZE, FILE_SIZE)
    lower(resource.RLIMIT_CPU, CPU_SECONDS * math.ceil(seconds))
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_NOFILE, FILES)
    if sys.platform == "linux":
        lower(resource.RLIMIT_AS, psutil.Process().memory_info().vms + MEMORY)
        mine = [
            p
            for p in psutil.process_iter(["uids", "num_threads"])
            if p.info["uids"] and p.info["uids"].real == os.getuid()
        ]
        lower(resource.RLIMIT_NPROC, sum(p.info["num_threads"] or 1 for p in mine) + PROCESSES)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _replace(forbidden: tuple[str, ...], refuse: Callable[[str], None]) -> None:
    """Put functions that raise in place of those that the exercise does not allow, wherever they are bound.

    The course and torchvision may go on using them: only whoever calls from elsewhere is refused.
    """
    if not forbidden:
        return
    guards: dict[int, Any] = {}
    for module in list(sys.modules.values()):
        for name, thing in list(vars(module).items() if module is not None else ()):
            if not isinstance(thing, (types.FunctionType, types.BuiltinFunctionType)):
                continue
            full = f"{thing.__module__}.{thing.__qualname__}"
            public = f"{module.__name__}.{name}"
            if any(one == no or one.startswith(no + ".") for no in forbidden for one in (full, public)):
                guards.setdefault(id(thing), _guard(thing, public, refuse))
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(module, name, guards[id(thing)])


def _guard(function: Callable[..., Any], name: str, refuse: Callable[[str], None]) -> Callable[..., Any]:
    home = name.partition(".")[0] + "."

    def guarded(*inputs: Any, **named: Any) -> Any:
        around = sys._getframe(1).f_globals
        caller = str(around.get("__name__", ""))
        is_its_module = getattr(sys.modules.get(caller), "__dict__", None) is around  # a name alone can be borrowed
        if not (is_its_module and caller.startswith(("frcnn_lessons.", "torchvision.", home))):
            refuse(name)
            raise PermissionError(f"{name} is not allowed in this exercise")
        return function(*inputs, **named)

    return guarded


def alone() -> None:
    """Serve one exercise over standard input and output, where there is no fork."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    load()
    with contextlib.suppress(BadMessage):
        serve(reader, writer)
