"""Grading: right, partly right and endless answers from the archive to the table, damaged files, and frauds.

Lesson 01.
"""

import csv
import json
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest
from typer.testing import CliRunner

from frcnn_lessons.course import book, cli
from frcnn_lessons.course.grading.collect import collect
from frcnn_lessons.course.grading.court import Court
from frcnn_lessons.course.grading.judging import mark_of
from frcnn_lessons.course.grading.key import Key, KeyMissing, draw_key, graded, read_key
from frcnn_lessons.course.grading.names import names_not_allowed
from frcnn_lessons.course.grading.rebuild import answers_of, lesson_of, read_submission
from frcnn_lessons.course.grading.report import alike, table_of_lessons
from frcnn_lessons.course.grading.wire import BadMessage, NotPlain, decoded, encoded
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.comparing import same_inputs

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "instructor" / "01_boxes_and_iou.md"
PLAIN = Key(2520, {})
SETUP = "import torch\nfrom frcnn_lessons import boxes\nfrom frcnn_lessons.exercises import check\n"
RIGHT = EXERCISES["iou_one_cxcywh"].solution
HEAD = "def iou_one_cxcywh(box, others):\n    "
ENDLESS = HEAD + "while True: pass\n"


@pytest.fixture(scope="module")
def court():
    with Court() as made:
        yield made


def judged(court, answer, name="iou_one_cxcywh", **more):
    return mark_of(court, PLAIN, name, answer, [SETUP], **more)


def a_notebook(**answers):
    notebook = book.exercise_notebook(SOURCE)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    return notebook


# --- the whole way ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_submissions_from_the_archive_to_the_table(tmp_path):
    course, archive = tmp_path / "term", tmp_path / "download.zip"

    def command(*words):
        result = CliRunner().invoke(cli.app, ["course", *map(str, words)])
        assert result.exit_code == 0, result.output + str(result.exception)
        return result.output

    command("init", course)
    key = json.loads((course / "key.json").read_text())
    key["variants"] = {}
    (course / "key.json").write_text(json.dumps(key))
    (course / "students.csv").write_text("id,name\nada,Ada Berg\nben,Ben Holm\ncem,Cem Ito\nmia,Mia Lund\n")
    command("release", "01", "--course", course)
    half = HEAD + "return boxes_of(box, others)\n"
    handed_in = {
        "Ada Berg_11_assignsubmission_file_/my work.ipynb": a_notebook(iou_one_cxcywh=RIGHT),
        "Ben Holm_12_assignsubmission_file_/01.ipynb": a_notebook(
            iou_one_cxcywh=half, read_the_format=EXERCISES["read_the_format"].solution
        ),
        "Cem Ito_13_assignsubmission_file_/01.ipynb": a_notebook(
            iou_one_cxcywh=ENDLESS, soft_nms=EXERCISES["soft_nms"].solution
        ),
    }
    with zipfile.ZipFile(archive, "w") as out:
        for name, notebook in handed_in.items():
            out.writestr(name, nbformat.writes(notebook))
    said = command("collect", archive, "--course", course)
    assert "- mia: nothing handed in" in said
    assert "!" not in said
    lines = command("grade", "--course", course).splitlines()
    assert [line.split()[0] for line in lines] == ["ada", "ben", "cem", "mia"]
    assert command("grade", "--course", course).count("\n") == 1, "what is graded is graded once"
    command("export", "--course", course)
    with (course / "reports" / "01_boxes_and_iou-points.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert [rows[who]["points"] for who in ("ada", "ben", "cem")] == ["3", "1", f"{EXERCISES['soft_nms'].points}"]
    assert rows["cem"]["iou_one_cxcywh"] == "0"
    assert rows["mia"]["points"] == "0"
    mistakes = (course / "reports" / "01_boxes_and_iou-mistakes.csv").read_text()
    assert "iou_one_cxcywh,time,1" in mistakes
    command("feedback", "--course", course)
    told = (course / "feedback" / "cem" / "01_boxes_and_iou.ipynb").read_text()
    assert "does a loop never end?" in told
    assert "changed:" not in command("grade", "--again", "--course", course)
    path = course / "grades" / "01_boxes_and_iou" / "ada.json"
    path.write_text(path.read_text().replace('"points": 3.0', '"points": 1.0'))
    assert "changed: iou_one_cxcywh 1.0 -> 3.0" in command("grade", "--again", "--course", course)


def test_a_course_without_a_key_hands_nothing_out(tmp_path):
    result = CliRunner().invoke(cli.app, ["course", "release", "01", "--course", str(tmp_path)])
    assert result.exit_code == 1
    assert "needs its key" in result.output
    assert not (tmp_path / "release").exists()


def test_the_guide_holds_the_table_of_lessons():
    assert table_of_lessons() in (SOURCE.parent / "README.md").read_text()


# --- right answers ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["iou_one_cxcywh", "place_the_box", "catch_iou", "three_kinds", "nudge", "kind_of_error", "read_the_format"]
)
def test_a_right_answer_has_all_points_in_every_kind_of_exercise(court, name):
    mark = judged(court, EXERCISES[name].solution, name)
    assert (mark.verdict, mark.points) == ("right", EXERCISES[name].points), mark


@pytest.mark.slow
def test_a_variant_is_graded_as_what_it_asks(court):
    key = Key(2520, {"iou_one_cxcywh": "xywh"})
    assert mark_of(court, key, "iou_one_cxcywh", RIGHT, [SETUP]).points == 0
    answer = graded(key, "iou_one_cxcywh").solution
    assert mark_of(court, key, "iou_one_cxcywh", answer, [SETUP]).points == 3


@pytest.mark.slow
def test_what_is_neither_numbers_nor_text_is_left_to_a_person(court):
    assert judged(court, EXERCISES["training_step"].solution, "training_step").points is None


@pytest.mark.slow
@pytest.mark.parametrize("impostor", EXERCISES["iou_one_cxcywh"].impostors, ids=lambda impostor: impostor.name)
def test_a_known_mistake_is_known_and_has_not_all_points(court, impostor):
    from frcnn_lessons.exercises.description import source_of

    answer = source_of(EXERCISES["iou_one_cxcywh"].function_of(impostor))
    mark = judged(court, answer)
    assert mark.mistake == impostor.name
    assert mark.points < 3


def test_hidden_cases_are_others_of_the_same_sizes():
    shown, hidden = EXERCISES["iou_one_cxcywh"], graded(PLAIN, "iou_one_cxcywh")
    pairs = [(a, b) for a, b in zip(shown.cases, hidden.cases, strict=True) if a.group == "random"]
    assert pairs
    for a, b in pairs:
        (_, old), (_, new) = a.fresh_inputs(), b.fresh_inputs()
        assert old.shape == new.shape
        assert len(old) == 0 or not old.equal(new)


# --- frauds -----------------------------------------------------------------------------------------------------

FRAUDS = {
    "patch the comparison": "torch.allclose = lambda *a, **k: True\n" + HEAD + "return torch.zeros(len(others))",
    "equal to everything": "class Yes(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): "
    "return 0.0\n" + HEAD + "return [Yes(1)] * len(others)",
    "display hook": "get_ipython().display_formatter = None\n" + RIGHT,
    "the stack": "import sys\n" + HEAD + "return sys._getframe(2).f_locals['expected']",
    "the solution of the course": "from frcnn_lessons.exercises.boxes_and_iou import iou_one_cxcywh",
    "exit": "import os\nos._exit(0)",
    "exit without a name": HEAD + "raise SystemExit(0)",
    "a hidden import": HEAD + "return __import__('torchvision').ops.box_iou(box[None], others)[0]",
    "evaluated text": HEAD + "return eval('boxes.' + 'iou')(box[None], others)[0]",
    "an alias": "from frcnn_lessons import boxes as b\nf = b.iou\n" + HEAD + "return f(box[None], others)[0]",
    "from elsewhere": "from torchvision.models.detection import roi_heads as r\n"
    + HEAD
    + "return r.box_ops.box_iou(box[None], others)[0]",
    "by getattr": HEAD + "return getattr(boxes, 'i' + 'ou')(box[None], others)[0]",
    "swallowed": HEAD + "import torchvision.models.detection.roi_heads as r\n    try:\n"
    "        return r.box_ops.box_iou(box[None], others)[0]\n"
    "    except BaseException:\n        return torch.zeros(len(others))",
    "a wide answer": HEAD + "return torch.zeros(10**7)",
    "all memory": HEAD + "return torch.zeros(10**12)",
    "a deep answer": HEAD + "a = []\n    for _ in range(10**4): a = [a]\n    return a",
    "print for ever": HEAD + "while True: print('x' * 10**6)",
    "catch the end": HEAD + "while True:\n        try:\n            while 1: pass\n        except BaseException: 0",
    "an endless cell": "while True: pass\n",
    "a constant": HEAD + "return torch.zeros(len(others))",
}


@pytest.mark.slow
@pytest.mark.parametrize("fraud", FRAUDS)
def test_a_fraud_has_nothing(court, fraud):
    mark = judged(court, FRAUDS[fraud])
    assert mark.points == 0, mark


LEAVING = {
    "its own session": "os.setsid(); time.sleep(600)",
    "a grandchild": "os.fork(); os.setsid(); os.fork(); time.sleep(600)",
    "two children": "os.fork(); time.sleep(600)",
    "kill the worker": "os.setsid(); os.kill(worker, 9); time.sleep(600)",
    "stop the worker": "os.setsid(); os.kill(worker, 19); os.fork(); time.sleep(600)",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", LEAVING)
def test_what_an_answer_leaves_running_is_ended(court, how):
    before = set(psutil.Process().children(recursive=True))
    code = "import os, time\nworker = os.getppid()\nif os.fork() == 0:\n    " + LEAVING[how] + "\n" + RIGHT
    assert judged(court, code).verdict == "not allowed"
    judged(court, code, accepted=True)
    left = set(psutil.Process().children(recursive=True)) - before
    assert [p for p in left if p != psutil.Process(court.worker.pid)] == [] if court.worker else not left
    assert judged(court, RIGHT).points == 3


@pytest.mark.slow
def test_files_of_an_answer_lie_in_a_folder_that_goes(court):
    judged(court, "open('left.txt', 'w').write('x')\n" + RIGHT)
    assert list(court.scratch.rglob("left.txt")) == []


@pytest.mark.slow
def test_without_a_fork_it_is_the_same():
    with Court(fork=False) as court:
        assert judged(court, RIGHT).points == 3
        assert judged(court, ENDLESS).points == 0


@pytest.mark.parametrize("name", [name for name, e in EXERCISES.items() if e.reference is not None])
def test_no_solution_uses_a_name_that_is_not_allowed(name):
    exercise = EXERCISES[name]
    found = names_not_allowed(exercise.solution, [SETUP], exercise.forbidden)
    assert found == []


# --- damaged submissions ----------------------------------------------------------------------------------------


def test_a_damaged_file_is_named(tmp_path):
    for name, data, says in (
        ("empty", b"", "is empty"),
        ("text", b"hello", "is no notebook"),
        ("binary", b"\xff\xfe\x00", "is no notebook"),
        ("list", b"[]", "is no notebook"),
        ("cells", b'{"cells": 3}', "is no notebook"),
        ("deep", b"[" * 10**5, "is no notebook"),
        ("odd", b'{"cells": [3, {"cell_type": "code"}]}', "A cell is damaged"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert says in " ".join(read_submission(path).notes), name


def test_deleted_copied_and_stripped_cells_are_named_and_nothing_is_lost(tmp_path):
    source, notebook = a_notebook(), a_notebook(iou_one_cxcywh=RIGHT)
    cells = {cell.id: cell for cell in notebook.cells}
    double = nbformat.from_dict(dict(cells["iou_one_cxcywh"]))
    double.source = ENDLESS
    notebook.cells.append(double)
    notebook.cells.remove(cells["soft_nms"])
    cells["deltas_to_one"].metadata, cells["deltas_to_one"].id = {}, "x"
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook))
    submission = read_submission(path)
    assert lesson_of(submission, {"01": source}) == "01"
    answers = answers_of(submission, source)
    assert answers["iou_one_cxcywh"] == ENDLESS.rstrip("\n")
    assert answers["soft_nms"] == ""
    assert answers["deltas_to_one"] == cells["deltas_to_one"].source
    assert submission.notes == [
        "There are 2 cells for iou_one_cxcywh; the last one counts.",
        "The cell of deltas_to_one has lost its id; it was known by what it defines.",
        "The cell of soft_nms is missing.",
    ]


def test_no_path_of_an_archive_leaves_the_folder(tmp_path):
    archive, text = tmp_path / "a.zip", nbformat.writes(a_notebook())
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("../../Eve_1_assignsubmission_file_/../../evil.ipynb", text)
        out.writestr("Ada Berg_2_assignsubmission_file_/broken.ipynb", "no notebook")
        out.writestr("bergada_3_4_work.ipynb", text)
        out.writestr("bergada_LATE_3_5_picture.png", "x")
    found = collect(archive, tmp_path / "in" / "submitted", {"01": a_notebook()}, tmp_path / "none.csv")
    assert sorted(student for student, _, _ in found.taken) == ["bergada", "eve"]
    assert len(found.problems) == 2
    outside = [p for p in tmp_path.rglob("*.ipynb") if not p.is_relative_to(tmp_path / "in" / "submitted")]
    assert outside == []
    assert list((tmp_path / "in").rglob("broken.ipynb")), "what cannot be read is kept for a person to see"


def test_what_is_no_archive_is_named(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK no archive")
    found = collect(path, tmp_path / "s", {}, tmp_path / "none.csv")
    assert "no zip archive" in found.problems[0]


# --- the rest ---------------------------------------------------------------------------------------------------


def test_answers_that_are_alike_after_renaming_are_told():
    renamed = RIGHT.replace("others", "them").replace("box", "one")
    grades = {
        who: {"answers": {"iou_one_cxcywh": text}, "marks": {"iou_one_cxcywh": {"verdict": "right"}}}
        for who, text in (("ada", RIGHT), ("ben", renamed))
    }
    assert alike(grades, PLAIN) == ["iou_one_cxcywh: as in the course's own solution: ada, ben"]


def test_values_come_back_as_they_were_sent():
    import numpy as np
    import torch

    value = {"a": [torch.rand(2, 3), torch.zeros(0, 4), np.eye(2)], 1: (None, True, 2.5, "x", ...)}
    back = decoded(json.loads(json.dumps(encoded(value))))
    assert same_inputs(value["a"], back["a"])
    assert back[1] == value[1]


@pytest.mark.parametrize("value", [object(), open, {1: object()}, 1j], ids=["object", "function", "inside", "complex"])
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(NotPlain):
        encoded(value)


@pytest.mark.parametrize(
    "message",
    [
        {"is": "tensor", "dtype": "object", "shape": [1], "data": ""},
        {"is": "tensor", "dtype": "float32", "shape": [10**9], "data": "AAAA"},
        {"is": "function", "number": 0},
        {"is": "set", "parts": [[1]]},
        {"no": 1},
    ],
)
def test_what_stands_for_no_value_is_refused(message):
    with pytest.raises(BadMessage):
        decoded(message)


def test_a_key_is_drawn_anew_and_a_damaged_one_is_named(tmp_path):
    assert draw_key() != draw_key()
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(KeyMissing, match="is no key"):
        read_key(tmp_path / "key.json")
