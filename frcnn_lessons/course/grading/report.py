"""Tables of a graded course: points as CSV, which mistake how many made, and answers that are alike or another's."""

import ast
import csv
import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from frcnn_lessons.course.grading.key import Key, graded
from frcnn_lessons.course.grading.wire import decoded
from frcnn_lessons.exercises.catalogue import EXERCISES, LESSONS
from frcnn_lessons.exercises.comparing import difference, plain
from frcnn_lessons.files import written_whole

# By student: {"marks": {exercise: mark}, "answers": {exercise: source}, "variants": {exercise: name}, "notes": [...]}.
Grades = dict[str, dict[str, Any]]
SHORTEST = 40  # nodes of a syntax tree: shorter answers are alike by themselves
GROUPS = ("on paper", "edge", "random")


def write_points(grades: Grades, path: Path) -> None:
    """A row a student: sum, then points and passed cases by group for each exercise; "?" where a person has to read.

    The last column says what was odd about a submission, or that there is none.
    """
    names = _exercises(grades)
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
            _most(names),
            sum(m["points"] is None for m in marks),
        ]
        for name in names:
            mark = one["marks"].get(name, {"points": "", "groups": {}})
            row.append("?" if mark["points"] is None else _number(mark["points"]))
            row += ["/".join(map(str, mark["groups"][group])) if group in mark["groups"] else "" for group in GROUPS]
        rows.append([*row, _cell(" ".join(one["notes"]))])
    _write([[*head, "notes"], *rows], path)


def write_term(by_lesson: dict[str, Grades], path: Path) -> None:
    """A row a student: points and "of" for each lesson, and in all; "?" where a person has to read, or to grade."""
    students = sorted({student for grades in by_lesson.values() for student in grades})
    most = {lesson: _most(_exercises(grades)) for lesson, grades in by_lesson.items()}
    head = ["student", *(column for lesson in by_lesson for column in (lesson, f"{lesson} of")), "points", "of"]
    rows = []
    for student in students:
        sums: list[float | str] = []
        for grades in by_lesson.values():
            points = [mark["points"] for mark in grades.get(student, {"marks": {}})["marks"].values()]
            sums.append("?" if student not in grades or None in points else sum(points))
        in_all = "?" if "?" in sums else sum(float(one) for one in sums)
        columns = [one for pair in zip(map(_number, sums), most.values(), strict=True) for one in pair]
        rows.append([_cell(student), *columns, _number(in_all), sum(most.values())])
    _write([head, *rows], path)


def write_mistakes(grades: Grades, key: Key, path: Path) -> None:
    """A row a mistake: exercise, its name, how many students made it, and what to say in the next lecture."""
    count: Counter[tuple[str, str]] = Counter()
    hints: dict[tuple[str, str], str] = {}
    for one in grades.values():
        made = [(name, mark["mistake"]) for name, mark in one["marks"].items() if mark["mistake"]]
        count.update(made)
        for name in dict(made):
            of_variant = graded(replace(key, variants=one["variants"]), name).impostors
            hints.update({(name, one.name): one.hint for one in of_variant})
    rows = [
        [EXERCISES[name].number, name, mistake, students, hints.get((name, mistake), "")]
        for (name, mistake), students in count.most_common()
    ]
    _write([["number", "exercise", "mistake", "students", "what to say"], *rows], path)


def write_to_read(grades: Grades, key: Key, path: Path) -> bool:
    """Answers that a person has to read, as text, below how points are given or the solution; False for none."""
    parts: list[str] = []
    for name in _exercises(grades):
        above = ""
        for student, one in sorted(grades.items()):
            if name in one["marks"] and one["marks"][name]["points"] is None:
                exercise = graded(replace(key, variants=one["variants"]), name)
                guide = f"{exercise.number} {exercise.title}\n\n{exercise.guide or exercise.solution}"
                parts += [guide] if guide != above else []
                parts += [f"--- {name}, {student} ---", one["answers"][name]]
                above = guide
    if parts:
        with written_whole(path) as temporary:
            temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)
    return bool(parts)


def alike(grades: Grades) -> list[str]:
    """Sentences on answers that equal a solution of the course, or each other, when names and comments are left out.

    A reason to look, and no proof: short answers are left out, as there is one way to write them.
    """
    lines = []
    for name in _exercises(grades):
        exercise = EXERCISES[name]
        if exercise.reference is None or exercise.kind == "find the bug":
            continue
        by_shape: dict[str, list[str]] = defaultdict(list)
        for student, one in sorted(grades.items()):
            if (shape := _shape(one["answers"].get(name, ""))) and one["marks"][name]["verdict"] != "not attempted":
                by_shape[shape].append(student)
        solutions = [exercise.solution, *(exercise.variant(variant.name).solution for variant in exercise.variants)]
        copied = [student for shape in {_shape(one) for one in solutions} for student in by_shape.pop(shape, [])]
        if copied:
            lines.append(f"{name}: as in the course's own solution: {', '.join(sorted(copied))}")
        lines += [f"{name}: alike: {', '.join(students)}" for students in by_shape.values() if len(students) > 1]
    return lines


def borrowed(grades: Grades) -> list[str]:
    """Sentences on answers that are wrong for a student's own data, and right for those of another."""
    lines = []
    for name in _exercises(grades):
        base = EXERCISES[name]
        if base.drawn is None:
            continue
        of = {
            student: base.variant(one["variants"][name]) for student, one in grades.items() if one["variants"].get(name)
        }
        for student, own in of.items():
            mark = grades[student]["marks"].get(name)
            if mark is None or mark["value"] is None or mark["verdict"] == "right":
                continue
            value = plain(decoded(mark["value"]))
            others = [other for other, theirs in of.items() if difference(theirs.answer, value, own.tolerance) is None]
            if others:
                lines.append(f"{name}: {student} gave what is right for the data of {', '.join(others)}")
    return lines


def table_of_lessons() -> str:
    """Lessons with the exercises, points and minutes of their core, in Markdown: what a syllabus counts with."""
    head = ("lesson", "exercises", "core", "points", "points of the core", "minutes of the core", "with variants")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for lesson in LESSONS:
        core = [exercise for exercise in lesson if exercise.core]
        numbers = [len(lesson), len(core), sum(e.points for e in lesson), sum(e.points for e in core)]
        numbers += [sum(e.minutes for e in core), sum(bool(e.variants or e.drawn) for e in lesson)]
        lines.append(f"| {lesson[0].number[:2]} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def _exercises(grades: Grades) -> list[str]:
    return list(dict.fromkeys(name for one in grades.values() for name in one["marks"]))


def _most(names: list[str]) -> int:
    return sum(EXERCISES[name].points for name in names)


def _write(rows: list[list[Any]], path: Path) -> None:
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def _shape(source: str) -> str:
    """An answer without its names, docstrings and layout; "" if it is short, or no Python."""
    try:
        tree = ast.parse(source)
        ast.dump(tree)
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
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text
