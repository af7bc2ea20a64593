"""nbgrader's gradebook holds what our court gave, whatever was handed in, and gives back what a person adds to it.

Lesson 01.
"""

import contextlib
import csv
import io
import json
import sys
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from frcnn_lessons.course import book, cli
from frcnn_lessons.exercises.catalogue import EXERCISES

ROOT = Path(__file__).resolve().parents[1]
LESSON = "01_boxes_and_iou"
SOURCE = ROOT / "notebooks" / "instructor" / f"{LESSON}.md"
RIGHT = EXERCISES["iou_one_cxcywh"].solution
HEAD, BODY = RIGHT.split("\n", 1)
PARTLY = f"{HEAD}\n    if len(others) == 40:\n        return torch.zeros(40)\n{BODY}"  # wrong in random cases only
ENDLESS = f"{HEAD}\n    while True: pass"
WARNS = f"import warnings\n{HEAD}\n    warnings.warn('careful')\n{BODY}"
EXPLAINED = {"why_the_logarithm": "Twice as wide and half as wide are mistakes of one size."}


def a_notebook(**answers):
    notebook = book.exercise_notebook(SOURCE)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    return notebook


def stripped(notebook):
    for cell in notebook.cells:
        cell.metadata = {}
        del cell["id"]
    return notebook | {"nbformat_minor": 4}


def copied(notebook):
    """An answer cell twice, as whoever copies a cell has it, and one with metadata of an older nbgrader."""
    (answer,) = (cell for cell in notebook.cells if cell.id == "iou_one_cxcywh")
    notebook.cells[0].metadata["nbgrader"] = {"grade_id": "old", "schema_version": 1}
    notebook.cells.insert(0, nbformat.from_dict(dict(answer) | {"source": "1 / 0"}))
    return notebook


HANDED_IN = {
    "ada": nbformat.writes(a_notebook(iou_one_cxcywh=WARNS, **EXPLAINED)),
    "ben": nbformat.writes(a_notebook(iou_one_cxcywh=PARTLY)),
    "cem": nbformat.writes(a_notebook(iou_one_cxcywh=ENDLESS)),
    "dan": "no notebook",
    "eva": json.dumps(stripped(a_notebook(iou_one_cxcywh=RIGHT))),
    "fay": json.dumps(copied(a_notebook(iou_one_cxcywh=RIGHT))),
}
POINTS = {"ada": 3, "ben": 2, "cem": 0, "dan": 0, "eva": 3, "fay": 3}


def ours(*words):
    result = CliRunner().invoke(cli.app, ["course", *map(str, words)])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def exported(course):
    ours("export", "--course", course)
    with (course / "reports" / f"{LESSON}-points.csv").open() as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def nbgrader(*words):
    """What the command `nbgrader` does, in this process: it takes seconds to start."""
    from nbgrader.apps.nbgraderapp import NbGraderApp

    try:
        NbGraderApp.launch_instance(list(words))
    finally:
        NbGraderApp.instance().reset()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which nbgrader has been through all its steps."""
    pytest.importorskip("nbgrader")
    course = tmp_path_factory.mktemp("nbgrader") / "term"
    ours("init", course)
    key = json.loads((course / "key.json").read_text())
    (course / "key.json").write_text(json.dumps(key | {"variants": {}}))
    ours("release", "01", "--course", course)
    for student, text in HANDED_IN.items():
        path = course / "submitted" / student / LESSON / f"{LESSON}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as context, contextlib.redirect_stderr(io.StringIO()) as noise:
        context.chdir(course)
        context.setattr(sys, "path", list(sys.path))  # nbgrader puts the folder into it
        nbgrader("generate_assignment", LESSON)
        nbgrader("autograde", LESSON)
        nbgrader("generate_feedback", LESSON, "--student", "ada")
    assert noise.getvalue() == ""
    assert "Autograding" in (course / "nbgrader.log").read_text()
    return course


@pytest.mark.slow
def test_the_gradebook_holds_the_points_that_our_export_has(course):
    from nbgrader.api import Gradebook

    rows = exported(course)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        found = {one.student_id: one for one in gradebook.assignment_submissions(LESSON)}
        assert {student: one.score for student, one in found.items()} == POINTS
        assert {student: one.max_score for student, one in found.items()} == dict.fromkeys(POINTS, 28)
        assert {student for student, one in found.items() if one.needs_manual_grade} == {"ada"}, "who explained"
    assert {student: float(row["points"]) for student, row in rows.items()} == POINTS
    assert {student for student, row in rows.items() if row["to read"] != "0"} == {"ada"}


@pytest.mark.slow
def test_students_are_told_what_was_wrong_and_nothing_that_is_hidden(course):
    def outputs(student):
        notebook = nbformat.read(course / "autograded" / student / LESSON / f"{LESSON}.ipynb", 4)
        return {cell.id: cell.outputs[0].text for cell in notebook.cells if cell.get("outputs")} | {
            "top": notebook.cells[0].source
        }

    assert "4 of 20 random cases are wrong" in outputs("ben")["iou_one_cxcywh-check"]
    assert "does a loop never end?" in outputs("cem")["iou_one_cxcywh-check"]
    assert "is no notebook" in outputs("dan")["top"]
    assert outputs("dan")["iou_one_cxcywh-check"] == "Not attempted."
    assert "There are 2 cells for iou_one_cxcywh" in outputs("fay")["top"]
    told = (course / "feedback" / "ada" / LESSON / f"{LESSON}.html").read_text()
    assert "careful" in told
    assert "HIDDEN" in (course / "source" / LESSON / f"{LESSON}.ipynb").read_text()
    assert "HIDDEN" not in told
    assert "hidden cases" not in told


@pytest.mark.slow
def test_nbgrader_hands_out_the_cells_that_we_hand_out(course):
    of_nbgrader = nbformat.read(course / "release" / LESSON / f"{LESSON}.ipynb", 4)
    assert any("checksum" in cell.metadata.get("nbgrader", {}) for cell in of_nbgrader.cells), "it is nbgrader's"
    pairs = zip(nbformat.read(course / "release" / f"{LESSON}.ipynb", 4).cells, of_nbgrader.cells, strict=True)
    assert [(a.id, a.source) for a, b in pairs if (a.id, a.source) != (b.id, b.source)] == []


@pytest.mark.slow
def test_what_a_person_gives_in_formgrader_is_exported(course):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        gradebook.find_grade("why_the_logarithm", LESSON, LESSON, "ada").manual_score = 1.5
        gradebook.find_grade("iou_one_cxcywh-check", LESSON, LESSON, "cem").extra_credit = 0.5
        gradebook.db.commit()
    rows = exported(course)
    assert (rows["ada"]["why_the_logarithm"], rows["ada"]["to read"], rows["ada"]["points"]) == ("1.5", "0", "4.5")
    assert rows["cem"]["points"] == "0.5"
    (course / "by_hand.csv").write_text("student,exercise,points\nada,why_the_logarithm,1\n")
    assert exported(course)["ada"]["why_the_logarithm"] == "1", "the table has the last word"


def test_a_test_cell_has_a_visible_line_and_a_hidden_one_that_lets_no_other_kernel_give_points(tmp_path):
    book.write_source(SOURCE.parent, tmp_path, ["01"])
    handed_out, source = book.exercise_notebook(SOURCE), nbformat.read(tmp_path / LESSON / f"{LESSON}.ipynb", 4)
    pairs = [(a, b) for a, b in zip(handed_out.cells, source.cells, strict=True) if a != b]
    tests = [cell for cell in source.cells if cell.id.endswith("-check")]
    assert [b for _, b in pairs] == tests
    for visible, cell in pairs:
        line, begin, hidden, end = cell.source.split("\n")
        assert visible.source == line
        assert ("BEGIN HIDDEN" in begin, "END HIDDEN" in end) == (True, True)
        with pytest.raises(RuntimeError, match="course grade"):
            exec(hidden)


def test_a_question_that_a_person_reads_has_its_answer_in_a_cell_of_its_own():
    cells = book.cells_of(EXERCISES["why_the_logarithm"])
    kinds = [(cell.cell_type, cell.metadata.nbgrader.grade, cell.metadata.nbgrader.solution) for cell in cells]
    assert kinds == [("markdown", False, False), ("markdown", True, True)]


def test_where_nbgrader_is_missing_its_gradebook_says_what_to_install(tmp_path, monkeypatch):
    ours("init", tmp_path)
    ours("release", "01", "--course", tmp_path)
    (tmp_path / "gradebook.db").touch()
    monkeypatch.setitem(sys.modules, "nbgrader.api", None)
    monkeypatch.delitem(sys.modules, "frcnn_lessons.course.grading.nbgrader_bridge", raising=False)
    monkeypatch.setattr(sys, "argv", ["frcnn-lessons", "course", "export", "--course", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^nbgrader is not installed, .*--extra instructor"):
        cli.main()
