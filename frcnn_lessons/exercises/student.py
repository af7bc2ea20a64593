"""What a student calls: `check.<name>(...)`, `hint()`, `solution()` and `progress()`."""

import functools
import hashlib
import os
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt

from frcnn_lessons import plots
from frcnn_lessons.exercises.catalogue import EXERCISES, LESSONS
from frcnn_lessons.exercises.checking import Report, judge
from frcnn_lessons.exercises.comparing import shown
from frcnn_lessons.exercises.description import Exercise
from frcnn_lessons.exercises.progress import all_notes, note, notes_of

ALLOWED = "FRCNN_LESSONS_SOLUTIONS"  # set to 1, `solution()` shows every solution: for instructors
ATTEMPTS = 2  # different ones, before `solution()` shows it

_last = {"name": ""}  # what was checked last: what `hint()` and `solution()` are about


def check_answer(name: str, given: Any, variant: str = "") -> None:
    """Check an answer and print what is wrong with it, in three sentences at most; note it in the progress file.

    Args:
        name: of the exercise.
        given: the student's function, or value.
        variant: the name of the variant that was handed out.
    """
    exercise = EXERCISES[name].variant(variant) if variant else EXERCISES[name]
    _last["name"] = name
    if exercise.kind == "explain":
        print(f"{name}: this answer is read by a person.")
        return
    report = judge(exercise, given)
    if report.printed:
        print(report.printed, end="")
    if report.verdict == "right":
        print(f"{name}: right.")
        note(name, solved=True, mistake="")
        return
    if report.verdict == "not attempted":
        print(" ".join([f"{name}: not attempted yet.", *(report.sentences[-1:])]))
        return
    print("\n".join(report.sentences))
    attempts = notes_of(name)["attempts"]
    if (mark := _fingerprint(given)) not in attempts:
        attempts.append(mark)
    note(name, attempts=attempts, mistake=report.mistake)
    _draw(exercise, report, given)


# One function an exercise, so that JupyterLab completes their names: check.iou_one_cxcywh(...)
check = SimpleNamespace(**{name: functools.partial(check_answer, name) for name in EXERCISES})


def hint(name: str = "") -> None:
    """Print the next hint for an exercise, by default the one that was checked last."""
    exercise = _exercise(name)
    if exercise is None:
        return
    number = notes_of(exercise.name)["hints"]
    if number >= len(exercise.hints):
        print(f"Those were all hints for {exercise.name}; solution() shows a right answer after {ATTEMPTS} attempts.")
        return
    print(f"Hint {number + 1} of {len(exercise.hints)} for {exercise.name}: {exercise.hints[number]}")
    note(exercise.name, hints=number + 1)


def solution(name: str = "") -> None:
    """Print a right answer to an exercise that was solved, or tried in two different ways."""
    exercise = _exercise(name)
    if exercise is None:
        return
    notes = notes_of(exercise.name)
    missing = ATTEMPTS - len(notes["attempts"])
    if missing > 0 and not notes["solved"] and os.environ.get(ALLOWED) != "1":
        print(f"Check {missing} different {'try' if missing == 1 else 'tries'} first; hint() helps on the way.")
        return
    print(exercise.solution)


def progress() -> None:
    """Print a table of what is solved, lesson by lesson, and draw it."""
    notes = all_notes()
    table = []
    for lesson in LESSONS:
        solved = [exercise for exercise in lesson if notes.get(exercise.name, {}).get("solved") is True]
        core = [exercise for exercise in lesson if exercise.core]
        table.append(
            (lesson[0].number[:2], sum(exercise in solved for exercise in core), len(core), len(solved), len(lesson))
        )
    print(f"{'lesson':8}{'core':>8}{'all':>8}")
    for number, core_solved, core_count, solved_count, count in table:
        print(f"{number:8}{core_solved:>5}/{core_count:<2}{solved_count:>5}/{count:<2}")
    numbers = [row[0] for row in table]
    _, ax = plt.subplots(figsize=(6.4, 0.6 + 0.3 * len(table)))
    ax.barh(numbers, [row[4] for row in table], color="#E3E3E3", label="all")
    ax.barh(numbers, [row[3] for row in table], color=plots.BLUE, label="solved")
    ax.set(title="Exercises solved", xlabel="exercises", ylabel="lesson")
    ax.invert_yaxis()
    ax.legend()
    plt.show()


def _exercise(name: str) -> Exercise | None:
    """The exercise asked for; says what to do where there is none."""
    name = name or _last["name"]
    if name not in EXERCISES:
        print(f"There is no exercise {name!r}; name one, as in hint('{next(iter(EXERCISES))}')." if name else
              "Check an exercise first, or name one, as in hint('" + next(iter(EXERCISES)) + "').")  # fmt: skip
        return None
    return EXERCISES[name]


def _fingerprint(given: Any) -> str:
    """The same for the same attempt: of a function its instructions, constants and names, of a value what it shows."""
    code = getattr(given, "__code__", None)
    words = (code.co_code, code.co_consts, code.co_names) if code is not None else shown(given)
    text = repr(words).split(" at 0x")[0] if code is None else repr([str(word).split(" at 0x")[0] for word in words])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _draw(exercise: Exercise, report: Report, given: Any) -> None:
    """Draw the case that failed, or a value; a picture of a wrong answer may fail as well."""
    if exercise.draw is None or report.case is None:
        return
    before = set(plt.get_fignums())
    with suppress(Exception):
        value = (given,) if exercise.asks_for_a_value else ()
        exercise.draw((*value, *report.case.fresh_inputs()), report.expected, report.got)
        plt.show()
    for number in set(plt.get_fignums()) - before:
        plt.close(number)
