"""What running and storing a lesson promises: the same bytes again, nothing half-written, failures with a name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from frcnn_lessons.course import lessons
from frcnn_lessons.course.lessons import LessonError
from frcnn_lessons.course.lint import EXEMPT, RAISES

pytestmark = pytest.mark.slow  # kernels are started

ROOT = Path(__file__).resolve().parents[1]

SLIDER = """
def draw(end):
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.plot([0, end])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()
slider = widgets.IntSlider(value=3, max=9)
picture = widgets.Image(value=draw(3))
slider.observe(lambda change: setattr(picture, "value", draw(change["new"])), "value")
widgets.VBox([slider, picture])
"""

# All kinds of output that lessons have, in cells as JupyterLab would write them.
CELLS = [
    new_markdown_cell("# A small lesson"),
    new_code_cell(
        "import io, time\n"
        "import ipywidgets as widgets\n"
        "import matplotlib.pyplot as plt\n"
        "from tqdm.auto import tqdm\n"
        "for i in range(3):\n    print(i, flush=True)"  # each flush is a message of its own
    ),
    new_code_cell("for _ in tqdm(range(5), desc='epoch'):\n    time.sleep(0.01)"),
    new_code_cell("print('before')\nplt.figure(figsize=(2, 2))\nplt.plot([1, 2])\nplt.show()\nprint('after')"),
    new_code_cell(SLIDER),
    new_code_cell("def divide(a, b):\n    return a / b\n\ndivide(1, 0)", metadata={"tags": [RAISES]}),
    new_code_cell(
        "import sys\nprint(time.perf_counter())\nprint('noise', file=sys.stderr)", metadata={"tags": [EXEMPT]}
    ),
    new_code_cell("6 * 7"),
]


def write(path: Path, *cells) -> Path:
    """Write a notebook; a string is a code cell."""
    cells = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def without_ids(path: Path) -> None:
    """Take the cell ids out of a file, as an older front end or a hand-written notebook has none."""
    raw = json.loads(path.read_text())
    for cell in raw["cells"]:
        del cell["id"]
    path.write_text(json.dumps(raw))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A built lesson with all kinds of output, and its bytes after the first and after the second build."""
    path = write(tmp_path_factory.mktemp("built") / "07_small.ipynb", *CELLS)
    without_ids(path)
    lessons.build(path)
    first = path.read_text()
    lessons.build(path)
    return path, first, path.read_text()


def test_a_second_build_changes_no_byte_of_a_compared_output(built):
    # Otherwise every build is a large diff in which a changed number hides.
    _, first, second = built
    first, second = nbformat.reads(first, 4), nbformat.reads(second, 4)
    clocks = [notebook.cells.pop(6).outputs[0].text for notebook in (first, second)]
    assert clocks[0] != clocks[1], "the exempt cell shows a clock: were there two runs?"
    assert nbformat.writes(first) == nbformat.writes(second)


def test_what_was_built_passes_the_strict_comparison(built):
    # Widgets and tracebacks are stored in part only, and bars not at all; nbval must still see the same.
    path, _, _ = built
    done = compare(path)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


def compare(path: Path) -> subprocess.CompletedProcess:
    """Run nbval as the project does, with the `conftest` beside pyproject.toml."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "conftest", "--nbval", "-q"]
    command += ["--nbval-current-env", f"--rootdir={path.parent}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_only_bars_are_left_out_of_the_comparison(tmp_path):
    # What is printed beside a bar, or looks a little like one, is compared as ever.
    path = write(
        tmp_path / "05_x.ipynb",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(5)):\n    pass\nprint('AP50 0.25')",
        "'50%| 1'",
    )
    lessons.build(path)
    assert compare(path).returncode == 0
    notebook = nbformat.read(path, 4)
    notebook.cells[0].outputs[0].text = "AP50 0.26\n"
    notebook.cells[1].outputs[0].data["text/plain"] = "'50%| 2'"
    nbformat.write(notebook, path)
    failed = re.findall(r"^FAILED .*::Cell (\d)", compare(path).stdout, re.MULTILINE)
    assert failed == ["0", "1"]


def test_what_was_built_holds_the_lesson_and_nothing_of_the_run(built):
    _, first, _ = built
    notebook = nbformat.reads(first, 4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # no "widgets"
    assert "version" not in notebook.metadata.language_info
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)  # no "execution"
    outputs = json.dumps([cell.outputs for cell in notebook.cells[1:]])
    for word in ("widget-view", "model_id", "stderr", "noise", "site-packages", "ipykernel", "\\u001b"):
        assert word not in outputs
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4, 5, 6, 7]


def test_what_was_built_still_shows_text_figures_widgets_and_errors(built):
    cells = nbformat.reads(built[1], 4).cells
    assert [output.text for output in cells[1].outputs] == ["0\n1\n2\n"]
    assert cells[2].outputs == [], "a bar is stored as it looked at 0 %"
    before, figure, after = cells[3].outputs
    assert (before.text, list(figure.data), after.text) == ("before\n", ["image/png", "text/plain"], "after\n")
    assert cells[4].outputs[0].data["text/plain"].startswith("VBox(children=(IntSlider(value=3")
    assert cells[5].outputs[0].traceback == ["ZeroDivisionError: division by zero"]
    assert cells[7].outputs[0].data["text/plain"] == "42"


def test_the_same_new_cell_gets_the_same_id_on_every_machine(tmp_path):
    # nbformat draws random ids; two people who build the same cells would get two different files.
    ids = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write(tmp_path / folder / "01_x.ipynb", "1", "1", new_markdown_cell("text"))
        without_ids(path)
        ids.append([cell.id for cell in lessons.load(path).cells])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3, "equal cells need different ids"


def test_ids_that_are_there_stay_and_a_copied_one_is_replaced(tmp_path):
    path = write(tmp_path / "01_x.ipynb", new_code_cell("1", id="first"), new_code_cell("2", id="second"))
    path.write_text(path.read_text().replace("second", "first"))
    first, second = [cell.id for cell in lessons.load(path).cells]
    assert first == "first"
    assert re.fullmatch("[0-9a-f]{8}", second)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"cells": [3]}', '{"cells": [], "nbformat": 4}', "not json"])
def test_a_file_that_is_no_notebook_is_named(tmp_path, content):
    path = tmp_path / "03_broken.ipynb"
    path.write_text(content)
    with pytest.raises(LessonError, match=r"03_broken\.ipynb is not a notebook"):
        lessons.load(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("object()", "memory address"),
        ("import pathlib; print(pathlib.Path.home() / 'x')", "path of this machine"),
        ("import sys; print(sys.prefix + '/lib')", "path of this machine"),
        ("print('saved to /home/ada/course/model.pth')", "/home/ada"),
        ("from IPython.display import HTML; HTML('<img src=\"file:///tmp/x.png\">')", "/tmp/x"),
        ("import warnings; warnings.warn('old')", "stderr"),
        ("len('abc');", "';'"),
    ],
)
def test_an_output_that_another_run_could_not_repeat_is_refused(tmp_path, source, message):
    path = write(tmp_path / "05_x.ipynb", "1 + 1", source)
    before = path.read_bytes()
    with pytest.raises(LessonError, match=re.escape(message)) as refusal:
        lessons.build(path)
    assert "05_x.ipynb" in str(refusal.value)
    assert "code cell 2" in str(refusal.value)
    assert path.read_bytes() == before, "a refused lesson was stored"


def test_a_lesson_that_fails_is_not_stored(tmp_path):
    path = write(tmp_path / "02_x.ipynb", "print('fine')", "raise ValueError('boxes must be (N, 4)\\nmore')")
    before = path.read_bytes()
    with pytest.raises(LessonError, match=r"02_x\.ipynb, code cell 2: ValueError: boxes must be \(N, 4\) \("):
        lessons.build(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "a temporary file was left behind"


@pytest.mark.parametrize(
    ("source", "failure"),
    [("import time; time.sleep(60)", "took longer than 1 s"), ("import os; os._exit(1)", "the kernel died")],
)
def test_a_cell_that_hangs_or_kills_the_kernel_ends_the_run(tmp_path, source, failure):
    run = lessons.execute(write(tmp_path / "02_x.ipynb", source), cell_timeout=1)
    assert run.failure.startswith(f"02_x.ipynb, code cell 1: {failure}")


def test_a_run_writes_the_executed_copy_up_to_the_failure_and_leaves_the_lesson(tmp_path):
    path = write(tmp_path / "02_x.ipynb", "print('reached')", "1 / 0", "print('never')")
    before = path.read_bytes()
    run = lessons.run(path, tmp_path / "out")
    assert run.failure == "02_x.ipynb, code cell 2: ZeroDivisionError: division by zero"
    first, second, third = nbformat.read(tmp_path / "out" / "02_x.ipynb", 4).cells
    assert first.outputs[0].text == "reached\n"
    assert second.outputs[0].ename == "ZeroDivisionError"
    assert third.outputs == []
    assert path.read_bytes() == before


def test_a_run_measures_the_memory_of_the_kernel_and_its_children(tmp_path):
    # Data loaders work in children; a limit of 3 GB that overlooks them would be no limit.
    hold = "import time; block = bytearray(300 * 2**20); time.sleep(1)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    small = lessons.execute(write(tmp_path / "01_small.ipynb", "1"))
    large = lessons.execute(write(tmp_path / "02_large.ipynb", child))
    assert small.peak_mb < 300 < large.peak_mb  # a kernel by itself takes 80 to 150 MB
    assert large.seconds > 1


def test_threads_reach_the_libraries(tmp_path):
    source = "import torch, cv2\nprint(torch.get_num_threads(), cv2.getNumThreads())"
    run = lessons.execute(write(tmp_path / "01_x.ipynb", source), threads=1)
    assert run.notebook.cells[0].outputs[0].text == "1 1\n"


def test_threads_of_a_kernel_wait_asleep_unless_the_user_wants_otherwise(tmp_path, monkeypatch):
    # Spinning threads on a busy machine made a lesson of one minute take ten.
    path = write(tmp_path / "01_x.ipynb", "import os\nprint(os.environ['OMP_WAIT_POLICY'])")
    for own, expected in [(None, "passive"), ("active", "active")]:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if own:
            monkeypatch.setenv("OMP_WAIT_POLICY", own)
        assert lessons.execute(path).notebook.cells[0].outputs[0].text == f"{expected}\n"


def test_the_kernel_is_this_python_in_the_folder_of_the_notebook(tmp_path):
    # A "python3" kernel in the user's home may belong to another Python, where the course is not installed.
    source = "import sys, pathlib\nprint(sys.prefix, pathlib.Path.cwd(), sep='|')"
    run = lessons.execute(write(tmp_path / "01_x.ipynb", source))
    assert run.notebook.cells[0].outputs[0].text == f"{sys.prefix}|{tmp_path.resolve()}\n"


def test_lessons_are_found_by_number(tmp_path):
    for name in ("00_start.ipynb", "02_images.ipynb", "notes.ipynb", "01_boxes.txt"):
        (tmp_path / name).touch()
    names = lambda *numbers: [path.name for path in lessons.find(numbers, tmp_path)]  # noqa: E731
    assert names() == ["00_start.ipynb", "02_images.ipynb"]
    assert names("2", "02", "00") == ["02_images.ipynb", "00_start.ipynb"]
    (tmp_path / "extras").mkdir()
    (tmp_path / "extras" / "00_more.ipynb").touch()
    assert names() == ["00_start.ipynb", "02_images.ipynb", "00_more.ipynb"]
    assert names("00_more", "0") == ["00_more.ipynb", "00_start.ipynb"]
    with pytest.raises(LessonError, match="no lesson 07; there are 00, 02, 00_more"):
        lessons.find(["7"], tmp_path)


def test_a_folder_without_lessons_is_said_with_the_remedy(tmp_path):
    with pytest.raises(LessonError, match="clone the repository"):
        lessons.lessons_folder(tmp_path)
    with pytest.raises(LessonError, match="no lessons in"):
        lessons.find([], tmp_path)


def test_the_summary_holds_time_memory_and_failures(tmp_path):
    empty = new_notebook()
    runs = [lessons.Run("00_a", empty, 1.26, 100, ""), lessons.Run("01_b", empty, 2.0, 200, "01_b: broke")]
    lessons.write_summary(runs, tmp_path / "build" / "summary.json")
    assert json.loads((tmp_path / "build" / "summary.json").read_text()) == {
        "lessons": [
            {"lesson": "00_a", "seconds": 1.3, "peak_mb": 100, "failure": ""},
            {"lesson": "01_b", "seconds": 2.0, "peak_mb": 200, "failure": "01_b: broke"},
        ],
        "seconds": 3.3,
        "failures": 1,
    }
