"""Make the notebooks of the exercises from their descriptions, the same bytes each time.

`notebooks/instructor/NN_name.md` holds prose and order: Markdown, in which a line `exercise: NAME` stands for the cells
of an exercise and a block fenced as python becomes a code cell. What is made from it, the notebook of the same name in
`notebooks/exercises/`, is in nbgrader's format and never edited by hand.
"""

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from frcnn_lessons.course.lint import KERNELSPEC, LANGUAGE, WIDEST
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.description import Exercise
from frcnn_lessons.files import written_whole

PIECES = re.compile(r"^exercise: *(\w+) *$|^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NO_VARIANTS: Mapping[str, str] = {}

# A check raises nothing, so nbgrader's own kernel would give full points to whatever it runs: this line stops it.
HIDDEN = """
### BEGIN HIDDEN TESTS
raise RuntimeError("hidden cases and points are those of `frcnn-lessons course grade`, see nbgrader_config.py")
### END HIDDEN TESTS"""


class BookError(ValueError):
    """A source of exercises that cannot be made into a notebook; the message names it and says what to do."""


def your_turn(exercise: Exercise) -> str:
    """The code cell "Your turn" of a lesson: what the student starts from, no wider than a page, and the check."""
    lines = []
    for line in exercise.starting_point.splitlines():
        margin = line[: len(line) - len(line.lstrip())]
        is_long_text = line.lstrip().startswith('"""') and len(line) > WIDEST
        lines += textwrap.wrap(line, WIDEST, subsequent_indent=margin) if is_long_text else [line]
    return "\n".join([*lines, "", "", _check(exercise)])


def cells_of(exercise: Exercise, variant: str = "") -> list[NotebookNode]:
    """The cells of an exercise: what is asked, data if there are any, the student's answer, and the check."""
    base, exercise = exercise, exercise.variant(variant) if variant else exercise
    about = f"{exercise.kind} · {'★' * exercise.stars} · about {exercise.minutes} minutes · {_points(exercise)}"
    text = f"## {exercise.number} {exercise.title}\n\n*{about}{'' if exercise.core else ' · for whoever wants more'}*"
    question = new_markdown_cell(f"{text}\n\n{exercise.text}", id=f"{exercise.name}-text")
    _for_nbgrader(question, f"{exercise.name}-text", locked=True)
    if exercise.kind == "explain":
        answer = new_markdown_cell("*Write your answer here, in place of this line.*", id=exercise.name)
        return [question, _for_nbgrader(answer, exercise.name, solution=True, points=exercise.points)]
    data = [new_code_cell(exercise.data, id=f"{exercise.name}-data")] if exercise.data else []
    answer = new_code_cell(exercise.starting_point, id=exercise.name)
    check = new_code_cell(_check(base, variant), id=f"{exercise.name}-check")
    return [
        question,
        *data,
        _for_nbgrader(answer, exercise.name, solution=True),
        _for_nbgrader(check, f"{exercise.name}-check", locked=True, points=exercise.points),
    ]


def exercise_notebook(source: Path, variants: Mapping[str, str] = NO_VARIANTS, student: str = "") -> NotebookNode:
    """Make the exercises of a lesson from their source.

    Args:
        source: `NN_name.md`.
        variants: by name of the exercise, the variant to hand out; noted in the notebook's metadata.
        student: for whom it is, where each has a notebook of their own; noted as well.

    Raises:
        BookError: it names an exercise that there is not, or one twice.
    """
    number = source.name[:2]
    cells: list[NotebookNode] = []
    prose, names = 0, set()
    text, end = source.read_text(encoding="utf-8"), 0
    for piece in [*PIECES.finditer(text), None]:
        between = text[end : piece.start() if piece else None].strip("\n")
        if between:
            cells.append(new_markdown_cell(between, id=f"{number}-text-{prose}"))
            prose += 1
        if piece is None:
            break
        end = piece.end()
        name, code = piece.groups()
        if name is None:
            cells.append(new_code_cell(code.strip("\n"), id=f"{number}-code-{prose}-{len(cells)}"))
        elif name not in EXERCISES or name in names:
            fault = "is there twice" if name in names else "is no exercise of frcnn_lessons/exercises/"
            raise BookError(f"{source.name}: {name} {fault}; take the line out or correct the name")
        else:
            names.add(name)
            cells += cells_of(EXERCISES[name], variants.get(name, ""))
    notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    if variants:
        handed_out = {"student": student, "variants": {name: variants.get(name, "") for name in sorted(names)}}
        notebook.metadata["frcnn_lessons"] = nbformat.from_dict(handed_out)
    return notebook


def release(
    sources: Path,
    folder: Path,
    numbers: Collection[str] = (),
    variants: Mapping[str, str] = NO_VARIANTS,
    student: str = "",
    keep: bool = False,
) -> Sequence[Path]:
    """Write the notebooks of exercises, each whole or not at all; returns the paths of those that were written.

    Args:
        sources: `notebooks/instructor`.
        folder: where the notebooks go.
        numbers: of the lessons, "01"; all by default.
        variants, student: see `exercise_notebook`.
        keep: what lies in the folder already stays as it is.

    Raises:
        BookError: there is no source, or one of them is faulty; nothing is written then.
    """
    notebooks = {folder / f"{stem}.ipynb": made for stem, made in _made(sources, numbers, variants, student).items()}
    new = [path for path in notebooks if not (keep and path.exists())]
    for path in new:
        _write(notebooks[path], path)
    return new


def write_source(
    sources: Path, folder: Path, numbers: Collection[str] = (), variants: Mapping[str, str] = NO_VARIANTS
) -> None:
    """Write what nbgrader makes its gradebook from, folder/NN_name/NN_name.ipynb: each test cell has a hidden line.

    Args and raises: as `release`.
    """
    for stem, notebook in _made(sources, numbers, variants).items():
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade"):
                cell.source += HIDDEN
        _write(notebook, folder / stem / f"{stem}.ipynb")


def _made(
    sources: Path, numbers: Collection[str], variants: Mapping[str, str], student: str = ""
) -> dict[str, NotebookNode]:
    wanted = {number.zfill(2) for number in numbers}
    paths = [path for path in sorted(sources.glob("[0-9][0-9]_*.md")) if not wanted or path.name[:2] in wanted]
    if missing := wanted - {path.name[:2] for path in paths}:
        raise BookError(f"{sources} has no exercises for lesson {', '.join(sorted(missing))}")
    return {path.stem: exercise_notebook(path, variants, student) for path in paths}


def _write(notebook: NotebookNode, path: Path) -> None:
    with written_whole(path) as temporary:
        nbformat.write(notebook, temporary)


def _check(exercise: Exercise, variant: str = "") -> str:
    more = f', variant="{variant}"' if variant else ""
    return f"check.{exercise.name}({exercise.name}{more})"


def _points(exercise: Exercise) -> str:
    return f"{exercise.points} point{'s' if exercise.points > 1 else ''}"


def _for_nbgrader(
    cell: NotebookNode, name: str, locked: bool = False, solution: bool = False, points: int = 0
) -> NotebookNode:
    """Mark a cell for nbgrader (its schema 3); a cell with points is graded."""
    graded = {"points": points} if points else {}
    cell.metadata["nbgrader"] = nbformat.from_dict(
        {
            "grade": points > 0,
            "grade_id": name,
            "locked": locked,
            "schema_version": 3,
            "solution": solution,
            "task": False,
        }
        | graded
    )
    return cell
