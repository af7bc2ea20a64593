"""After Run All every slider still shows what it showed when its cell was run.

A callback that reads a name which a later cell binds anew breaks only then, in front of the student.
"""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from frcnn_lessons.course import lessons

ROOT = Path(__file__).resolve().parents[1]
LESSONS = [path for path in sorted((ROOT / "notebooks").glob("**/[0-9][0-9]_*.ipynb")) if "sliders" in path.read_text()]

# Before the lesson's own cells: every picture is recorded when it is new, at each slider's ends and middle.
RECORD = """
from frcnn_lessons import plots
_follow_sliders, _recorded = plots.follow_sliders, []
def _positions(slider):
    if hasattr(slider, "options"):
        return [slider.options[0], slider.options[len(slider.options) // 2], slider.options[-1]]
    middle = slider.min + round((slider.max - slider.min) / 2 / slider.step) * slider.step
    return [slider.min, middle, slider.max]
def _pictures(shown):
    *sliders, picture = shown.children
    for slider in sliders:
        start = slider.value
        for value in _positions(slider):
            slider.value = value
            yield f"{slider.description or 'slider'} at {value}", picture.value
        slider.value = start
def _followed(draw, *arguments, **sliders):
    shown = _follow_sliders(draw, *arguments, **sliders)
    _recorded.append((shown, dict(_pictures(shown))))
    return shown
plots.follow_sliders = _followed
"""

# And after them: the same moves give the same pictures, and more than one picture.
COMPARE = """
assert _recorded, "no slider was shown"
for _shown, _then in _recorded:
    _now = dict(_pictures(_shown))
    _other = [place for place in _then if _now[place] != _then[place]]
    assert not _other, f"other pictures than when the cell was run: {_other}"
    assert len(set(_then.values())) > 1, f"moving changes nothing: {list(_then)}"
"""


def with_checks(cells: list[nbformat.NotebookNode], path: Path) -> Path:
    """Store a notebook of these cells with the recording before and the comparison after them."""
    notebook = nbformat.v4.new_notebook(cells=[new_code_cell(RECORD), *cells, new_code_cell(COMPARE)])
    nbformat.write(notebook, path)
    return path


@pytest.mark.sliders
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_after_run_all_every_slider_shows_what_it_showed(path, tmp_path):
    run = lessons.execute(with_checks(lessons.load(path).cells, tmp_path / path.name))
    assert run.failure == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("callback", "failure"),
    [
        ("def draw(x, scale=scale):", ""),
        ("def draw(x):", "other pictures than when the cell was run: ['slider at 4', 'slider at 8']"),
        ("def draw(x, scale=0):", "moving changes nothing"),
    ],
)
def test_a_slider_that_reads_a_name_bound_anew_is_caught(callback, failure, tmp_path):
    cells = [
        "import ipywidgets, matplotlib.pyplot as plt\nscale = 2",
        f"{callback}\n    figure, ax = plt.subplots(figsize=(2, 2))\n    ax.set(xlim=(0, 20), ylim=(0, 20))\n"
        "    ax.plot([0, scale * x], [0, scale * x])\n    return figure\n"
        "plots.follow_sliders(draw, x=ipywidgets.IntSlider(min=0, max=8))",
        "scale = 1",
    ]
    run = lessons.execute(with_checks([new_code_cell(cell) for cell in cells], tmp_path / "small.ipynb"))
    assert failure in run.failure
    assert bool(run.failure) == bool(failure)
