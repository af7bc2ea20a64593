"""What a student gets back: the notebook with the own answers, points and sentences, and nothing that is hidden."""

from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from frcnn_lessons.course.grading.rebuild import rebuilt

GROUPS_COUNT = (
    "Of a function, the cases on paper, at the edges and at random are a group each. A group has its points once all "
    "its cases are right; edges and random cases only once those on paper are."
)
AT = {"on paper": "on paper", "edge": "at the edges", "random": "at random"}


def feedback_notebook(source: NotebookNode, grades: dict[str, Any]) -> NotebookNode:
    """The rebuilt notebook with a cell of feedback under each answer, and the sum at its head."""
    notebook, marks = rebuilt(source, grades["answers"]), grades["marks"]
    sum_of, most = sum(mark["points"] or 0 for mark in marks.values()), sum(mark["most"] for mark in marks.values())
    lines = [f"# {sum_of:g} of {most} points", *grades["notes"]]
    if waiting := sum(mark["points"] is None for mark in marks.values()):
        lines.append(f"Answers still to be read, and not counted yet: {waiting}.")
    lines += [GROUPS_COUNT] if any(len(mark["groups"]) > 1 for mark in marks.values()) else []
    cells = [new_markdown_cell("\n\n".join(lines), id="feedback")]
    for cell in notebook.cells:
        cells.append(cell)
        if cell.id in marks:
            cells.append(new_markdown_cell(_told(marks[cell.id]), id=f"{cell.id}-feedback"[:64]))
    notebook.cells = cells
    return notebook


def _told(mark: dict[str, Any]) -> str:
    points = "to be read" if mark["points"] is None else f"{mark['points']:g} of {mark['most']} points"
    says = list(mark["says"])
    if mark["verdict"] == "not yet" and mark["groups"]:
        passed = (f"{right} of {of} {AT[group]}" for group, (right, of) in mark["groups"].items())
        says.append(f"Right: {', '.join(passed)}.")
    quoted = "\n>\n".join(f"> {' '.join(sentence.split())}" for sentence in says)
    return f"> **{points}**: {mark['verdict']}." + (f"\n>\n{quoted}" if quoted else "")
