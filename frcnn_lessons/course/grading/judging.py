"""Judge answers with the checker that the notebooks have, but with the student's function in another process.

Points of a function: a third each for the cases on paper, the edges and the random ones, as far as the exercise has
them. A group counts as a whole, and edges and random cases only once all cases on paper are right: else a constant
would earn something. Nothing counts where most random cases are wrong: whoever has looked up the others, which are
public, has no function. Of a value each part counts alike. A test that is to catch faulty functions earns by those it
catches, and nothing if it accuses a right one.
"""

import ast
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from frcnn_lessons.course.grading.court import Broken, Court, Forbidden
from frcnn_lessons.course.grading.key import Key, graded
from frcnn_lessons.course.grading.names import names_not_allowed
from frcnn_lessons.course.grading.wire import NotPlain, encoded, one_line
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.checking import Report, judge
from frcnn_lessons.exercises.description import Exercise
from frcnn_lessons.exercises.running import OutOfTime

# Seconds for our own part of a case. The witness ends an answer at its time; the checker's alarm, which may go off amid
# a lock of ours and turn into another error there, is only for what nobody foresaw.
GRACE = 60.0
RETURN_FUNCTIONS = ("resume",)  # exercises whose answers no pipe can carry
VERDICTS = ("right", "not yet", "not attempted", "not allowed", "by hand")


@dataclass
class Mark:
    """What an answer is worth.

    Attributes:
        points: None where a person has to read it.
        most: points of the exercise.
        verdict: one of `VERDICTS`.
        says: to the student, a few sentences.
        mistake: the known mistake, or a word for the symptom.
        groups: by group of cases, how many passed and of how many.
        value: the answer to an exercise of which each student can have their own data, as `wire.encoded` gives it.
    """

    points: float | None
    most: int
    verdict: str
    says: list[str] = field(default_factory=list)
    mistake: str = ""
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    value: Any = None


def mark_of(
    court: Court,
    key: Key,
    name: str,
    answer: str,
    before: Sequence[str] = (),
    accepted: bool = False,
    patience: float = 1,
) -> Mark:
    """Judge one answer; never raises for anything that the answer does.

    Args:
        answer: the source of the student's cell.
        before: the notebook's own code cells, and what the student's other cells define and this one uses.
        accepted: an instructor has looked at it: names that are not allowed are let pass.
        patience: by how much the time for a case is multiplied.
    """
    exercise, most = graded(key, name), EXERCISES[name].points
    if exercise.kind == "explain":
        untouched = not answer.strip() or answer.strip() == "*Write your answer here, in place of this line.*"
        if untouched:
            return Mark(0, most, "not attempted")
        return Mark(None, most, "by hand", ["This answer is read by a person."])
    if _is_untouched(exercise, answer):
        return Mark(0, most, "not attempted")
    forbidden = EXERCISES[name].forbidden
    helpers = [source for source in before if source not in before[:1]]
    seconds = exercise.seconds * patience
    try:
        if not accepted and (used := names_not_allowed("\n".join([*helpers, answer]), before, forbidden)):
            return _not_allowed(most, used[0])
        if name in RETURN_FUNCTIONS:
            return Mark(None, most, "by hand", ["What this exercise gives back is judged by a person."])
        modules = () if accepted else tuple(one for one in forbidden if one[0] != ".")
        witness = court.hear(name, answer, before, modules, seconds)
        try:
            report, share = _heard(exercise, witness, seconds)
        finally:
            witness.close()
    except Forbidden as error:
        return _not_allowed(most, str(error))
    except NotPlain:
        return Mark(None, most, "by hand", ["What this exercise hands over is judged by a person."])
    except OutOfTime:
        return Mark(0, most, "not yet", ["The cell did not end in time: does a loop never end?"], "time")
    except Broken as error:
        return Mark(0, most, "not yet", [f"Running the cell failed: {error}."], "exit")
    except Exception as error:
        return Mark(0, most, "not yet", [one_line(f"The cell raised {type(error).__name__}: {error}.")], "exception")
    says = [*map(one_line, report.sentences)]
    if report.case is not None and report.case.group == "random":  # what is hidden stays so
        passed, count = report.passed.get("random", (0, 0))
        about = f"{count - passed} of {count} random cases are wrong." if count else "A random case is wrong."
        says = [about, *says[2:]]
    value = encoded(witness.value) if exercise.drawn else None
    return Mark(round(most * share, 2), most, report.verdict, says, report.mistake, report.passed, value)


def _heard(exercise: Exercise, witness: Any, seconds: float) -> tuple[Report, float]:
    """The checker's report, and the share of the points."""
    if exercise.asks_for_a_value:
        if witness.kind != "value":
            return Report("not yet", [f"{exercise.name} should be a value and is a function."], mistake="type"), 0.0
        report = judge(exercise, witness.value)
        passed = [sum(pair) for pair in zip(*report.passed.values(), strict=True)] or [0, 1]
        return report, 1.0 if report.verdict == "right" else passed[0] / passed[1]
    if witness.kind != "function":
        return judge(exercise, witness.value), 0.0

    def told(*inputs: Any, **named: Any) -> Any:
        state = random.getstate()  # a checker of types draws from it to choose what it looks at
        try:
            return witness(*inputs, **named)
        except (NotPlain, Forbidden) as error:
            ended.append(error)
            raise
        finally:
            random.setstate(state)

    ended: list[NotPlain | Forbidden] = []
    function = functools.partial(told)  # it has no code of its own in which the checker could look for a line
    limit = seconds + GRACE
    report = judge(exercise, function, limit, witness.start_case)
    share = _share(exercise, report)
    if exercise.kind == "catch the mistake" and not share:  # afterwards: what is judged first would be known as right
        honest = replace(exercise, cases=[case for case in exercise.cases if case.gives is False])
        accused = judge(honest, function, limit, witness.start_case)
        report = report if accused.verdict == "right" else accused
    if ended:
        raise ended[0]
    return report, share


def _share(exercise: Exercise, report: Report) -> float:
    if report.verdict == "right":
        return 1.0
    if exercise.kind == "catch the mistake":
        accepted, right = report.passed.get("edge", (0, 1))
        caught, faulty = report.passed.get("on paper", (0, 1))
        return caught / faulty if accepted == right else 0.0
    passed, count = report.passed.get("random", (0, 0))
    if passed < count / 2:
        return 0.0
    whole = [group for group, (passed, count) in report.passed.items() if passed == count]
    return len(whole) / len(report.passed) if "on paper" in whole else 0.0


def _is_untouched(exercise: Exercise, answer: str) -> bool:
    try:
        return not answer.strip() or ast.dump(ast.parse(answer)) == ast.dump(ast.parse(exercise.starting_point))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _not_allowed(most: int, used: str) -> Mark:
    says = f"`{one_line(used, 80)}` is not allowed here; whoever teaches can accept it by hand."
    return Mark(0, most, "not allowed", [says], "name")
