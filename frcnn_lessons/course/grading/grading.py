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
        source: the notebook as it was handed out.
        accepted: exercises in which names that are not allowed are let pass.

    Returns:
        `marks` (a `Mark` as a dict) and `answers` (the source) by exercise, and `notes`.
    """
    submission = read_submission(path)
    answers = answers_of(submission, source)
    marks = {
        name: asdict(
            mark_of(court, key, name, answer, before(name, answer, submission, source), name in accepted, patience)
        )
        for name, answer in answers.items()
    }
    return {"marks": marks, "answers": answers, "notes": submission.notes}


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
