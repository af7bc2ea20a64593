"""Tables of a graded course: points as CSV, which mistake how many made, and answers that are too much alike."""

import ast
import csv
import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from frcnn_lessons.course.grading.key import Key, graded
from frcnn_lessons.exercises.catalogue import EXERCISES, LESSONS
from frcnn_lessons.files import written_whole

Grades = dict[
    str, dict[str, Any]
]  # by student: {"marks": {exercise: mark}, "answers": {exercise: source}, "notes": [...]}
SHORTEST = 40  # nodes of a syntax tree: shorter answers are alike by themselves
GROUPS = ("on paper", "edge", "random")


def write_points(grades: Grades, path: Path) -> None:
    """A row a student: sum, then points and passed cases by group for each exercise; "?" where a person has to read."""
    names = list(dict.fromkeys(name for one in grades.values() for name in one["marks"]))
    head = ["student", "points", "of", "to read"]
    for name in names:
        head += [name, *(f"{name}: {group}" for group in GROUPS)]
    rows = []
    for student, one in sorted(grades.items()):
        marks = one["marks"].values()
        points = sum(mark["points"] or 0 for mark in marks)
        row: list[Any] = [
            _cell(student),
            _number(points),
            sum(m["most"] for m in marks),
            sum(m["points"] is None for m in marks),
        ]
        for name in names:
            mark = one["marks"].get(name, {"points": "", "groups": {}})
            row.append("?" if mark["points"] is None else _number(mark["points"]))
            row += ["/".join(map(str, mark["groups"][group])) if group in mark["groups"] else "" for group in GROUPS]
        rows.append(row)
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def write_mistakes(grades: Grades, key: Key, path: Path) -> None:
    """A row a mistake: exercise, its name, how many students made it, and what to say in the next lecture."""
    count: Counter[tuple[str, str]] = Counter()
    for one in grades.values():
        count.update((name, mark["mistake"]) for name, mark in one["marks"].items() if mark["mistake"])
    rows = []
    for (name, mistake), students in count.most_common():
        hints = {impostor.name: impostor.hint for impostor in graded(key, name).impostors}
        rows.append([EXERCISES[name].number, name, mistake, students, hints.get(mistake, "")])
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["number", "exercise", "mistake", "students", "what to say"], *rows])


def alike(grades: Grades, key: Key) -> list[str]:
    """Sentences on answers that equal the course's solution, or each other, when names and comments are left out.

    A reason to look, and no proof: short answers are left out, as there is one way to write them.
    """
    lines = []
    for name in dict.fromkeys(name for one in grades.values() for name in one["answers"]):
        exercise = graded(key, name)
        if exercise.reference is None or exercise.kind == "find the bug":
            continue
        by_shape: dict[str, list[str]] = defaultdict(list)
        for student, one in sorted(grades.items()):
            if (shape := _shape(one["answers"].get(name, ""))) and one["marks"][name]["verdict"] != "not attempted":
                by_shape[shape].append(student)
        copied = by_shape.pop(_shape(exercise.solution), []) + by_shape.pop(_shape(EXERCISES[name].solution), [])
        if copied:
            lines.append(f"{name}: as in the course's own solution: {', '.join(copied)}")
        lines += [f"{name}: alike: {', '.join(students)}" for students in by_shape.values() if len(students) > 1]
    return lines


def table_of_lessons() -> str:
    """Lessons with the exercises, points and minutes of their core, in Markdown: what a syllabus counts with."""
    head = ("lesson", "exercises", "core", "points", "points of the core", "minutes of the core", "with variants")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for lesson in LESSONS:
        core = [exercise for exercise in lesson if exercise.core]
        numbers = [len(lesson), len(core), sum(e.points for e in lesson), sum(e.points for e in core)]
        numbers += [sum(e.minutes for e in core), sum(bool(e.variants) for e in lesson)]
        lines.append(f"| {lesson[0].number[:2]} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def _shape(source: str) -> str:
    """An answer without its names, docstrings and layout; "" if it is short, or no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    nodes = 0
    for node in ast.walk(tree):
        nodes += 1
        if isinstance(node, ast.Name) and node.id in own:
            node.id = f"n{numbers[node.id]}"
        elif isinstance(node, ast.arg):
            node.arg, node.annotation = f"n{numbers[node.arg]}", None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
    return ast.dump(tree) if nodes >= SHORTEST else ""


def _number(points: float | str) -> str:
    return points if isinstance(points, str) else f"{points:g}"


def _cell(text: str) -> str:
    """A text that a spreadsheet does not take for a formula."""
    return "'" + text if text[:1] in "=+-@" else text
