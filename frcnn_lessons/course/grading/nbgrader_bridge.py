"""Let nbgrader keep the points: its gradebook, formgrader, feedback and export, with our court in place of its kernel.

`nbgrader_config.py`, which `course init` writes, names the two classes. `nbgrader autograde` then reads no student's
notebook and runs none: `Rebuilt` grades what is new, and hands it the instructor's notebook with the answers put in;
`OurCourt` writes what they are worth into its gradebook. nbgrader works in the folder of the course. It is the extra
`instructor`; nothing else imports it.
"""

import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade

from frcnn_lessons.course.grading.grading import grades_path, read_grades
from frcnn_lessons.course.grading.handed_out import handed_out
from frcnn_lessons.course.grading.key import read_key
from frcnn_lessons.course.grading.rebuild import rebuilt

HERE = Path()
GRADE = (sys.executable, "-m", "frcnn_lessons.course.cli", "course", "grade")


class Rebuilt(NotebookExporter):
    """In place of a submission, which may be anything, the notebook rebuilt from it; nbgrader makes one a run."""

    has_graded = False

    def from_file(
        self, file_stream: IO[str], resources: dict[str, Any] | None = None, **more: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Read nothing of a file in `submitted/`; any other is read as it stands.

        Raises:
            RuntimeError: the course cannot be graded; says why.
        """
        step, student, lesson = Path(file_stream.name).parts[-4:-1]
        if step != "submitted":
            return super().from_file(file_stream, resources=resources, **more)
        if not self.has_graded:  # in a process of its own: it ends all that answers leave, and nothing of JupyterLab's
            done = subprocess.run([*GRADE, lesson[:2]], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr.strip())
            self.log.info("%s", done.stdout)
            self.has_graded = True
        grades = read_grades(grades_path(HERE, lesson, student))
        given = handed_out(HERE / "release", lesson, student, read_key(HERE / "key.json"))
        if not grades or given is None:
            raise RuntimeError(f"{student} was handed no notebook of {lesson}: see that students.csv has this id")
        # What was not attempted stays as it was handed out, which is how nbgrader knows it.
        attempted = {
            name: answer
            for name, answer in grades["answers"].items()
            if grades["marks"][name]["verdict"] != "not attempted"
        }
        notebook = rebuilt(given[0], attempted)
        if grades["notes"]:
            notebook.cells.insert(0, new_markdown_cell("\n\n".join(grades["notes"]), id="notes"))
        return self.from_notebook_node(notebook, resources, **more)


class OurCourt(NbGraderPreprocessor):
    """Writes marks below the checks and points into the gradebook; None there waits for a person."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Judge nothing anew: `Rebuilt` has seen to it."""
        about = resources["nbgrader"]
        marks = read_grades(grades_path(HERE, about["assignment"], about["student"]))["marks"]
        with Gradebook(about["db_url"]) as gradebook:
            for cell in nb.cells:
                if not is_grade(cell):
                    continue
                name = cell.metadata.nbgrader.grade_id
                mark = marks[_exercise(name)]
                if cell.cell_type == "code":
                    text = "\n".join(mark["says"]) or f"{mark['verdict'].capitalize()}."
                    cell.outputs = [new_output("stream", name="stdout", text=text)]
                grade = gradebook.find_grade(name, about["notebook"], about["assignment"], about["student"])
                grade.auto_score = mark["points"]
                # As nbgrader has it: points that a person gave to an earlier submission are to be looked at again.
                grade.needs_manual_grade = mark["points"] is None or grade.manual_score is not None
            gradebook.db.commit()
        return nb, resources


def given_by_a_person(path: Path, lesson: str) -> list[tuple[str, str, float]]:
    """The points that somebody entered in formgrader, extra credit included.

    Args:
        path: of `gradebook.db`.

    Returns:
        (student, exercise, points), in no particular order.
    """
    with Gradebook(f"sqlite:///{path.resolve()}") as gradebook:
        return [
            (submission.student_id, _exercise(grade.name), grade.score)
            for submission in gradebook.assignment_submissions(lesson)
            for notebook in submission.notebooks
            for grade in notebook.grades
            if grade.manual_score is not None or grade.extra_credit is not None
        ]


def _exercise(grade_id: str) -> str:
    return grade_id.removesuffix("-check")
