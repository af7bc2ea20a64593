"""What was handed out: in `release/` a notebook for all, in `release/STUDENT/` one for that student alone.

Grading goes by these files. Which variants they hold is noted in their metadata, so that neither a later change of the
key nor an update of the course makes an answer wrong.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from nbformat import NotebookNode

from frcnn_lessons.course.grading.key import Key, look_for_variants
from frcnn_lessons.course.lessons import load


def lessons_handed_out(release: Path, numbers: Collection[str] = ()) -> dict[str, Path]:
    """A notebook of each lesson that was handed out to anybody, by name, in order.

    Args:
        numbers: of the lessons, "01" or "1"; all by default.
    """
    wanted = {number.zfill(2) for number in numbers}
    paths = [*release.glob("*/*.ipynb"), *release.glob("*.ipynb")]
    found = {path.stem: path for path in paths if not wanted or path.name[:2] in wanted}
    return dict(sorted(found.items()))


def handed_out(release: Path, lesson: str, student: str, key: Key) -> tuple[NotebookNode, Key] | None:
    """The notebook of a lesson that a student was given, and the key with its variants; None if there was none.

    Raises:
        KeyMissing: it holds a variant that is gone.
        LessonError: it is damaged.
    """
    own, for_all = release / student / f"{lesson}.ipynb", release / f"{lesson}.ipynb"
    path = own if own.is_file() else for_all
    if not path.is_file():
        return None
    notebook = load(path)
    variants = notebook.metadata.get("frcnn_lessons", {}).get("variants", {})
    look_for_variants(variants, path)
    return notebook, replace(key, variants=key.variants | variants)
