"""Grade one submission: its marks, its answers and what was odd about it; keep them in `grades/` of the course."""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from frcnn_lessons.course.grading.court import Court
from frcnn_lessons.course.grading.judging import mark_of
from frcnn_lessons.course.grading.key import Key
from frcnn_lessons.course.grading.rebuild import answers_of, before, read_submission
from frcnn_lessons.files import written_whole


def grade_submission(
    court: Court, key: Key, path: Path, source: NotebookNode, accepted: Collection[str] = (), patience: float = 1.0
) -> dict[str, Any]:
    """Grade a student's notebook against the instructor's; never raises for what is in it.

    Args:
        key: with the variants that this student was given.
        source: the notebook as it was handed out.
        accepted: exercises in which names that are not allowed are let pass.

    Returns:
        `marks` (a `Mark` as a dict), `answers` (the source) and `variants` by exercise, and `notes`.
    """
    submission = read_submission(path)
    answers = answers_of(submission, source)
    given_to = source.metadata.get("frcnn_lessons", {}).get("student", "")
    if submission.student and submission.student != given_to:
        submission.notes.append(f"This is the notebook that was handed out to {submission.student}.")
    marks = {
        name: asdict(
            mark_of(court, key, name, answer, before(name, answer, submission, source), name in accepted, patience)
        )
        for name, answer in answers.items()
    }
    variants = {name: key.variants.get(name, "") for name in answers}
    return {"marks": marks, "answers": answers, "variants": variants, "notes": submission.notes}


def grades_path(course: Path, lesson: str, student: str) -> Path:
    """Where the grades of a submission are kept."""
    return course / "grades" / lesson / f"{student}.json"


def read_grades(path: Path) -> dict[str, Any]:
    """What `grade_submission` gave; nothing where there is no such file, or a damaged one."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def write_grades(grades: dict[str, Any], path: Path) -> None:
    """Keep what `grade_submission` gave."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(grades, indent=1) + "\n", encoding="utf-8")
