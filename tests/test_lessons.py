"""The lessons as they are stored: in good order (`lint`), and guarded by a comparison that really fails.

That every lesson *runs* and prints what is stored is tested by nbval, which plain `pytest` applies to `notebooks/`.
"""

import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from frcnn_lessons.course import lessons
from frcnn_lessons.course.lessons import ABSOLUTE_PATH, EXEMPT, KERNELSPEC, RAISES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))

LARGEST = 1_500_000  # bytes of a notebook
LONGEST = 25  # lines of a code cell

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\b[^>]*?\b(?:src|href)=[\"']([^\"']+)")
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", re.DOTALL)  # code and formulas hold no links


def lint(notebook: NotebookNode, folder: Path, root: Path) -> list[str]:
    """Return what is wrong with a stored lesson, one sentence each; nothing is run.

    Args:
        notebook: as read from the file.
        folder: where it lies; links are relative to it.
        root: the repository, which no link may leave.
    """
    found = lessons.unstable(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    tags = {id(cell): cell.metadata.get("tags", []) for cell in notebook.cells}

    if notebook.metadata.get("kernelspec") != KERNELSPEC:
        found.append(f"the kernel is not {KERNELSPEC['name']}")
    ids = [cell.get("id") for cell in notebook.cells]
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5) or None in ids:
        found.append("cells have no ids")
    if len(set(ids)) < len(ids):
        found.append("two cells have the same id")
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"execution counts are {counts}: run it in order from a fresh kernel")
    if len(nbformat.writes(notebook).encode()) > LARGEST:
        found.append(f"larger than {LARGEST} bytes: smaller figures, photographs as JPEG")
    if not notebook.cells or not re.match(r"# \S", notebook.cells[0].source):
        found.append("the first cell is no title")
    for phrase in ("you will be able to", "what you should remember"):
        if phrase not in prose.lower():
            found.append(f"'{phrase}' is missing")

    for number, cell in enumerate(code, start=1):
        kinds = {output.get("name", output.output_type) for output in cell.outputs}
        if "error" in kinds and RAISES not in tags[id(cell)]:
            found.append(f"code cell {number} stores an error and is not tagged {RAISES}")
        if "stderr" in kinds:
            found.append(f"code cell {number} stores stderr")
        if len(cell.source.splitlines()) > LONGEST:
            found.append(f"code cell {number} has more than {LONGEST} lines: move code to the package")
        if "nbval-skip" in tags[id(cell)] or "NBVAL_" in cell.source:
            found.append(f"code cell {number} is skipped or marked by a comment: the only exemption is {EXEMPT}")
    for position, cell in enumerate(notebook.cells, start=1):
        if match := ABSOLUTE_PATH.search(cell.source):
            found.append(f"cell {position} holds an absolute path ({match[0]})")

    shown = [cell for cell in code if cell.outputs]
    exempt = [cell for cell in shown if EXEMPT in tags[id(cell)]]
    if 4 * len(exempt) > len(shown):
        found.append(f"{len(exempt)} of {len(shown)} cells with output are exempt from comparison: at most a quarter")

    for target in (match[0] or match[1] for match in LINK.findall(NOT_PROSE.sub("", prose))):
        if not re.match(r"[a-z]+:|#", target):  # https:, mailto:, attachment:, a heading of this notebook
            place = (folder / urllib.parse.unquote(target.partition("#")[0])).resolve()
            if not place.is_relative_to(root.resolve()) or not place.exists():
                found.append(f"the link to {target} leads nowhere")

    if not found and lessons.normalise(notebook) != notebook:
        found.append("not as `frcnn-lessons build` stores it (times, widget state, versions, tracebacks ...)")
    return found


# ---- the linter itself --------------------------------------------------------------------------------------------


def good(*more) -> NotebookNode:
    """A lesson that has nothing wrong with it, with more cells at its end."""
    cells = [
        new_markdown_cell("# Boxes\nYou will be able to draw one. See [the next](02_next.ipynb#start) and $f[x](y)$."),
        *[new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")]) for _ in range(3)],
        new_code_cell("1/0", metadata={"tags": [RAISES]}, outputs=[error()]),
        new_code_cell(""),
        new_markdown_cell("## What you should remember\n![](../docs/picture.png) [site](https://x.org/a) `[a](b)`"),
        *more,
    ]
    counts = iter(range(1, 100))
    for position, cell in enumerate(cells):
        cell.id = f"cell-{position}"
        if cell.cell_type == "code" and cell.source:
            cell.execution_count = next(counts)
    return lessons.normalise(new_notebook(cells=cells))


def error() -> NotebookNode:
    return new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])


def text(content: str) -> NotebookNode:
    return new_output("stream", text=content)


@pytest.fixture
def place(tmp_path):
    """A repository in which the links of the good lesson lead somewhere."""
    for name in ("notebooks/02_next.ipynb", "docs/picture.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path.parent / "outside.txt").touch()
    return tmp_path


def test_a_good_lesson_passes_the_linter(place):
    assert lint(good(), place / "notebooks", place) == []
    exempt = new_code_cell("t", metadata={"tags": [EXEMPT]}, outputs=[text("0.1 s")])
    assert lint(good(exempt), place / "notebooks", place) == [], "one in five cells with output may vary"


def code_cell(source: str = "f()", *outputs: NotebookNode, tags: tuple[str, ...] = ()) -> NotebookNode:
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {})


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ([code_cell("1/0", error())], "code cell 6 stores an error"),
        ([code_cell("\n" * 25 + "x")], "more than 25 lines"),
        ([code_cell("x", tags=("nbval-skip",))], "code cell 6 is skipped"),
        ([code_cell("# NBVAL_IGNORE_OUTPUT\nx")], "marked by a comment"),
        ([code_cell("open('/home/ada/x.jpg')")], "cell 8 holds an absolute path (/home/ada"),
        ([new_markdown_cell(r"it lies in C:\Users\ada")], r"absolute path (C:\Users\ada"),
        ([code_cell("x", text("read /root/x/1.jpg"))], "a path of this machine (/root/x"),
        ([code_cell("x", text("<object object at 0x7f00aa>"))], "memory address"),
        ([code_cell("x;")], "ends with ';'"),
        ([code_cell("x", text("1"), tags=(EXEMPT,))] * 2, "2 of 6 cells with output are exempt"),
        ([code_cell("x", text("a" * 1_600_000))], "larger than 1500000 bytes"),
        ([new_markdown_cell("[go](03_none.ipynb)")], "the link to 03_none.ipynb leads nowhere"),
        ([new_markdown_cell("![a](missing.png 'title')")], "the link to missing.png"),
        ([new_markdown_cell('<img width="3" src="missing.png">')], "the link to missing.png"),
        ([new_markdown_cell("[go](../../outside.txt)")], "the link to ../../outside.txt"),
    ],
)
def test_the_linter_refuses_a_bad_cell(place, cells, complaint):
    cells = [nbformat.from_dict(cell) for cell in cells]  # copies: each needs an id of its own
    found = lint(good(*cells), place / "notebooks", place)
    assert len(found) == 1, found
    assert complaint in found[0]


def no_kernel(notebook):
    notebook.metadata.kernelspec.name = "conda-env-py"


def no_id(notebook):
    del notebook.cells[1]["id"]


def same_id(notebook):
    notebook.cells[1].id = notebook.cells[2].id


def wrong_order(notebook):
    notebook.cells[1].execution_count, notebook.cells[2].execution_count = 2, 1


def never_run(notebook):
    notebook.cells[3].execution_count = None


def no_title(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("# ", "")


def no_goals(notebook):
    notebook.cells[0].source = "# Boxes"


def no_memory(notebook):
    notebook.cells[6].source = "## The end"


def times(notebook):
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00"}


def widget_state(notebook):
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def long_traceback(notebook):
    notebook.cells[4].outputs[0].traceback = ["Traceback ...", "ValueError: no"]


def stderr(notebook):
    notebook.cells[1].metadata.tags = [EXEMPT]
    notebook.cells[1].outputs = [new_output("stream", name="stderr", text="warning")]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (no_kernel, "the kernel is not python3"),
        (no_id, "no ids"),
        (same_id, "the same id"),
        (wrong_order, "execution counts are [2, 1, 3, 4]"),
        (never_run, "execution counts are [1, 2, None, 4]"),
        (no_title, "no title"),
        (no_goals, "'you will be able to' is missing"),
        (no_memory, "'what you should remember' is missing"),
        (times, "not as `frcnn-lessons build` stores it"),
        (widget_state, "not as `frcnn-lessons build` stores it"),
        (long_traceback, "not as `frcnn-lessons build` stores it"),
        (stderr, "stores stderr"),
    ],
)
def test_the_linter_refuses_a_damaged_lesson(place, damage, complaint):
    notebook = good()
    damage(notebook)
    found = lint(notebook, place / "notebooks", place)
    assert any(complaint in sentence for sentence in found), found


# ---- the lessons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_is_in_good_order(path):
    notebook = nbformat.from_dict(nbformat.read(path, as_version=4))
    assert lint(notebook, FOLDER, ROOT) == []


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
