"""Judge an answer: which case fails first, and what is known of the mistake.

A likely mistake is named only where it is all but certain: when the answers equal those of a known wrong answer in
every case in which that one is wrong (two cases at least, among them the one shown, and a fair share of all that are
wrong here: whoever leaves a threshold out is wrong at the threshold, too), or when it is a fact, such as a shape or a
changed input. Else expected and got have to do: a wrong hint is worse than none.
"""

import ast
import dis
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np

from frcnn_lessons.exercises.comparing import Difference, difference, is_rounded, plain, same_inputs, shown
from frcnn_lessons.exercises.description import Case, Exercise, Impostor, source_of
from frcnn_lessons.exercises.running import Outcome, OutOfTime, place_of, run_safely

PATIENCE = 60.0  # seconds for a case of our own functions, which end
FAIR_SHARE = 0.25  # of the cases that are wrong, so many at least are explained by a mistake that is named


@dataclass
class Answer:
    """What a function answered in one case.

    Attributes:
        value: the answer, or what an experiment measured, as `plain` copies it.
        outcome: of the call.
        changed: what it did to its inputs, in a sentence.
        nothing: whether the function itself returned None.
    """

    value: Any
    outcome: Outcome
    changed: str = ""
    nothing: bool = False


@dataclass
class Report:
    """What is to be said of an answer.

    Attributes:
        verdict: "right", "not yet" or "not attempted".
        sentences: at most three: the case, expected and got, the likely mistake.
        case: the first that failed.
        mistake: the impostor's name, or a word for the symptom; "" if nothing is known.
        passed: by group, how many cases passed, and of how many; empty where not all were run.
        printed: what the function printed in the case that failed.
        expected, got: in that case, for the picture.
    """

    verdict: str
    sentences: list[str] = field(default_factory=list)
    case: Case | None = None
    mistake: str = ""
    passed: dict[str, tuple[int, int]] = field(default_factory=dict)
    printed: str = ""
    expected: Any = None
    got: Any = None


@matplotlib.rc_context()  # around all cases: it takes longer than most of them
def judge(
    exercise: Exercise, given: Any, seconds: float | None = None, starting: Callable[[], None] = lambda: None
) -> Report:
    """Judge a student's function or value; never raises for what is wrong with it.

    Args:
        exercise: the exercise.
        given: the function, or the value where the exercise asks for one.
        seconds: the time for each case; the exercise's own by default.
        starting: called before each case.

    Raises:
        KeyboardInterrupt: somebody interrupted the kernel.
    """
    if _is_untouched(exercise, given):
        return Report("not attempted")
    function = given
    if exercise.asks_for_a_value:
        if fault := _fault_of_value(exercise, given):
            return Report("not yet", [fault], mistake="type")
        function = lambda: given  # noqa: E731
    elif not callable(given):
        return Report("not yet", [f"{exercise.name} should be a function and is {shown(given)}."], mistake="type")
    elif used := forbidden_names(function, exercise.forbidden):
        return Report("not yet", [f"This exercise is to be done without `{used}`."], mistake="forbidden")

    limit = exercise.seconds if seconds is None else seconds
    expected = right_answers(exercise)
    answers: list[Answer] = []
    for case in exercise.cases:
        starting()
        answers.append(_answer(exercise, function, case, limit))
        if isinstance(answers[-1].outcome.error, OutOfTime):
            break  # the others would take as long
    wrong = [
        place
        for place, (right, answer) in enumerate(zip(expected, answers, strict=False))
        if _problem(exercise, right, answer)
    ]
    passed = {}
    if len(answers) == len(expected):
        for group in ("on paper", "edge", "random"):
            places = [place for place, case in enumerate(exercise.cases) if case.group == group]
            if places:
                passed[group] = (len(set(places) - set(wrong)), len(places))
    if not wrong:
        return Report("right", passed=passed)
    first = wrong[0]
    report = _first_failure(exercise, function, exercise.cases[first], expected[first], answers[first])
    report.passed = passed
    if exercise.kind == "catch the mistake" and report.expected is True:
        faulty = [place for place, right in enumerate(expected) if right.value is True]
        caught = len(faulty) - len(set(faulty) & set(wrong))
        report.sentences[:2] = [
            f"{caught} of {len(faulty)} faulty functions caught.",
            f"One that got away differs where {exercise.cases[first].label}.",
        ]
    impostor = _recognised(exercise, expected, answers, wrong)
    if impostor is not None:
        report.mistake = impostor.name
        if impostor.hint:
            report.sentences[2:] = [impostor.hint]
    elif not report.mistake:
        report.sentences[2:] = _symptom_over_all(exercise, answers, expected, wrong, report)
    if exercise.given and report.mistake == exercise.given and _same_code(function, exercise.starting_point):
        report.verdict = "not attempted"
        report.sentences[2:] = ["This is the code as it was given."]
    return report


def _answer(exercise: Exercise, function: Callable[..., Any], case: Case, seconds: float) -> Answer:
    """What a function answers in a case; inputs are watched on the way."""
    notes = Answer(None, Outcome())
    names = _parameters(exercise.right_function)

    def watched(*inputs: Any, **named: Any) -> Any:
        before = plain(inputs)
        value = function(*inputs, **named)
        notes.nothing |= value is None
        for place, (old, new) in enumerate(zip(before, plain(inputs), strict=True)):
            if not exercise.may_change and not notes.changed and not same_inputs(old, new):
                name = names[place] if place < len(names) else f"number {place + 1}"
                notes.changed = (
                    f"It changed its input `{name}`: work on a copy (`{name}.clone()`), "
                    "and write `a = a + b` where `a += b` changes what was handed in."
                )
        return value

    inputs = case.fresh_inputs()
    if case.experiment is None:
        notes.outcome = run_safely(watched, inputs, seconds)
    else:
        notes.outcome = run_safely(case.experiment, (watched, *inputs), seconds)
    notes.value = plain(notes.outcome.value)
    return notes


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _problem(exercise: Exercise, right: Answer, answer: Answer) -> Difference | str | None:
    """What is wrong with an answer: a symptom in a word, or a difference; None for nothing."""
    if answer.outcome.error is not None:
        return "time" if isinstance(answer.outcome.error, OutOfTime) else "exception"
    if found := difference(right.value, answer.value, exercise.tolerance, exercise.any_order):
        return found
    if answer.changed and not right.changed:
        return "changed"
    if answer.outcome.drew and not right.outcome.drew and not exercise.may_draw:
        return "drew"
    return None


def _first_failure(
    exercise: Exercise, function: Callable[..., Any], case: Case, right: Answer, answer: Answer
) -> Report:
    """Say which case failed, and what is a fact about it."""
    report = Report("not yet", case=case, printed=answer.outcome.printed, expected=right.value, got=answer.value)
    asked = ""
    if not exercise.asks_for_a_value and case.experiment is None:
        asked = f": {exercise.name}({', '.join(map(shown, case.fresh_inputs()))})"
    said = f"Not yet, {case.label}{asked}"
    report.sentences = [said if said.endswith("?") else f"{said}."]
    problem = _problem(exercise, right, answer)
    expected = shown(right.value)
    if isinstance(problem, Difference):
        report.sentences.append(
            f"Got {problem.got}." if _is_secret(exercise) else f"Expected {problem.expected}, got {problem.got}."
        )
        fact, symptom = problem.fact, problem.symptom
        if symptom == "nothing" and any(one.value is None for one in right_answers(exercise)):
            fact, symptom = "", ""  # None is an answer here
        report.sentences += [answer.changed or fact] if answer.changed or fact else []
        report.mistake = "changed" if answer.changed else symptom
    elif problem == "time":
        report.sentences.append(f"Expected {expected}, got no answer in time: does a loop never end?")
        report.mistake = "time"
    elif problem == "exception":
        error = answer.outcome.error
        assert error is not None
        place = place_of(error, function)
        if isinstance(error, SystemExit):
            told = "it called exit(), which would end a program"
        elif not place and answer.nothing:
            told = "it returned nothing: is there a `return`?"
        else:
            told = f"it raised {type(error).__name__}: {_short(error)}" + (f" in {place}" if place else "")
        report.sentences.append(f"Expected {expected}, but {told}." if not _is_secret(exercise) else f"But {told}.")
        report.mistake = "nothing" if answer.nothing and not place else "exception"
    elif problem == "changed":
        report.sentences += ["The answer is right.", answer.changed]
        report.mistake = "changed"
    else:
        report.sentences += [
            "The answer is right.",
            "But it draws or seeds the global random numbers: use the generator that is handed in, or none.",
        ]
        report.mistake = "drew"
    return report


def _is_secret(exercise: Exercise) -> bool:
    """Whether what was expected is the very thing that the student is to find."""
    return exercise.kind in ("predict", "measure")


def _short(error: BaseException) -> str:
    lines = str(error).splitlines() or ["(no message)"]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:200] + " ..."


def _recognised(exercise: Exercise, expected: list[Answer], answers: list[Answer], wrong: list[int]) -> Impostor | None:
    """The impostor whose answers these are wherever it is wrong; of several, the one that is wrong most often."""
    if len(answers) < len(expected):
        return None
    best, most = None, 0
    for impostor in exercise.impostors:
        theirs, places = answers_of(exercise, impostor), wrong_places(exercise, impostor)
        fits = all(alike(exercise, theirs[place], answers[place]) for place in places)
        enough = 1 if exercise.asks_for_a_value else max(2, FAIR_SHARE * len(wrong))
        if fits and len(places) >= enough and wrong[0] in places and len(places) > most:
            best, most = impostor, len(places)
    return best


@functools.cache
def right_answers(exercise: Exercise) -> list[Answer]:
    """What the reference answers, case by case."""
    return [_answer(exercise, exercise.right_function, case, PATIENCE) for case in exercise.cases]


@functools.cache
def answers_of(exercise: Exercise, impostor: Impostor) -> list[Answer]:
    """What a known wrong answer answers, case by case."""
    function = exercise.function_of(impostor)
    return [_answer(exercise, function, case, PATIENCE) for case in exercise.cases]


@functools.cache
def wrong_places(exercise: Exercise, impostor: Impostor) -> list[int]:
    """In which cases a known wrong answer is wrong."""
    pairs = zip(right_answers(exercise), answers_of(exercise, impostor), strict=True)
    return [place for place, (right, theirs) in enumerate(pairs) if _problem(exercise, right, theirs)]


def alike(exercise: Exercise, one: Answer, other: Answer) -> bool:
    """Whether two answers are the same, mistakes included."""
    if (one.outcome.error, other.outcome.error) != (None, None):
        return type(one.outcome.error) is type(other.outcome.error)
    return (bool(one.changed), one.outcome.drew) == (bool(other.changed), other.outcome.drew) and (
        difference(one.value, other.value, exercise.tolerance) is None
    )


def _symptom_over_all(
    exercise: Exercise, answers: list[Answer], expected: list[Answer], wrong: list[int], report: Report
) -> list[str]:
    """What can be said for certain when all answers are looked at together."""
    if len(answers) < len(expected) or exercise.asks_for_a_value:
        return []
    if all(_is_empty(exercise.cases[place]) for place in wrong):
        report.mistake = "empty"
        return ["All else is right: nothing at all is a legal input, too."]
    if len(wrong) > 2 and all(difference(answers[0].value, a.value, exercise.tolerance) is None for a in answers):
        report.mistake = "constant"
        return ["It gives the same answer whatever it is given."]
    pairs = [(right.value, answer.value) for right, answer in zip(expected, answers, strict=True)]
    if len(wrong) > 2 and any(all(is_rounded(*pair, decimals) for pair in pairs) for decimals in range(4)):
        report.mistake = "rounded"
        return ["Right, but rounded: keep all digits."]
    return []


def _is_empty(case: Case) -> bool:
    inputs = [one for one in map(plain, case.fresh_inputs()) if isinstance(one, (np.ndarray, list, tuple))]
    return any(np.size(one) == 0 if isinstance(one, np.ndarray) else not one for one in inputs)


def _fault_of_value(exercise: Exercise, given: Any) -> str:
    """What is missing in a value before its parts can be looked at."""
    wanted, got = exercise.answer, plain(given)
    if isinstance(wanted, dict) and (not isinstance(got, dict) or set(got) != set(wanted)):
        return f"{exercise.name} should be a dict with the keys {', '.join(map(repr, wanted))}."
    if isinstance(wanted, (tuple, list)):
        if isinstance(got, str) or not hasattr(got, "__len__") or len(got) != len(wanted):
            return f"{exercise.name} should have {len(wanted)} parts, as in {exercise.name} = {exercise.stub}."
        if missing := [place for place, one in enumerate(got) if one is ...]:
            return f"Part {missing[0] + 1} of {exercise.name} is still `...`."
    if isinstance(got, dict) and (keys := [key for key, one in got.items() if one is ...]):
        return f"{exercise.name}[{keys[0]!r}] is still `...`."
    return ""


# --- the code itself ---------------------------------------------------------------------------------------------


def _is_untouched(exercise: Exercise, given: Any) -> bool:
    """Whether this is the stub: `...` for a value, a function without a body."""
    if exercise.asks_for_a_value:
        parts = (
            list(given.values()) if isinstance(given, dict) else given if isinstance(given, (list, tuple)) else [given]
        )
        return len(parts) > 0 and all(part is ... for part in parts)
    if given is ...:
        return True
    code = getattr(inspect.unwrap(given), "__code__", None) if callable(given) else None
    if code is None or exercise.given:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP", "RETURN_VALUE")]
    return all(step.opname in ("LOAD_CONST", "RETURN_CONST") and step.argval is None for step in steps)


def _same_code(function: Callable[..., Any], source: str) -> bool:
    try:
        return _without_line_breaks(source_of(function)) == _without_line_breaks(source)
    except (OSError, TypeError, SyntaxError):  # no source to be had: behaviour has to do
        return True


def _without_line_breaks(source: str) -> str:
    """The code, wherever the lines of its docstrings end: a lesson wraps them to the width of a page."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = " ".join(node.value.split())
    return ast.dump(tree)


def forbidden_names(function: Callable[..., Any], forbidden: tuple[str, ...]) -> str:
    """The first name in the function's source that the exercise does not allow; "" for none.

    It is a reminder and no guard: whoever wants to fool it can.
    """
    if not forbidden:
        return ""
    try:
        tree = ast.parse(source_of(function))
    except (OSError, TypeError, SyntaxError):
        return ""
    around = getattr(inspect.unwrap(function), "__globals__", {})
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, (ast.Attribute, ast.Name)):
            names = _full_names(node, around)
        for name in names:
            if any(name == no or name.startswith(no + ".") or (no[0] == "." and name.endswith(no)) for no in forbidden):
                return ast.unparse(node)
    return ""


def _full_names(node: ast.Attribute | ast.Name, around: dict[str, Any]) -> list[str]:
    """What a name such as `boxes.iou` stands for: "frcnn_lessons.boxes.iou"; a method also as ".iou"."""
    written = ast.unparse(node)
    first, _, rest = written.partition(".")
    names = [f".{node.attr}"] if isinstance(node, ast.Attribute) else []
    thing = around.get(first)
    if inspect.ismodule(thing):
        names.append(f"{thing.__name__}.{rest}" if rest else "")
    elif thing is not None and not rest and getattr(thing, "__module__", None):
        names.append(f"{thing.__module__}.{getattr(thing, '__name__', '')}")
    return names
