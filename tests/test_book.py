"""The notebooks of the exercises are made from their descriptions, and from nothing else."""

from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from frcnn_lessons.course import book, cli
from frcnn_lessons.exercises import checking
from frcnn_lessons.exercises.catalogue import EXERCISES, LESSONS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "notebooks" / "instructor"
RELEASED = sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))

pytestmark = pytest.mark.usefixtures("without_a_window")


def test_what_is_released_is_what_is_committed(tmp_path):
    made = book.release(SOURCES, tmp_path)
    assert [path.name for path in made] == [path.name for path in RELEASED]
    for path in made:
        assert path.read_bytes() == (ROOT / "notebooks" / "exercises" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson[0].number[:2])
def test_every_exercise_of_a_lesson_is_in_its_notebook(lesson):
    (path,) = (path for path in RELEASED if path.name[:2] == lesson[0].number[:2])
    ids = {cell.id for cell in nbformat.read(path, 4).cells}
    assert [exercise.name for exercise in lesson if exercise.name not in ids] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_a_notebook_left_alone_runs_through_and_nothing_counts_as_attempted(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path))
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    names: dict = {}
    checks = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
            printed = capsys.readouterr().out
            if cell.source.startswith("check."):
                checks += 1
                assert ": not attempted yet." in printed, cell.source
    assert checks > 0
    assert not (tmp_path / "progress.json").exists(), "a cell left alone left a note"


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_nbgrader_accepts_what_is_released(path):
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    notebook = nbformat.read(path, 4)
    validator.validate_nb(notebook)
    graded = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    points = sum(cell.metadata.nbgrader.get("points", 0) for cell in graded.values())
    assert points == sum(exercise.points for exercise in EXERCISES.values() if exercise.name in graded)


def test_the_cell_of_a_lesson_holds_stub_and_check():
    assert book.your_turn(EXERCISES["iou_one_cxcywh"]) == (
        "def iou_one_cxcywh(box, others):\n"
        '    """IoU (N,) of one box (4,) with N others (N, 4), all as (centre x, centre y, width, height)."""\n'
        "    ...  # your code here\n\n\n"
        "check.iou_one_cxcywh(iou_one_cxcywh)"
    )
    assert book.your_turn(EXERCISES["read_the_format"]) == (
        "read_the_format = (..., ..., ..., ...)  # your answer here\n\n\ncheck.read_the_format(read_the_format)"
    )


def test_a_variant_is_handed_out_with_its_own_words_and_check():
    text, stub, check = book.cells_of(EXERCISES["iou_one_cxcywh"], "xywh")
    assert "(left, top, width, height)" in text.source
    assert "(left, top, width, height)" in stub.source
    assert check.source == 'check.iou_one_cxcywh(iou_one_cxcywh, variant="xywh")'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exercise: no_such_thing", "no_such_thing is no exercise"),
        ("exercise: soft_nms\n" * 2, "soft_nms is there twice"),
    ],
)
def test_a_faulty_source_is_named_and_nothing_is_written(tmp_path, text, message):
    (tmp_path / "01_x.md").write_text(text)
    with pytest.raises(book.BookError, match=rf"01_x\.md: {message}"):
        book.release(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_makes_them_where_it_is_told(tmp_path):
    result = CliRunner().invoke(cli.app, ["release", "1", "--to", str(tmp_path)])
    assert result.stdout == "01_boxes_and_iou.ipynb\n"
    result = CliRunner().invoke(cli.app, ["release", "99", "--to", str(tmp_path)])
    assert result.exit_code == 1
    assert "has no exercises for lesson 99" in result.output


@pytest.mark.parametrize("name", [name for name, e in EXERCISES.items() if e.kind == "find the bug"])
def test_the_given_code_is_known_again_though_your_turn_wraps_its_lines(name):
    given = EXERCISES[name].given_function
    code = book.your_turn(EXERCISES[name]).partition("\n\n\ncheck.")[0]
    assert checking._same_code(given, code)
    assert not checking._same_code(given, code + "\n    pass")
