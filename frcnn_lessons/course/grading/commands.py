"""The commands `frcnn-lessons course ...`; `notebooks/instructor/README.md` leads through them."""

import csv
import hashlib
from pathlib import Path
from typing import Annotated, Any, NoReturn

import nbformat
import typer
from nbformat import NotebookNode

from frcnn_lessons.course import book, lessons
from frcnn_lessons.course.grading import feedback as telling
from frcnn_lessons.course.grading.collect import collect as collect_from
from frcnn_lessons.course.grading.collect import read_roster
from frcnn_lessons.course.grading.court import Court
from frcnn_lessons.course.grading.grading import grade_submission, grades_path, read_grades, write_grades
from frcnn_lessons.course.grading.key import Key, KeyMissing, draw_key, read_key, write_key
from frcnn_lessons.course.grading.report import alike, write_mistakes, write_points
from frcnn_lessons.files import CHECKOUT, written_whole

app = typer.Typer(help="Hand out exercises, collect them, grade them, and tell what came of it.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--course", metavar="DIR", help="The folder that `course init` made.")]
Numbers = Annotated[list[str] | None, typer.Argument(metavar="[NN]...", help="Lessons, e.g. 01 02; all by default.")]

IGNORED = "# Nothing of a course is public.\n*\n"
ROSTER = "id,name\n"
ACCEPTED = "student,exercise\n"
BY_HAND = "student,exercise,points\n"
NBGRADER = """# For nbgrader, if you use it: notebooks/instructor/README.md of the lessons says how.
import warnings
from pathlib import Path

COURSE = Path(__file__).resolve().parent
LESSONS = "frcnn_lessons.course.grading.nbgrader_bridge"

c = get_config()
c.CourseDirectory.root = str(COURSE)
c.NbGrader.logfile = str(COURSE / "nbgrader.log")
c.NbGrader.logging_config = {"handlers": {"console": {"level": "ERROR"}}}
warnings.filterwarnings("ignore", module="nbgrader.api")  # of its own use of its database
c.GenerateAssignment.force = True  # release/ is there already
c.ClearSolutions.enabled = False  # source/ holds none
c.Autograde.exporter_class = f"{LESSONS}.Rebuilt"
c.Autograde.autograde_preprocessors = [
    f"{LESSONS}.OurCourt",  # in place of Execute and SaveAutoGrades
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
"""
HERE = Path()


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Make the folder of a course and draw its key; a key that is there stays."""
    if (folder / "key.json").exists():
        _leave(f"{folder / 'key.json'} is there already; a new key would change what is graded. Name another folder.")
    for name, text in (
        (".gitignore", IGNORED),
        ("students.csv", ROSTER),
        ("accepted.csv", ACCEPTED),
        ("by_hand.csv", BY_HAND),
        ("nbgrader_config.py", NBGRADER),
    ):
        if not (folder / name).exists():
            with written_whole(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    write_key(draw_key(), folder / "key.json")
    typer.echo(
        f"{folder}: key.json (keep a copy, show it to nobody), students.csv (fill it in), accepted.csv, by_hand.csv, "
        "nbgrader_config.py"
    )


@app.command()
def release(numbers: Numbers = None, course: Folder = HERE) -> None:
    """Write the notebooks to hand out into release/, with the variants that the key chose; nbgrader's into source/."""
    key = _key(course)
    try:
        sources = lessons.lessons_folder(CHECKOUT) / "instructor"
        made = book.release_for_nbgrader(sources, course, numbers or (), key.variants)
    except (book.BookError, lessons.LessonError) as error:
        _leave(str(error))
    for path in made:
        typer.echo(f"{path}  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}")


@app.command()
def collect(download: Annotated[Path, typer.Argument(metavar="DOWNLOADS")], course: Folder = HERE) -> None:
    """Take the notebooks out of an archive of Moodle or Canvas, or a folder; say what is odd and who is missing."""
    if not download.exists():
        _leave(f"{download} is not there; name the archive that Moodle or Canvas gave")
    found = collect_from(download, course / "submitted", _sources(course), course / "students.csv")
    for student, lesson, _ in found.taken:
        typer.echo(f"{student:32}{lesson}")
    for problem in found.problems:
        typer.echo(f"! {problem}")
    for student in found.missing:
        typer.echo(f"- {student}: nothing handed in")


@app.command()
def grade(
    numbers: Numbers = None,
    course: Folder = HERE,
    again: Annotated[bool, typer.Option("--again", help="Grade all anew and list whose points changed.")] = False,
    patience: Annotated[float, typer.Option(min=0.1, help="Multiplies the time for a case.")] = 1.0,
) -> None:
    """Grade what was collected and is new; a line a student. Exit code 0 whatever an answer does."""
    key, sources = _key(course), _sources(course, numbers)
    accepted = _accepted(course)
    with Court() as court:
        for lesson, source in sources.items():
            for path in sorted((course / "submitted").glob(f"*/{lesson}/{lesson}.ipynb")):
                student = path.parent.parent.name
                place = grades_path(course, lesson, student)
                old = read_grades(place)  # one that was damaged is graded anew
                mark = hashlib.sha256(path.read_bytes() + repr(sorted(accepted.get(student, ()))).encode()).hexdigest()
                if old.get("submission") == mark and not again:
                    continue
                new = grade_submission(court, key, path, source, accepted.get(student, set()), patience)
                write_grades(new | {"submission": mark}, place)
                typer.echo(_line(student, lesson, new, old if again else {}))
            for student in sorted(set(read_roster(course / "students.csv").values())):
                if not (course / "submitted" / student / lesson).is_dir():
                    typer.echo(f"{student:32}{lesson:32}nothing handed in")


@app.command()
def feedback(numbers: Numbers = None, course: Folder = HERE) -> None:
    """Write each student's notebook with points and what was wrong into feedback/."""
    for lesson, source in _sources(course, numbers).items():
        for student, grades in _grades(course, lesson).items():
            path = course / "feedback" / student / f"{lesson}.ipynb"
            with written_whole(path) as temporary:
                nbformat.write(telling.feedback_notebook(source, grades), temporary)
            typer.echo(str(path))


@app.command()
def export(numbers: Numbers = None, course: Folder = HERE) -> None:
    """Write points and mistakes as CSV into reports/, and print which answers are too much alike."""
    key = _key(course)
    for lesson in _sources(course, numbers):
        grades = _grades(course, lesson)
        if not grades:
            continue
        nothing: dict[str, Any] = {"marks": {}, "answers": {}, "notes": []}
        grades = dict.fromkeys(read_roster(course / "students.csv").values(), nothing) | grades
        points, mistakes = (course / "reports" / f"{lesson}-{kind}.csv" for kind in ("points", "mistakes"))
        write_points(grades, points)
        write_mistakes(grades, key, mistakes)
        typer.echo(f"{points}\n{mistakes}")
        for sentence in alike(grades, key):
            typer.echo(f"! {sentence}")


def _line(student: str, lesson: str, new: dict[str, Any], old: dict[str, Any]) -> str:
    marks = new["marks"]
    points, most = sum(m["points"] or 0 for m in marks.values()), sum(m["most"] for m in marks.values())
    line = f"{student:32}{lesson:32}{points:6g} of {most}"
    if waiting := sum(mark["points"] is None for mark in marks.values()):
        line += f", {waiting} to read"
    if flagged := [name for name, mark in marks.items() if mark["verdict"] == "not allowed"]:
        line += f", not allowed: {', '.join(flagged)}"
    if new["notes"]:
        line += f"; {' '.join(new['notes'])}"
    before = old.get("marks", {})
    for name, mark in marks.items():
        if name in before and before[name]["points"] != mark["points"]:
            line += f"\n  changed: {name} {before[name]['points']} -> {mark['points']}"
    return line


def _sources(course: Path, numbers: list[str] | None = None) -> dict[str, NotebookNode]:
    """The notebooks that were handed out, by lesson."""
    wanted = {number.zfill(2) for number in numbers or ()}
    paths = [path for path in sorted((course / "release").glob("*/*.ipynb")) if not wanted or path.name[:2] in wanted]
    if not paths:
        _leave(f"{course / 'release'} has no notebooks{' of these lessons' if wanted else ''}; `course release` first")
    return {path.stem: nbformat.read(path, 4) for path in paths}


def _grades(course: Path, lesson: str) -> dict[str, dict[str, Any]]:
    """What was graded, with the points that a person has given in nbgrader's formgrader or in `by_hand.csv`."""
    paths = (course / "grades" / lesson).glob("*.json")
    grades = {path.stem: found for path in paths if (found := read_grades(path))}
    if (course / "gradebook.db").exists():
        from frcnn_lessons.course.grading.nbgrader_bridge import given_by_a_person

        for student, exercise, given in given_by_a_person(course / "gradebook.db", lesson):
            if student in grades and exercise in grades[student]["marks"]:
                grades[student]["marks"][exercise]["points"] = given
    for student, exercise, points in _rows(course / "by_hand.csv", 3):
        if (mark := grades.get(student, {}).get("marks", {}).get(exercise)) is None:
            continue
        try:
            mark["points"] = min(max(float(points), 0.0), mark["most"])
        except ValueError:
            _leave(f"{course / 'by_hand.csv'}: {points!r} of {student}, {exercise} is no number of points")
    return grades


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The rows of a table that an instructor keeps, without its head; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[part.strip() for part in row] for row in csv.reader(file)]
    return [row for row in rows[1:] if len(row) == columns]


def _accepted(course: Path) -> dict[str, set[str]]:
    """What an instructor has looked at and let pass: exercises by student."""
    accepted: dict[str, set[str]] = {}
    for student, exercise in _rows(course / "accepted.csv", 2):
        accepted.setdefault(student, set()).add(exercise)
    return accepted


def _key(course: Path) -> Key:
    try:
        return read_key(course / "key.json")
    except KeyMissing as error:
        _leave(str(error))


def _leave(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
