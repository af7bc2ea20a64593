"""What a student is told, whatever he or she hands in: the truth, in three sentences, and never a traceback."""

import json
from fractions import Fraction

import matplotlib
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, writes

from frcnn_lessons import boxes
from frcnn_lessons.course import lessons
from frcnn_lessons.exercises import check, hint, progress, solution, student
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.checking import judge
from frcnn_lessons.exercises.comparing import difference, plain
from frcnn_lessons.exercises.description import Exercise, Impostor, at_random, on_paper
from frcnn_lessons.exercises.progress import notes_of, progress_file

IOU = EXERCISES["iou_one_cxcywh"]
right = IOU.reference

pytestmark = [pytest.mark.usefixtures("without_a_window", "one_thread"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Progress of these tests is nobody's."""
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(student._last, "name", "")


def no_return(box, others):
    right(box, others)


def restyles(box, others):
    matplotlib.rcParams["font.size"] = 99
    return right(box, others)


def crashes(box, others):
    return others[7, 0]


def leaves(box, others):
    raise SystemExit


def changes(box, others):
    others[:, 2:] /= 2
    return right(box, torch.cat([others[:, :2], 2 * others[:, 2:]], dim=1))


def seeds(box, others):
    torch.manual_seed(0)
    return right(box, others)


def always_the_same(box, others):
    return torch.ones(1)


def only_with_others(box, others):
    return right(box, others) if len(others) else torch.zeros(3)


def makes_nan(box, others):
    return right(box, others) + float("nan")


def one_too_many(box, others):
    return right(box, others)[None]


def words(box, others):
    return "0.5"


def rounds(box, others):
    return right(box, others).round(decimals=2)


def with_the_course(box, others):
    return boxes.iou(boxes.cxcywh_to_xyxy(box[None]), boxes.cxcywh_to_xyxy(others))[0]


def halves_it(box, others):  # a mistake that is in no list
    return right(box, others) * 0.9


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "should be a function and is None"),
        (3.0, "should be a function and is 3"),
        (no_return, "It returned nothing: is there a `return`?"),
        (crashes, "it raised IndexError: index 7 is out of bounds"),
        (leaves, "it called exit()"),
        (changes, "It changed its input `others`: work on a copy"),
        (seeds, "draws or seeds the global random numbers"),
        (always_the_same, "It gives the same answer whatever it is given."),
        (only_with_others, "The shape should be (0,) and is (3,)"),
        (makes_nan, "There is a NaN in the answer"),
        (one_too_many, "an axis of length 1 too many"),
        (words, "It should be a tensor of shape (1,) and is a str"),
        (rounds, "Right, but rounded: keep all digits."),
        (with_the_course, "to be done without `boxes.iou`"),
        (halves_it, "Expected [1], got [0.9]."),
        (lambda box: box, "it raised TypeError"),
    ],
)
def test_what_is_a_fact_is_said(given, told, capsys):
    check.iou_one_cxcywh(given)
    printed = capsys.readouterr().out
    assert told in printed
    assert len(printed.splitlines()) <= 3
    assert "Traceback" not in printed


def test_a_list_that_was_sorted_in_place_is_noticed():
    def sorts(answers, objects):
        answers.sort(reverse=True)
        return EXERCISES["ap_from_list"].reference(answers, objects)

    report = judge(EXERCISES["ap_from_list"], sorts)
    assert (report.verdict, report.mistake) == ("not yet", "changed")
    assert report.case.label == "the same list, the least sure first"


def test_fractions_and_empty_arrays_are_answers():
    assert difference(2 / 3, plain(Fraction(2, 3)), 1e-4) is None
    assert difference([], plain(np.zeros((0, 2))), 1e-4) is None


def test_a_mistake_that_nobody_knows_gets_no_hint():
    report = judge(IOU, halves_it)
    assert len(report.sentences) == 2
    assert report.mistake == ""


def test_two_mistakes_at_once_get_no_wrong_hint():
    def two(box, others):  # the corner for the centre, and the union wrong
        corner = torch.cat([others[:, :2], others[:, :2] + others[:, 2:]], dim=1)
        near, far = torch.maximum(box[:2], corner[:, :2]), torch.minimum(box[:2] + box[2:], corner[:, 2:])
        return (far - near).clamp(min=0).prod(1) / (box[2] * box[3] + others[:, 2] * others[:, 3])

    report = judge(IOU, two)
    assert len(report.sentences) == 2
    assert report.mistake == ""


def high_scores(scores):
    """Which of N scores are at least 0.5."""
    return scores >= 0.5


def test_who_takes_another_threshold_is_not_told_of_a_tie():
    tie = Impostor("above", "Exactly 0.5 counts.", change={">= 0.5": "> 0.5"})
    exercise = Exercise(
        kind="implement",
        reference=high_scores,
        number="00.0",
        title="High scores",
        text="",
        minutes=1,
        points=1,
        goals=(1,),
        core=False,
        cases=(
            on_paper("exactly 0.5", torch.tensor([0.5]), gives=[True]),
            on_paper("0.5 and 0.25", torch.tensor([0.5, 0.25]), gives=[True, False]),
            *at_random(lambda n, draw: (torch.rand(n, generator=draw),)),
        ),
        impostors=(tie,),
    )
    assert judge(exercise, exercise.function_of(tie)).mistake == "above"
    # Wrong at 0.5 as well, and in most other cases.
    assert judge(exercise, lambda scores: scores > 0.9).mistake == ""


def test_an_endless_loop_costs_one_time_limit_only():
    calls = []

    def forever(box, others):
        calls.append(1)
        while True:
            pass

    report = judge(IOU, forever, seconds=0.2)
    assert "no answer in time" in report.sentences[1]
    assert len(calls) == 1


def test_only_nothing_at_all_is_wrong():
    def fails_on_none(box, others):
        return right(box, others) if len(others) else torch.zeros(1)[1]

    report = judge(IOU, lambda box, others: right(box, others) if len(others) else [1.0])
    assert report.mistake in ("shape", "empty")
    assert judge(IOU, fails_on_none).passed["on paper"] == (10, 10)


@pytest.mark.parametrize(
    "dress",
    [
        lambda answer: answer.tolist(),
        lambda answer: tuple(answer.tolist()),
        lambda answer: answer.numpy(),
        lambda answer: answer.double(),
        lambda answer: answer.half(),
        lambda answer: answer.requires_grad_(),
        lambda answer: torch.stack([answer, answer], dim=1)[:, 0],
        lambda answer: [one for one in answer],  # noqa: C416  # a list of tensors
        lambda answer: [np.float64(one) for one in answer.tolist()],
    ],
)
def test_right_answers_in_any_dress_are_accepted(dress):
    report = judge(IOU, lambda box, others: dress(right(box, others)))
    assert report.verdict == "right", report.sentences


@pytest.mark.parametrize(
    ("expected", "got", "symptom"),
    [
        (torch.tensor([0, 2]), torch.tensor([0.0, 2.0]), "type"),
        (torch.tensor([0, 2]), torch.tensor([2, 0]), "order"),
        (torch.zeros(3, 2), torch.zeros(2, 3), "shape"),
        (torch.zeros(3), torch.zeros(3, 3), "shape"),
        ((torch.zeros(2), "a"), (torch.zeros(2), "b"), ""),
        ((torch.zeros(2), torch.zeros(2)), (torch.zeros(3), torch.zeros(3)), "shape"),
        ({"a": 1}, {"b": 1}, "shape"),
        ({"a": 1}, [1], "type"),
        ([1, [2, 3]], [1], "shape"),
        (True, False, ""),
        (None, 3, ""),
        (float("nan"), 0.0, ""),
        (3, 10**400, ""),
        ([1, 2], [1, 10**5000], ""),
    ],
)
def test_differences_are_found_and_named(expected, got, symptom):
    found = difference(plain(expected), plain(got), 1e-4)
    assert found is not None
    assert found.symptom == symptom


def test_of_several_tensors_each_is_compared():
    found = difference(plain((torch.zeros(1), torch.zeros(1))), plain((torch.zeros(2), torch.zeros(2))), 1e-4)
    assert found.fact == "The shape should be (1,) and is (2,)."
    assert found.expected == "[0] in part 0"


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (torch.tensor([0, 2]), [np.int32(0), 2]),
        (torch.tensor([True, False]), [1, 0]),
        (float("nan"), torch.tensor(float("nan"))),
        (torch.zeros(0, 4), []),
        (1.0, torch.tensor(1.0)),
        ({"a": torch.ones(2)}, {"a": [1, 1]}),
        ((torch.ones(2), [1, 2]), [[1, 1], torch.tensor([1, 2])]),
        (None, None),
        ({1, 2}, {2, 1}),
    ],
)
def test_equal_answers_are_equal(expected, got):
    assert difference(plain(expected), plain(got), 1e-4) is None


def test_what_a_failing_case_prints_is_shown(capsys):
    def talks(box, others):
        print("box", box.tolist())
        return torch.zeros(len(others))

    check.iou_one_cxcywh(talks)
    assert capsys.readouterr().out.startswith("box [4.0, 4.0, 4.0, 4.0]\nNot yet, a box with itself")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, "should have 4 parts"),
        ("xyxy", "should have 4 parts"),
        (("xyxy", "xywh", ..., ...), "Part 3 of read_the_format is still `...`"),
        (("xyxy", "xywh", "cxcywh", "YXyz"), "Not yet, row 4.\nGot 'YXyz'."),
    ],
)
def test_a_prediction_is_never_answered_by_the_checker(value, told, capsys):
    check.read_the_format(value)
    printed = capsys.readouterr().out
    assert told in printed
    assert "Expected" not in printed


# --- hints, solutions, progress ----------------------------------------------------------------------------------


def test_hints_come_one_at_a_time(capsys):
    hint()
    assert "Check an exercise first" in capsys.readouterr().out
    check.iou_one_cxcywh(halves_it)
    capsys.readouterr()
    for number in (1, 2, 3):
        hint()
        assert capsys.readouterr().out.startswith(f"Hint {number} of 3 for iou_one_cxcywh")
    hint()
    assert "all hints" in capsys.readouterr().out


def test_the_solution_is_shown_after_two_different_attempts_or_when_allowed(capsys, monkeypatch):
    solution("iou_one_cxcywh")
    assert "Check 2 different tries first" in capsys.readouterr().out
    check.iou_one_cxcywh(halves_it)
    check.iou_one_cxcywh(halves_it)
    capsys.readouterr()
    solution()
    assert "Check 1 different try first" in capsys.readouterr().out
    check.iou_one_cxcywh(always_the_same)
    capsys.readouterr()
    solution()
    assert capsys.readouterr().out == IOU.solution + "\n"
    solution("soft_nms")
    assert "Check 2" in capsys.readouterr().out
    monkeypatch.setenv("FRCNN_LESSONS_SOLUTIONS", "1")
    solution("soft_nms")
    assert capsys.readouterr().out.startswith("def soft_nms(")


def test_progress_is_kept_and_shown(capsys):
    check.iou_one_cxcywh(right)
    check.soft_nms(lambda *_: 3)
    capsys.readouterr()
    progress()
    assert "01          1/6     1/10" in capsys.readouterr().out
    assert notes_of("iou_one_cxcywh")["solved"]
    assert notes_of("soft_nms")["mistake"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"iou_one_cxcywh": 3}', '{"iou_one_cxcywh": {"attempts": 1}}']
)
def test_a_damaged_progress_file_stops_nothing(content, capsys):
    progress_file().parent.mkdir(parents=True)
    progress_file().write_text(content)
    progress()
    check.iou_one_cxcywh(halves_it)
    hint()
    check.iou_one_cxcywh(right)
    assert "iou_one_cxcywh: right." in capsys.readouterr().out
    assert json.loads(progress_file().read_text())["iou_one_cxcywh"]["solved"]


def test_a_progress_file_that_cannot_be_written_stops_nothing(capsys):
    progress_file().parent.parent.mkdir(exist_ok=True)
    progress_file().parent.write_text("a file where the folder should be")
    check.iou_one_cxcywh(right)
    progress()
    assert capsys.readouterr().out.startswith("iou_one_cxcywh: right.")


def test_a_kernel_ends_an_endless_loop_and_goes_on(tmp_path):
    source = [
        "import time\nfrom frcnn_lessons.exercises import check",
        "def iou_one_cxcywh(box, others):\n    while True:\n        time.sleep(10)\n\n\n"
        "check.iou_one_cxcywh(iou_one_cxcywh)",
        "print('goes on')",
    ]
    path = tmp_path / "01_loop.ipynb"
    path.write_text(writes(new_notebook(cells=[new_code_cell(cell) for cell in source])))
    run = lessons.execute(path, threads=1, cell_timeout=60)
    assert run.failure == ""
    _, checked, last = run.notebook.cells
    assert "got no answer in time" in checked.outputs[0].text
    assert last.outputs[0].text == "goes on\n"


def test_the_look_of_figures_is_left_as_it_was():
    size = matplotlib.rcParams["font.size"]
    assert judge(IOU, restyles).verdict == "right"
    assert matplotlib.rcParams["font.size"] == size
