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
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from frcnn_lessons.course import lessons
from frcnn_lessons.course.lint import TIME

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
LESSONS = lessons.find([], FOLDER)  # and what is off the path
TRAINING = [path for path in LESSONS if "05" <= path.name[:2] <= "12"]  # where rounding errors grow, step by step


def test_no_notebook_of_the_course_is_overlooked():
    # What `find` does not find is neither built nor looked over.
    elsewhere = {".ipynb_checkpoints", "exercises"}  # the exercises are run by test_book.py
    assert sorted(LESSONS) == sorted(path for path in FOLDER.rglob("*.ipynb") if not elsewhere & set(path.parts))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_is_in_good_order(path):
    assert lessons.look_over(path, ROOT) == []


def test_readme_states_the_minutes_that_the_lessons_state():
    row = r"^\| \d\d \| \[.*\]\(notebooks/(\w+)\.ipynb\) \|.*\| (\d+) \|$"
    table = re.findall(row, (ROOT / "README.md").read_text(), re.MULTILINE)
    stated = {path.stem: TIME.search(lessons.load(path).cells[0].source)[1] for path in FOLDER.glob("*.ipynb")}
    assert dict(table) == stated


def compare(*paths: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the project's own comparison, with its options from pyproject.toml, on these notebooks."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={paths[0].parent}"]
    command += ["-p", "no:cacheprovider", "-n", "0", "-q", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ) | environment)


def small_notebook() -> NotebookNode:
    """Return a notebook with three outputs that are compared, and are what its cells print."""
    printed = {"print('IoU', 0.25)": "IoU 0.25\n", "print(3)": "3\n", "print('kept:', [0, 2])": "kept: [0, 2]\n"}
    cells = [
        new_code_cell(source, execution_count=count, outputs=[new_output("stream", text=text)])
        for count, (source, text) in enumerate(printed.items(), start=1)
    ]
    return new_notebook(cells=cells)


@pytest.mark.slow
def test_the_guard_fails_on_a_changed_digit_a_missing_output_and_an_error(tmp_path):
    # If this test fails, a green run says nothing about the numbers in the lessons.
    nbformat.write(small_notebook(), tmp_path / "untouched.ipynb")
    damaged = small_notebook()
    damaged.cells[0].outputs[0].text = "IoU 0.26\n"
    damaged.cells[1].outputs = []
    damaged.cells[2].source += "\nraise RuntimeError('broken')"
    nbformat.write(damaged, tmp_path / "damaged.ipynb")
    done = compare(*sorted(tmp_path.iterdir()))
    assert done.returncode == 1, done.stdout
    failed = re.findall(r"^FAILED \S*?(\w+)\.ipynb::Cell (\d)", done.stdout, re.MULTILINE)
    assert failed == [("damaged", "0"), ("damaged", "1"), ("damaged", "2")], done.stdout
    assert "3 failed, 3 passed" in done.stdout


@pytest.mark.threads
def test_all_cores_give_the_same_compared_outputs_as_the_one_thread_of_the_plain_run():
    # Sums in another order differ in the last digits; a lesson may not print those where they are compared.
    done = compare(*TRAINING, **lessons.thread_limits(os.cpu_count()))
    assert done.returncode == 0, done.stdout
