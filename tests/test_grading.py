"""Grading: right, partly right and endless answers from the archive to the table, and damaged files.

`test_grading_court` has the frauds.

Lesson 01.
"""

import csv
import io
import json
import os
import zipfile
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
import torch
import typer
from typer.testing import CliRunner

from frcnn_lessons.course import book, cli
from frcnn_lessons.course.grading import commands
from frcnn_lessons.course.grading.collect import collect
from frcnn_lessons.course.grading.court import Court
from frcnn_lessons.course.grading.feedback import feedback_notebook
from frcnn_lessons.course.grading.grading import grade_submission
from frcnn_lessons.course.grading.judging import mark_of
from frcnn_lessons.course.grading.key import Key, KeyMissing, draw_key, graded, key_of, read_key
from frcnn_lessons.course.grading.rebuild import MOST_CELLS, answers_of, before, lesson_of, read_submission
from frcnn_lessons.course.grading.report import alike, table_of_lessons, write_term, write_to_read
from frcnn_lessons.course.grading.tables import TableError, read_table
from frcnn_lessons.course.grading.wire import BadMessage, NotPlain, decoded, encoded
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.comparing import same_inputs
from helpers.graded_answers import ENDLESS, HEAD, PLAIN, RIGHT, SETUP

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "instructor" / "01_boxes_and_iou.md"


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


@pytest.fixture
def command(court, monkeypatch):
    """Give a command as on the command line; what it prints comes back. All are judged in one court."""
    monkeypatch.setattr(commands, "Court", lambda: nullcontext(court))

    def give(*words):
        result = CliRunner().invoke(cli.app, ["course", *map(str, words)])
        assert result.exit_code == 0, result.output + str(result.exception)
        return result.output

    return give


def rows_of(path):
    with path.open() as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_three_submissions_from_the_archive_to_the_table(tmp_path, command):
    course, archive = tmp_path / "term", tmp_path / "download.zip"
    command("init", course)
    key = json.loads((course / "key.json").read_text())
    key["variants"] = dict.fromkeys(key["variants"], "")
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
    old = (course / "accepted.csv").read_text()
    (course / "accepted.csv").write_text(old + "ben,soft_nms\n")
    assert "! 01_boxes_and_iou: to be graded first, with `course grade`: ben\n" in command("export", "--course", course)
    (course / "accepted.csv").write_text(old)
    assert "to be graded" not in command("export", "--course", course)
    rows = rows_of(course / "reports" / "01_boxes_and_iou-points.csv")
    assert [rows[who]["points"] for who in ("ada", "ben", "cem")] == ["3", "1", f"{EXERCISES['soft_nms'].points}"]
    assert rows["cem"]["iou_one_cxcywh"] == "0"
    assert (rows["mia"]["points"], rows["mia"]["of"]) == ("0", rows["ada"]["of"])
    assert (rows["ada"]["notes"], rows["mia"]["notes"]) == ("", "nothing handed in.")
    mistakes = (course / "reports" / "01_boxes_and_iou-mistakes.csv").read_text()
    assert "iou_one_cxcywh,time,1" in mistakes
    command("feedback", "--course", course)
    told = (course / "feedback" / "cem" / "01_boxes_and_iou.ipynb").read_text()
    assert "does a loop never end?" in told
    path = course / "grades" / "01_boxes_and_iou" / "ada.json"
    path.write_text(path.read_text().replace('"points": 3.0', '"points": 1.0'))
    said = command("grade", "--again", "--course", course)
    assert "changed: iou_one_cxcywh 1.0 -> 3.0" in said
    assert said.count("changed:") == 1


@pytest.mark.slow
def test_each_student_has_other_data_and_a_copied_number_is_named(tmp_path, command):
    course, lesson = tmp_path / "term", "04_measuring_a_detector"
    command("init", course)
    (course / "students.csv").write_text("id,name\nada,Ada Berg\nben,Ben Holm\n")
    command("release", "04", "--each", "--course", course)
    handed_out = {who: (course / "release" / who / f"{lesson}.ipynb").read_bytes() for who in ("ada", "ben")}
    with (course / "students.csv").open("a") as file:
        file.write("cem,Cem Ito\ndora,Dora Aas\n")
    assert command("release", "04", "--each", "--course", course).endswith(
        "2 new; what was there stays as it was handed out\n"
    )
    for who, data in handed_out.items():
        assert (course / "release" / who / f"{lesson}.ipynb").read_bytes() == data

    def answered(given_to, who, **answers):
        notebook = nbformat.read(course / "release" / given_to / f"{lesson}.ipynb", 4)
        for cell in notebook.cells:
            cell.source = answers.get(cell.id, cell.source)
        path = tmp_path / "in" / who / "x.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)

    key = read_key(course / "key.json")
    of_ada, of_cem = (graded(key_of(key, who), "own_detector").solution for who in ("ada", "cem"))
    answered("ada", "ada", own_detector=of_ada, one_point_better="Neither.")
    answered("ben", "ben", own_detector=of_ada)
    answered("ada", "cem", own_detector=of_cem)
    answered("ada", "eve")  # in no roster
    (tmp_path / "in" / "dora").mkdir()
    (tmp_path / "in" / "dora" / "x.ipynb").write_text("damaged")
    said = command("collect", tmp_path / "in", "--course", course)
    assert "- dora: nothing that can be graded; look into" in said
    said = command("grade", "--course", course)
    assert "This is the notebook that was handed out to ada." in said.split("cem")[1]
    assert "was handed no notebook" in said.split("eve")[1]
    said = command("export", "--course", course)
    assert [line for line in said.splitlines() if line[0] == "!"] == [
        "! own_detector: ben gave what is right for the data of ada"
    ]
    to_read = course / "reports" / f"{lesson}-to-read.txt"
    assert to_read.read_text() == (
        f"04.8 One point better\n\n{EXERCISES['one_point_better'].guide}\n\n--- one_point_better, ada ---\n\nNeither.\n"
    )
    points = rows_of(course / "reports" / f"{lesson}-points.csv")
    assert [points[who]["own_detector"] for who in ("ada", "cem", "dora")] == ["3", "3", ""]
    assert float(points["ben"]["own_detector"]) < 3
    term = rows_of(course / "reports" / "term.csv")
    assert [term[who]["points"] for who in ("ada", "cem", "dora")] == ["?", "3", "0"]
    (course / "by_hand.csv").write_text("student,exercise,points\nada,one_point_better,1.5\n")
    command("export", "--course", course)
    assert not to_read.exists()
    assert rows_of(course / "reports" / "term.csv")["ada"] == {
        **{"student": "ada", lesson: "4.5", f"{lesson} of": points["ada"]["of"]},
        **{"points": "4.5", "of": points["ada"]["of"]},
    }
    assert "changed:" not in command("grade", "--again", "--course", course)
    command("feedback", "--course", course)
    told = nbformat.read(course / "feedback" / "ben" / f"{lesson}.ipynb", 4)
    assert graded(key_of(key, "ben"), "own_detector").data in [cell.source for cell in told.cells]


def test_a_notebook_for_each_needs_students_and_a_secret(tmp_path):
    def said():
        result = CliRunner().invoke(cli.app, ["course", "release", "01", "--each", "--course", str(tmp_path)])
        assert result.exit_code == 1
        assert not (tmp_path / "release").exists()
        return result.output

    assert CliRunner().invoke(cli.app, ["course", "init", str(tmp_path)]).exit_code == 0
    assert "names no student" in said()
    key = json.loads((tmp_path / "key.json").read_text())
    del key["secret"]
    (tmp_path / "key.json").write_text(json.dumps(key))
    assert "is older than --each" in said()


def test_variants_of_a_student_stay_and_cannot_be_worked_out_without_the_secret():
    key = draw_key()
    assert key_of(key, "ada") == key_of(key, "ada")
    others = [key_of(key, "ben"), key_of(draw_key(), "ada"), key_of(Key(key.shift, key.variants, "0"), "ada")]
    for other in others:
        assert other.variants != key_of(key, "ada").variants
    keys = [key_of(key, f"s{number}") for number in range(40)]
    for name, exercise in EXERCISES.items():
        given = {one.variants[name] for one in keys}
        assert exercise.drawn or given == ({variant.name for variant in exercise.variants} or {""})


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


def test_a_damaged_notebook_that_was_handed_out_is_named(tmp_path):
    def give(*words):
        return CliRunner().invoke(cli.app, ["course", *words, "--course", str(tmp_path)])

    assert CliRunner().invoke(cli.app, ["course", "init", str(tmp_path)]).exit_code == 0
    assert give("release", "01").exit_code == 0
    (path,) = (tmp_path / "release").glob("*.ipynb")
    whole = path.read_bytes()
    for content in (b"", b"{}", b"[]", whole[:1000]):
        path.write_bytes(content)
        result = give("collect", str(tmp_path))
        assert result.exit_code == 1
        assert result.stderr.startswith(f"{path.name} is not a notebook of format 4 (")
        assert len(result.stderr.splitlines()) == 1


def test_a_course_in_the_place_of_a_file_is_a_sentence(tmp_path):
    (tmp_path / "course").write_text("a file")
    result = CliRunner().invoke(cli.app, ["course", "init", str(tmp_path / "course")])
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path / 'course'} cannot be used (File exists); name another\n"


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
    assert answers["iou_one_cxcywh"] == ENDLESS
    assert answers["soft_nms"] == ""
    assert answers["deltas_to_one"] == cells["deltas_to_one"].source
    assert submission.notes == [
        "There are 2 cells for iou_one_cxcywh; the last one counts.",
        "The cell of deltas_to_one has lost its id; it was known by what it defines.",
        "The cell of soft_nms is missing.",
    ]


def submitted(tmp_path, notebook):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook))
    return path


@pytest.mark.slow
def test_half_signs_and_lines_of_ones_own_stop_no_command(court, tmp_path):
    explain = next(cell.id for cell in a_notebook().cells if cell.id in EXERCISES and not EXERCISES[cell.id].cases)
    notebook = a_notebook(**{explain: "half \ud800", "iou_one_cxcywh": "raise ValueError('\\ud800')"})
    notebook.metadata["frcnn_lessons"] = {"student": "eve\ud800\nada   3 of 3"}
    grades = grade_submission(court, PLAIN, submitted(tmp_path, notebook), a_notebook())
    assert grades["notes"] == ["This is the notebook that was handed out to eve  ada   3 of 3."]
    assert write_to_read({"eve": grades}, PLAIN, tmp_path / "read.txt")
    assert "half ?" in (tmp_path / "read.txt").read_text(encoding="utf-8")
    nbformat.write(feedback_notebook(a_notebook(), grades), tmp_path / "feedback.ipynb")


@pytest.mark.slow
def test_what_is_nested_too_deeply_stops_no_command(court, tmp_path):
    deep = "x = " + "+".join(["1"] * 900) + "\n"
    answers = {"iou_one_cxcywh": HEAD + "return x", "soft_nms": deep, "nms_with_a_hole": "import os\nos" + ".a" * 900}
    grades = grade_submission(court, PLAIN, submitted(tmp_path, a_notebook(**answers)), a_notebook())
    assert "`x` is nested too deeply and was left out." in grades["notes"]
    assert sum(mark["points"] or 0 for mark in grades["marks"].values()) == 0
    assert alike({"eve": grades}) == []


def test_a_notebook_of_very_many_cells_is_read_up_to_a_limit(tmp_path):
    notebook = {"cells": [{"cell_type": "code", "source": "x = 1", "metadata": {}}] * 10**5}
    submission = read_submission(submitted(tmp_path, notebook))
    assert len(submission.cells) == MOST_CELLS
    assert "what follows was left out" in submission.notes[0]


def test_helpers_come_along_from_other_cells_in_their_order(tmp_path):
    notebook = a_notebook(iou_one_cxcywh=HEAD + "return FACTOR * half * own(box, others)")
    helpers = "ONE, TWO = 1, 2\nhalf = ONE / TWO\nFACTOR: float = TWO * 1.0\n"
    helpers += RIGHT.replace("iou_one_cxcywh", "own", 1)
    notebook.cells.insert(1, nbformat.v4.new_code_cell(helpers))
    source = a_notebook()
    submission = read_submission(submitted(tmp_path, notebook))
    answer = answers_of(submission, source)["iou_one_cxcywh"]
    names = {}
    for text in [*before("iou_one_cxcywh", answer, submission, source), answer]:
        exec(text, names)
    assert names["iou_one_cxcywh"](torch.tensor([4.0, 4, 4, 4]), torch.tensor([[4.0, 4, 4, 4]])).tolist() == [1.0]


def test_only_lines_that_are_no_python_are_taken_for_magic(tmp_path):
    kept = "rest = (\n    5\n    % 3\n)\nline = 'a\u2028b'"
    for answer, wanted in ((kept, kept), ("%matplotlib inline\nx = 1", "\nx = 1")):
        submission = read_submission(submitted(tmp_path, a_notebook(iou_one_cxcywh=answer)))
        assert answers_of(submission, a_notebook())["iou_one_cxcywh"] == wanted


def test_an_archive_within_a_students_folder_speaks_for_nobody_else(tmp_path):
    for place, inside in (
        ("Ada Berg_11_assignsubmission_file_/w.zip", "Ben Holm_12_assignsubmission_file_/x.ipynb"),
        ("adaberg_3_4_w.zip", "benholm_5_6_x.ipynb"),
        ("ada/w.zip", "ben/x.ipynb"),
    ):
        download = tmp_path / place.replace("/", "-")
        (download / place).parent.mkdir(parents=True)
        with zipfile.ZipFile(download / place, "w") as out:
            out.writestr(inside, nbformat.writes(a_notebook()))
        found = collect(download, tmp_path / "s", {"01": a_notebook()}, tmp_path / "none.csv")
        assert [student[:3] for student, _, _ in found.taken] == ["ada"], place


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_with_wrong_bytes_stops_nothing(tmp_path, how):
    path, whole = tmp_path / "a.zip", io.BytesIO()
    with zipfile.ZipFile(whole, "w", how) as out:
        out.writestr("Adélie_1_assignsubmission_file_/é.ipynb", "{}" * 50)
    for place in range(len(whole.getvalue())):
        damaged = bytearray(whole.getvalue())
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        found = collect(path, tmp_path / "s", {}, tmp_path / "none.csv")
        assert found.problems, "whatever came of it is no notebook, and is named"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe with a name")
def test_links_and_devices_are_named_and_not_read(tmp_path):
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "a.ipynb")
    (folder / "b.ipynb").symlink_to("/dev/zero")
    found = collect(tmp_path / "in", tmp_path / "s", {}, tmp_path / "none.csv")
    assert found.problems == [f"ada/{name}.ipynb: a link or no file; left out." for name in "ab"]


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


def test_a_stranger_and_another_lesson_are_named_and_an_accent_of_macos_is_one(tmp_path):
    roster, other = tmp_path / "students.csv", book.exercise_notebook(SOURCE.with_name("04_measuring_a_detector.md"))
    roster.write_text("\ufeffid;name\r\ncy;Cyrille L\u00f6f\r\ngus;Gus Hahn\r\n", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        for path, notebook in (
            ("Cyrille Lo\u0308f_1_assignsubmission_file_/a.ipynb", a_notebook()),
            ("Gus Hahn_2_assignsubmission_file_a.ipynb", other),  # as Moodle has it without folders
            ("Zoe_3_assignsubmission_file_/a.ipynb", a_notebook()),
        ):
            out.writestr(path, nbformat.writes(notebook))
    found = collect(tmp_path / "a.zip", tmp_path / "s", {"01": a_notebook(), "04": other}, roster)
    assert [one[:2] for one in found.taken] == [("cy", "01"), ("gus", "04"), ("zoe", "01")]
    assert found.problems == [
        "Zoe_3_assignsubmission_file_/a.ipynb: students.csv has no Zoe; kept as zoe.",
        "gus: handed in 04, and not 01 as most did.",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,name\nada,L\u00f6f\n".encode("latin-1"), "is not in UTF-8"),
        (b"ada,Ada Berg\n", "its first line has to be id,name"),
        (b"id,name\nada\n", "line 2: it has to say id,name"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, text, says):
    (tmp_path / "students.csv").write_bytes(text)
    with pytest.raises(TableError, match=says):
        read_table(tmp_path / "students.csv", ("id", "name"))


def test_points_by_hand_are_taken_as_a_spreadsheet_writes_them_and_never_lost_in_silence(tmp_path, capsys):
    (tmp_path / "students.csv").write_text("id,name\nada,Ada Berg\ndan,Dan Ito\n")
    mark = {"points": None, "most": 2, "verdict": "by hand", "groups": {}, "mistake": "", "value": None, "says": []}
    path = tmp_path / "grades" / "01_boxes_and_iou" / "ada.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"marks": {"why_the_logarithm": mark}, "answers": {}, "variants": {}, "notes": []}))

    def by_hand(text):
        (tmp_path / "by_hand.csv").write_text(text, encoding="utf-8")
        return commands._grades(tmp_path, "01_boxes_and_iou")["ada"]["marks"]["why_the_logarithm"]["points"]

    assert by_hand("\ufeffstudent;exercise;points\r\nada;why_the_logarithm;1,5\r\n") == 1.5
    assert by_hand("student,exercise,points\nada,one_point_better,1\n") is None, "of another lesson"
    assert by_hand("student,exercise,points\ndan,why_the_logarithm,1\n") is None
    assert "nothing of it was graded" in capsys.readouterr().out
    for row, says in (
        ("ada,why_the_logarithm,3", "no number of points from 0 to 2"),
        ("ada,why_the_logarithm,nan", "no number of points from 0 to 2"),
        ("Ada Berg,why_the_logarithm,1", "no student has the id 'Ada Berg'"),
        ("ada,01.8,1", "no exercise '01.8'"),
    ):
        with pytest.raises(typer.Exit):
            by_hand(f"student,exercise,points\n{row}\n")
        assert says in capsys.readouterr().err


def test_feedback_says_what_is_not_counted_yet_and_why_a_group_has_no_points():
    right = {"points": 1.0, "most": 3, "verdict": "not yet", "says": [], "groups": {"on paper": [4, 4], "edge": [0, 1]}}
    waiting = {"points": None, "most": 2, "verdict": "by hand", "says": [], "groups": {}}
    marks = {"deltas_to_one": right, "why_the_logarithm": waiting}
    cells = feedback_notebook(a_notebook(), {"answers": {}, "marks": marks, "notes": []}).cells
    assert cells[0].source.startswith("# 1 of 5 points\n\nAnswers still to be read, and not counted yet: 1.")
    assert "> Right: 4 of 4 on paper, 0 of 1 at the edges." in next(c for c in cells if "1 of 3" in c.source).source


def test_what_is_not_graded_yet_is_no_zero(tmp_path):
    mark = {"points": 1, "most": 1, "verdict": "right", "groups": {}, "mistake": "", "value": None, "says": []}
    of_ada = {"marks": {"read_the_format": mark}, "answers": {}, "variants": {}, "notes": []}
    write_term({"01": {"ada": of_ada}, "04": {"ada": of_ada, "cy": of_ada}}, tmp_path / "term.csv")
    rows = rows_of(tmp_path / "term.csv")
    assert (rows["cy"]["01"], rows["cy"]["04"], rows["cy"]["points"]) == ("?", "1", "?")


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
    assert alike(grades) == ["iou_one_cxcywh: as in the course's own solution: ada, ben"]


def test_values_come_back_as_they_were_sent():
    import numpy as np

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
