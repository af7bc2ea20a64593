"""Run lessons in a fresh kernel, and store their outputs so that running them again changes nothing.

`execute` runs a lesson, and `build` stores it as well: without what `lint.normalise` drops, and only when
`lint.unstable` finds nothing that another run could not repeat.
"""

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from frcnn_lessons.course.lint import lint, normalise, unstable
from frcnn_lessons.files import written_whole


class LessonError(RuntimeError):
    """A lesson that cannot be found, run or stored; the message names it and says what to do."""


@dataclass(frozen=True)
class Run:
    """One lesson after its run.

    Attributes:
        name: the file's name without its ending, e.g. `01_boxes_and_iou`.
        notebook: the notebook with its outputs, up to the cell that failed.
        seconds: wall-clock time, the start of the kernel included.
        peak_mb: the most memory that the kernel and its children held at once, in MB (2**20 bytes), seen every 0.1 s.
            Pages that they share are counted for each of them.
        failure: what went wrong, in one line with notebook and cell; empty when nothing did.
    """

    name: str
    notebook: NotebookNode
    seconds: float
    peak_mb: int
    failure: str


def lessons_folder(root: Path) -> Path:
    """Return `root/notebooks`.

    Raises:
        LessonError: there is none, because the package was installed without the repository.
    """
    folder = root / "notebooks"
    if not folder.is_dir():
        raise LessonError(
            f"the lessons are not in {folder}: clone the repository and start this command inside it "
            '("uv run frcnn-lessons ...", or "pip install -e ." first)'
        )
    return folder


def find(names: Sequence[str], folder: Path) -> list[Path]:
    """Return the notebooks asked for, all of them for none.

    Args:
        names: a lesson's number ("1" and "01" are the same), or the name of a notebook that is off the path and lies
            in `extras/`, such as "07_truncated_svd".
        folder: where the lessons are.

    Raises:
        LessonError: a lesson that does not exist (the message lists those that do), or a folder without any.
    """
    lessons = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not lessons:
        raise LessonError(f"there are no lessons in {folder}")
    lessons |= {path.stem: path for path in sorted(folder.glob("extras/[0-9][0-9]_*.ipynb"))}
    wanted = [name.zfill(2) for name in names] or list(lessons)
    for name in wanted:
        if name not in lessons:
            raise LessonError(f"there is no lesson {name}; there are {', '.join(lessons)}")
    return [lessons[name] for name in dict.fromkeys(wanted)]  # each once, in the order asked for


def load(path: Path) -> NotebookNode:
    """Read a notebook; a cell without an id, or with one that another cell has, gets an id made from its content.

    nbformat would draw a random id instead, and every build of a new cell would differ.

    Raises:
        LessonError: the file is no notebook.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        seen: set[str] = set()
        for position, cell in enumerate(raw["cells"]):
            if cell.get("id") in seen | {None}:
                content = f"{path.stem}/{position}/{''.join(cell['source'])}"
                cell["id"] = hashlib.sha256(content.encode()).hexdigest()[:8]
            seen.add(cell["id"])
        raw["nbformat_minor"] = max(raw["nbformat_minor"], 5)  # the first version with ids
        return nbformat.reads(json.dumps(raw), as_version=4)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        why = str(error).partition("\n")[0]
        raise LessonError(f"{path.name} is not a notebook of format 4 ({why}); take it from a copy") from error


def count_code_cells(path: Path) -> int:
    """Return how many cells of a notebook will be run; 0 for a file that is no notebook."""
    try:
        return sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in load(path).cells)
    except LessonError:
        return 0


def execute(
    path: Path,
    threads: int | None = None,
    cell_timeout: float = 600,
    after_cell: Callable[[], object] = lambda: None,
) -> Run:
    """Run every code cell of a notebook, in order, in a new kernel of this Python; the file stays as it is.

    The kernel's folder is the notebook's. A cell tagged `raises-exception` may fail; any other failure ends the run.

    Args:
        path: the notebook.
        threads: how many threads the numerical libraries may use; None leaves it to them.
        cell_timeout: seconds after which a cell has failed.
        after_cell: called after each code cell that was run; for a progress bar.

    Raises:
        LessonError: the file is no notebook. A cell that fails does not raise: see `Run.failure`.
    """
    notebook = load(path)
    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_manager_class=_KernelOfThisPython,
        store_widget_state=False,
        on_cell_executed=lambda **_: after_cell(),
    )
    environment = PATIENT_THREADS | os.environ | ({} if threads is None else thread_limits(threads))
    failure = ""
    start = time.perf_counter()
    with _peak_memory(client) as peak:
        try:
            # What a kernel logs about itself is no output of the lesson and would tear the progress bar.
            client.execute(cwd=str(path.parent), env=environment, stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            failure = f"{error.ename}: {error.evalue}".partition("\n")[0]
        except CellTimeoutError:
            failure = f"took longer than {cell_timeout:g} s"
        except DeadKernelError:
            failure = "the kernel died (out of memory?)"
    if failure:
        failure = f"{path.name}, code cell {client.code_cells_executed}: {failure}"
    return Run(path.stem, notebook, time.perf_counter() - start, peak["bytes"] >> 20, failure)


def build(path: Path, after_cell: Callable[[], object] = lambda: None) -> Run:
    """Run a lesson and store it with its new outputs, whole; a second build writes the same bytes.

    Only cells tagged `nbval-ignore-output` may differ from build to build.

    Raises:
        LessonError: a cell failed or an output is not repeatable. The file is then left as it was.
    """
    run = execute(path, after_cell=after_cell)
    if run.failure:
        raise LessonError(f"{run.failure} (the notebook is left as it was)")
    if found := unstable(run.notebook):
        raise LessonError(f"{path.name} is left as it was:" + "".join(f"\n  {sentence}" for sentence in found))
    with written_whole(path) as temporary:
        nbformat.write(normalise(run.notebook), temporary)
    return run


def run(path: Path, folder: Path, threads: int | None = None, after_cell: Callable[[], object] = lambda: None) -> Run:
    """Run a lesson and write the executed copy, complete or up to its failure, to `folder`.

    Never raises for what is wrong with the lesson, so that the next one runs too: see `Run.failure`.
    """
    try:
        result = execute(path, threads=threads, after_cell=after_cell)
    except LessonError as error:
        return Run(path.stem, nbformat.v4.new_notebook(), 0.0, 0, str(error))
    with written_whole(folder / path.name) as temporary:
        nbformat.write(result.notebook, temporary)
    return result


def look_over(path: Path, root: Path) -> list[str]:
    """Return what is wrong with a stored lesson, one sentence each (see `lint`); nothing is run.

    Args:
        path: the notebook.
        root: the repository, which no link may leave.
    """
    try:
        load(path)
    except LessonError as error:
        return [str(error)]
    # Read once more, as it is: `load` and `nbformat.read` mend what is to be found here.
    notebook = nbformat.v4.reads(path.read_text(encoding="utf-8"))
    return [f"{path.name}: {sentence}" for sentence in lint(notebook, path.parent, root)]


def write_summary(runs: Sequence[Run], path: Path) -> None:
    """Write time, memory and failure of each run as JSON."""
    lessons = [
        {"lesson": run.name, "seconds": round(run.seconds, 1), "peak_mb": run.peak_mb, "failure": run.failure}
        for run in runs
    ]
    total = {"seconds": round(sum(run.seconds for run in runs), 1), "failures": sum(bool(run.failure) for run in runs)}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps({"lessons": lessons} | total, indent=1) + "\n", encoding="utf-8")


# A thread that waits for others can spin or sleep. Spinning is quicker on idle cores and ruinous as soon as another
# process wants them: a training has been seen to take ten times as long. So: sleep, and where the library can be told
# (GNU's) after some microseconds only, which gives back most of what is lost on idle cores.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}


def thread_limits(threads: int) -> dict[str, str]:
    """Return the environment variables that hold the numerical libraries (torch, NumPy, OpenCV) to so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
    return dict.fromkeys(names, str(threads))


class _KernelOfThisPython(AsyncKernelManager):
    """A kernel of the running Python, whatever a "python3" kernel in the user's home may point to."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


@contextmanager
def _peak_memory(client: NotebookClient) -> Iterator[dict[str, int]]:
    """Watch the client's kernel while the block runs; the yielded dict's "bytes" is the most seen so far."""
    peak = {"bytes": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            pid: Any = getattr(getattr(client.km, "provisioner", None), "pid", None)  # None before the kernel's start
            if pid is not None:
                peak["bytes"] = max(peak["bytes"], _memory(pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _memory(pid: int) -> int:
    """Return the resident memory of a process and its descendants in bytes; those that just ended count 0."""
    total = 0
    try:
        kernel = psutil.Process(pid)
        for process in [kernel, *kernel.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total
