"""A class's submissions of one lesson from `collect` to `export`, in seconds, and what 300 would take.

Each submission answers every exercise: six in ten answers are right, three are known mistakes of the catalogue, one is
left alone; every tenth student has an endless loop. CPU seconds stand beside, as they depend less on what else the
machine does.

    python tests/benchmarks/grading.py [LESSON] [STUDENTS]
"""

import contextlib
import io
import os
import random
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import nbformat

from frcnn_lessons.course.grading import commands
from frcnn_lessons.course.grading.key import Key, graded, read_key
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.description import source_of

ENDLESS = "while True:\n    pass\n"


def cpu_seconds() -> float:
    """Of this process and of those that it has ended."""
    return sum(os.times()[:4])


def answer_of(name: str, key: Key, rng: random.Random) -> str | None:
    """A right answer, a known mistake, or None: left alone."""
    exercise, luck = graded(key, name), rng.random()
    if luck < 0.6 or not exercise.impostors:
        return exercise.solution
    if luck > 0.9:
        return None
    impostor = rng.choice(exercise.impostors)
    if exercise.asks_for_a_value:
        return f"{name} = {impostor.answer!r}"
    source = source_of(exercise.function_of(impostor))
    return source if source.startswith(f"def {name}(") else exercise.solution


def hand_in(release: Path, key: Key, students: int, archive: Path) -> None:
    """Write an archive as Moodle gives it."""
    rng = random.Random(0)
    with zipfile.ZipFile(archive, "w") as out:
        for student in range(students):
            notebook = nbformat.read(release, 4)
            for cell in notebook.cells:
                if cell.id in EXERCISES and (answer := answer_of(cell.id, key, rng)) is not None:
                    cell.source = answer
            if student % 10 == 9:
                functions = [c for c in notebook.cells if c.id in EXERCISES and c.source.startswith("def ")]
                rng.choice(functions).source = ENDLESS
            out.writestr(f"Student {student}_{student}_assignsubmission_file_/a.ipynb", nbformat.writes(notebook))


def main(lesson: str = "04", students: str = "30") -> None:
    """Print the table."""
    each: list[float] = []
    grade_one = commands.grade_submission

    def timed(*inputs, **named):
        since = time.perf_counter()
        try:
            return grade_one(*inputs, **named)
        finally:
            each.append(time.perf_counter() - since)

    commands.grade_submission = timed
    with tempfile.TemporaryDirectory() as folder:
        course, archive = Path(folder) / "term", Path(folder) / "submissions.zip"
        rows = []
        with contextlib.redirect_stdout(io.StringIO()):
            commands.init(course)
            commands.release([lesson], course)
            (release,) = (course / "release").glob("*.ipynb")
            hand_in(release, read_key(course / "key.json"), int(students), archive)
            for name, step in (
                ("collect", lambda: commands.collect(archive, course)),
                ("grade", lambda: commands.grade(course=course)),
                ("feedback", lambda: commands.feedback(course=course)),
                ("export", lambda: commands.export(course=course)),
            ):
                since, cpu = time.perf_counter(), cpu_seconds()
                step()
                rows.append((name, time.perf_counter() - since, cpu_seconds() - cpu))
    print(f"{students} submissions of lesson {lesson}, {os.cpu_count()} cores")
    for name, seconds, cpu in [*rows, ("in all", *(sum(row[i] for row in rows) for i in (1, 2)))]:
        print(f"{name:10}{seconds:8.1f} s{cpu:8.1f} s of CPU")
    first, after = each[0], each[1:]
    print(f"first {first:.1f} s, each after it {statistics.median(after):.1f} s (at most {max(after):.1f} s)")
    once = rows[1][1] - sum(after)
    others = sum(seconds for name, seconds, _ in rows if name != "grade")
    print(f"computed for 300: {(once + 299 * statistics.mean(after) + others * 300 / int(students)) / 60:.1f} minutes")


if __name__ == "__main__":
    main(*sys.argv[1:])
