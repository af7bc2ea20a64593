"""The lessons as they are stored: in good order (`lint`), and guarded by a comparison that really fails.

That every lesson *runs* and prints what is stored is tested by nbval, which plain `pytest` applies to `notebooks/`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode

from frcnn_lessons.course import lessons
from frcnn_lessons.course.lint import EXEMPT

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_is_in_good_order(path):
    assert lessons.look_over(path, ROOT) == []


def compare(*paths: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the project's own comparison, with its options from pyproject.toml, on these notebooks."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={paths[0].parent}"]
    command += ["-p", "no:cacheprovider", "-q", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ) | environment)


def compared(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the outputs that are text and not exempt, in order."""
    cells = [
        cell for cell in notebook.cells if cell.cell_type == "code" and EXEMPT not in cell.metadata.get("tags", [])
    ]
    return [output for cell in cells for output in cell.outputs if output.get("name") == "stdout"]


def change_a_digit(notebook: NotebookNode) -> None:
    """Add 1 to the last digit of the last compared output that has one."""
    output = next(output for output in reversed(compared(notebook)) if re.search(r"\d", output.text))
    where = re.search(r"\d(?=\D*$)", output.text).start()
    output.text = f"{output.text[:where]}{(int(output.text[where]) + 1) % 10}{output.text[where + 1 :]}"


def delete_an_output(notebook: NotebookNode) -> None:
    """Take away the first compared output."""
    victim = compared(notebook)[0]
    for cell in notebook.cells:
        if any(output is victim for output in cell.get("outputs", [])):
            cell.outputs = [output for output in cell.outputs if output is not victim]


def raise_an_error(notebook: NotebookNode) -> None:
    """Let the first code cell end in an error that nothing announces."""
    next(cell for cell in notebook.cells if cell.cell_type == "code").source += "\nraise RuntimeError('broken')"


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "01_boxes_and_iou.ipynb").is_file(), reason="lesson 01 is not there")
def test_the_guard_fails_on_a_changed_digit_a_missing_output_and_an_error(tmp_path):
    # If this test fails, a green run says nothing about the numbers in the lessons.
    damages = {"changed": change_a_digit, "deleted": delete_an_output, "raising": raise_an_error}
    for name, damage in ({"untouched": lambda _: None} | damages).items():
        notebook = nbformat.read(FOLDER / "01_boxes_and_iou.ipynb", as_version=4)
        damage(notebook)
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    done = compare(*sorted(tmp_path.iterdir()))
    assert done.returncode == 1, done.stdout
    failed = re.findall(r"^FAILED \S*?(\w+)\.ipynb", done.stdout, re.MULTILINE)
    assert set(failed) == set(damages), done.stdout
    assert failed.count("changed") == failed.count("deleted") == 1, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not LESSONS, reason="no lessons yet")
@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_and_two_give_the_same_compared_outputs(threads):
    # Sums in another order differ in the last digits; a lesson may not print those where they are compared.
    if threads == torch.get_num_threads():
        pytest.skip(f"{threads} is this machine's own number: the plain run of notebooks/ does it already")
    done = compare(*LESSONS, **lessons.thread_limits(threads))
    assert done.returncode == 0, done.stdout
