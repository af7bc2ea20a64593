"""Read a submission, whatever it is: find its answers by id, and put them into the instructor's notebook.

Only the source of answer cells is taken from a student's file. Points, checks and the text of questions come from the
source, so that editing them changes nothing. What was odd is noted in words.
"""

import ast
import contextlib
import copy
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from frcnn_lessons.course.grading.wire import one_line
from frcnn_lessons.exercises.catalogue import EXERCISES

LARGEST = 50 * 2**20  # bytes of a notebook; one with 20 MB of printed text is still read
LONGEST_ANSWER = 50_000  # characters
MOST_CELLS, MOST_CHARACTERS = 1_000, 500_000  # of a notebook, outputs apart: for each answer all are looked through


@dataclass
class Submission:
    """What a file holds.

    Attributes:
        cells: (id, kind, source) of each cell that could be read.
        notes: what was odd, in sentences.
        student: to whom it was handed out, as its metadata say; "" where all have the same.
    """

    cells: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    student: str = ""


def read_submission(path: Path) -> Submission:
    """Read a notebook as plain JSON; never raises for what is wrong with the file."""
    try:
        if path.stat().st_size > LARGEST:
            return Submission(notes=[f"{path.name} is larger than {LARGEST // 2**20} MB and was not read."])
        data = path.read_bytes()
        if not data.strip():
            return Submission(notes=[f"{path.name} is empty."])
        notebook = json.loads(data.decode("utf-8-sig"))
        cells = notebook["cells"]
        if not isinstance(cells, list):
            raise TypeError("cells are no list")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        return Submission(notes=[f"{path.name} is no notebook ({type(error).__name__})."])
    found = Submission()
    with contextlib.suppress(KeyError, TypeError):
        found.student = one_line(str(notebook["metadata"]["frcnn_lessons"]["student"]), 80)
    left = MOST_CHARACTERS
    for cell in cells:
        try:
            source = cell["source"]
            text = source if isinstance(source, str) else "".join(source)
            metadata = cell.get("metadata", {})
            grade_id = metadata.get("nbgrader", {}).get("grade_id") or cell.get("id") or ""
            left -= len(text)
            if left < 0 or len(found.cells) == MOST_CELLS:
                most = f"{MOST_CELLS} cells or {MOST_CHARACTERS} characters"
                found.notes.append(f"There are more than {most}; what follows was left out.")
                break
            # Half of a sign, as JSON can hold it, can be written to no file.
            found.cells.append((str(grade_id), str(cell["cell_type"]), text.encode("utf-8", "replace").decode()))
        except (KeyError, TypeError, AttributeError):
            found.notes.append("A cell is damaged and was left out.")
    return found


def lesson_of(submission: Submission, sources: dict[str, NotebookNode]) -> str:
    """The lesson that a submission belongs to, by the ids in it, else by what its code defines; "" for none."""
    ids = {name for name, _, _ in submission.cells}
    defined = {name for _, kind, source in submission.cells if kind == "code" for name in _defines(source)}
    scores = {}
    for lesson, notebook in sources.items():
        names = names_in(notebook)
        scores[lesson] = (len(ids.intersection(names)), len(defined.intersection(names)))
    best = max(scores, key=lambda lesson: scores[lesson], default="")
    return best if best and max(scores[best]) > 0 else ""


def names_in(source: NotebookNode) -> list[str]:
    """The exercises of an instructor's notebook, in order."""
    return [cell.id for cell in source.cells if cell.id in EXERCISES]


def answers_of(submission: Submission, source: NotebookNode) -> dict[str, str]:
    """The answers to the exercises of a notebook: the last cell of each id; "" where there is none. Adds notes."""
    answers = {}
    for name in names_in(source):
        kind = "markdown" if EXERCISES[name].kind == "explain" else "code"
        found = [text for cell, _, text in submission.cells if cell == name]
        if not found and kind == "code":
            found = [text for _, one, text in submission.cells if one == "code" and name in _defines(text)]
            if found:
                submission.notes.append(f"The cell of {name} has lost its id; it was known by what it defines.")
        if not found:
            submission.notes.append(f"The cell of {name} is missing.")
        if len(found) > 1:
            submission.notes.append(f"There are {len(found)} cells for {name}; the last one counts.")
        answers[name] = found[-1] if found else ""
        if len(answers[name]) > LONGEST_ANSWER:
            submission.notes.append(
                f"The answer to {name} is longer than {LONGEST_ANSWER} characters and was left out."
            )
            answers[name] = ""
        if kind == "code":
            answers[name] = _without_magic(answers[name])
    return answers


def before(name: str, answer: str, submission: Submission, source: NotebookNode) -> list[str]:
    """What runs before an answer: the instructor's first code cell with imports and the cell with the exercise's data,
    as one; and what other cells define and the answer uses.
    """
    own = [cell.source for cell in source.cells if cell.cell_type == "code" and "nbgrader" not in cell.metadata]
    data = [cell.source for cell in source.cells if cell.id == f"{name}-data"]
    definitions: dict[str, ast.stmt] = {}
    for cell, kind, text in submission.cells:
        if kind == "code" and cell != name:
            with_names = _statements(_without_magic(text))
            for statement in with_names:
                for one in _bound(statement):
                    definitions.pop(one, None)  # the last one counts, at its place
                    definitions[one] = statement
    wanted, helpers = [*_used(answer)], dict.fromkeys(definitions, "")
    setup = {one for text in own for statement in _statements(text) for one in _bound(statement)}
    while wanted:
        one = wanted.pop()
        if helpers.get(one) == "" and one not in setup and one not in _defines(answer):
            try:
                helpers[one] = ast.unparse(definitions[one])
            except RecursionError:
                submission.notes.append(f"`{one_line(one, 80)}` is nested too deeply and was left out.")
                del helpers[one]
                continue
            wanted += _used(helpers[one])
    code = "\n".join(dict.fromkeys(filter(None, helpers.values())))  # in the order of the notebook
    return ["\n\n".join([*own[:1], *data]), *([code] if code else [])]


def rebuilt(source: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """The instructor's notebook with a student's answers in it."""
    notebook = copy.deepcopy(source)
    for cell in notebook.cells:
        if cell.id in answers:
            cell.source = answers[cell.id]
    nbformat.validate(notebook)
    return notebook


@functools.lru_cache(MOST_CELLS)
def _without_magic(text: str) -> str:
    """Without lines that only a notebook understands: `%matplotlib inline`, `!pip install`."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in text.split("\n"))
    return text


@functools.lru_cache(MOST_CELLS)
def _statements(text: str) -> list[ast.stmt]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [
        one
        for one in body
        if isinstance(one, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign))
    ]


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        parts = (part for target in targets for part in ast.walk(target))
        yield from (part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))


def _defines(text: str) -> set[str]:
    return {name for statement in _statements(_without_magic(text)) for name in _bound(statement)}


def _used(text: str) -> set[str]:
    try:
        tree: Any = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
