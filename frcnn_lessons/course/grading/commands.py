"""The commands `frcnn-lessons course ...`; `notebooks/instructor/README.md` leads through them."""

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
from frcnn_lessons.course.grading.handed_out import handed_out, lessons_handed_out
from frcnn_lessons.course.grading.key import Key, KeyMissing, draw_key, key_of, read_key, write_key
from frcnn_lessons.course.grading.report import alike, borrowed, write_mistakes, write_points, write_term, write_to_read
from frcnn_lessons.course.grading.tables import TableError, read_table
from frcnn_lessons.course.grading.wire import one_line
from frcnn_lessons.exercises.catalogue import EXERCISES
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
def release(
    numbers: Numbers = None,
    course: Folder = HERE,
    each: Annotated[bool, typer.Option("--each", help="A notebook for each student, in release/STUDENT/.")] = False,
) -> None:
    """Write the notebooks to hand out into release/, with the variants that the key has chosen; what is there stays."""
    key = _key(course)
    keys = {"": key}
    if each:
        if not key.secret:
            _leave(f"{course / 'key.json'} is older than --each and has no secret to draw from; release without --each")
        keys = {student: key_of(key, student) for student in _roster(course)}
        if not keys:
            _leave(f"{course / 'students.csv'} names no student; write a line for each, with id and name")
    made: list[Path] = []
    try:
        sources = lessons.lessons_folder(CHECKOUT) / "instructor"
        for student, its_key in keys.items():
            folder = course / "release" / student
            made += book.release(sources, folder, numbers or (), its_key.variants, student, keep=True)
        book.write_source(sources, course / "source", numbers or (), key.variants)
    except (book.BookError, lessons.LessonError) as error:
        _leave(str(error))
    for path in made:
        typer.echo(f"{path}  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}")
    typer.echo(f"{len(made)} new; what was there stays as it was handed out")


@app.command()
def collect(download: Annotated[Path, typer.Argument(metavar="DOWNLOADS")], course: Folder = HERE) -> None:
    """Take the notebooks out of an archive of Moodle or Canvas, or a folder; say what is odd and who is missing."""
    if not download.exists():
        _leave(f"{download} is not there; name the archive that Moodle or Canvas gave")
    try:
        sources = {lesson: lessons.load(path) for lesson, path in _lessons(course).items()}
        found = collect_from(download, course / "submitted", sources, course / "students.csv")
    except (TableError, lessons.LessonError) as error:
        _leave(str(error))
    for student, lesson, _ in found.taken:
        typer.echo(f"{student:32}{lesson}")
    for problem in found.problems:
        typer.echo(f"! {one_line(problem)}")
    for student in found.missing:
        typer.echo(f"- {student}: {_nothing_of(course, student)}")


@app.command()
def grade(
    numbers: Numbers = None,
    course: Folder = HERE,
    again: Annotated[bool, typer.Option("--again", help="Grade all anew and list whose points changed.")] = False,
    patience: Annotated[float, typer.Option(min=0.1, help="Multiplies the time for a case.")] = 1.0,
) -> None:
    """Grade what was collected and is new; a line a student. Exit code 0 whatever an answer does."""
    key, accepted = _key(course), _accepted(course)
    with Court() as court:
        for lesson in _lessons(course, numbers):
            for path in sorted((course / "submitted").glob(f"*/{lesson}/{lesson}.ipynb")):
                student = path.parent.parent.name
                place = grades_path(course, lesson, student)
                old = read_grades(place)  # one that was damaged is graded anew
                mark = _mark(path, accepted)
                if old.get("submission") == mark and not again:
                    continue
                if (given := _given(course, lesson, student, key)) is None:
                    typer.echo(f"{student:32}{lesson:32}was handed no notebook: see that students.csv has this id")
                    continue
                source, its_key = given
                new = grade_submission(court, its_key, path, source, accepted.get(student, set()), patience)
                write_grades(new | {"submission": mark}, place)
                typer.echo(_line(student, lesson, new, old if again else {}))
            for student in _roster(course):
                if not (course / "submitted" / student / lesson).is_dir():
                    typer.echo(f"{student:32}{lesson:32}{_nothing_of(course, student)}")


@app.command()
def feedback(numbers: Numbers = None, course: Folder = HERE) -> None:
    """Write each student's notebook with points and what was wrong into feedback/."""
    key = _key(course)
    for lesson in _lessons(course, numbers):
        for student, grades in _grades(course, lesson).items():
            if (given := _given(course, lesson, student, key)) is None:
                continue
            path = course / "feedback" / student / f"{lesson}.ipynb"
            with written_whole(path) as temporary:
                nbformat.write(telling.feedback_notebook(given[0], grades), temporary)
            typer.echo(str(path))


@app.command()
def export(numbers: Numbers = None, course: Folder = HERE) -> None:
    """Write points and mistakes as CSV into reports/, and print which answers are too much alike, or another's."""
    key = _key(course)
    by_lesson = {lesson: grades for lesson in _lessons(course) if (grades := _grades(course, lesson))}
    students = {*_roster(course), *(student for grades in by_lesson.values() for student in grades)}
    term = {}
    for lesson, grades in by_lesson.items():
        if waiting := _waiting(course, lesson, key):
            typer.echo(f"! {lesson}: to be graded first, with `course grade`: {', '.join(waiting)}")
        term[lesson] = {student: _nothing(course, student) for student in students - set(waiting)} | grades
    for lesson in _lessons(course, numbers):
        if lesson not in term:
            continue
        grades = term[lesson]
        points, mistakes = (course / "reports" / f"{lesson}-{kind}.csv" for kind in ("points", "mistakes"))
        write_points(grades, points)
        write_mistakes(grades, key, mistakes)
        typer.echo(f"{points}\n{mistakes}")
        to_read = course / "reports" / f"{lesson}-to-read.txt"
        if write_to_read(grades, key, to_read):
            typer.echo(str(to_read))
        for sentence in alike(grades) + borrowed(grades):
            typer.echo(f"! {sentence}")
    write_term(term, course / "reports" / "term.csv")
    typer.echo(str(course / "reports" / "term.csv"))


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


def _lessons(course: Path, numbers: list[str] | None = None) -> dict[str, Path]:
    """The lessons that were handed out, each with a notebook of it."""
    found = lessons_handed_out(course / "release", numbers or ())
    if not found:
        _leave(f"{course / 'release'} has no notebooks{' of these lessons' if numbers else ''}; `course release` first")
    return found


def _given(course: Path, lesson: str, student: str, key: Key) -> tuple[NotebookNode, Key] | None:
    try:
        return handed_out(course / "release", lesson, student, key)
    except (KeyMissing, lessons.LessonError) as error:
        _leave(str(error))


def _nothing_of(course: Path, student: str) -> str:
    unknown = course / "submitted" / student / "unknown"
    return f"nothing that can be graded; look into {unknown}" if unknown.is_dir() else "nothing handed in"


def _nothing(course: Path, student: str) -> dict[str, Any]:
    """The grades of a lesson of which nothing was handed in."""
    return {"marks": {}, "answers": {}, "variants": {}, "notes": [f"{_nothing_of(course, student)}."]}


def _mark(path: Path, accepted: dict[str, set[str]]) -> str:
    """By which a submission, with what was accepted of it, is known."""
    student = path.parent.parent.name
    return hashlib.sha256(path.read_bytes() + repr(sorted(accepted.get(student, ()))).encode()).hexdigest()


def _waiting(course: Path, lesson: str, key: Key) -> list[str]:
    """Students whose submission, or what was accepted of it, is newer than its grades."""
    accepted = _accepted(course)
    paths = {path.parent.parent.name: path for path in (course / "submitted").glob(f"*/{lesson}/{lesson}.ipynb")}
    return sorted(
        student
        for student, path in paths.items()
        if read_grades(grades_path(course, lesson, student)).get("submission") != _mark(path, accepted)
        and _given(course, lesson, student, key)
    )


def _roster(course: Path) -> list[str]:
    try:
        return sorted(set(read_roster(course / "students.csv").values()))
    except TableError as error:
        _leave(str(error))


def _grades(course: Path, lesson: str) -> dict[str, dict[str, Any]]:
    """What was graded, with the points that a person has given in nbgrader's formgrader or in `by_hand.csv`."""
    paths = (course / "grades" / lesson).glob("*.json")
    grades = {path.stem: found for path in paths if (found := read_grades(path))}
    if (course / "gradebook.db").exists():
        from frcnn_lessons.course.grading.nbgrader_bridge import given_by_a_person

        for student, exercise, given in given_by_a_person(course / "gradebook.db", lesson):
            if student in grades and exercise in grades[student]["marks"]:
                grades[student]["marks"][exercise]["points"] = given
    for row in _rows(course, "by_hand.csv", ("student", "exercise", "points")):
        student, exercise = row["student"], row["exercise"]
        if EXERCISES[exercise].number[:2] != lesson[:2]:
            continue
        if (mark := grades.get(student, {}).get("marks", {}).get(exercise)) is None:
            typer.echo(f"! by_hand.csv: {student}, {exercise}: nothing of it was graded, so the line does nothing")
            continue
        try:
            points = float(row["points"].replace(",", "."))
        except ValueError:
            points = -1.0
        if not 0 <= points <= mark["most"]:
            _leave(
                f"{course / 'by_hand.csv'}: {row['points']!r} of {student}, {exercise} is no number of points "
                f"from 0 to {mark['most']}"
            )
        mark["points"] = points
    return grades


def _rows(course: Path, table: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a table whose lines name a student and an exercise; both have to be known."""
    try:
        rows = read_table(course / table, columns)
    except TableError as error:
        _leave(str(error))
    students = {*_roster(course), *(path.name for path in (course / "submitted").glob("*"))} if rows else set()
    for row in rows:
        if row["student"] not in students:
            _leave(f"{course / table}: no student has the id {row['student']!r}; `course grade` prints the ids")
        if row["exercise"] not in EXERCISES:
            _leave(
                f"{course / table}: there is no exercise {row['exercise']!r}; their names stand in the first line of "
                "reports/NN_name-points.csv"
            )
    return rows


def _accepted(course: Path) -> dict[str, set[str]]:
    """What an instructor has looked at and let pass: exercises by student."""
    accepted: dict[str, set[str]] = {}
    for row in _rows(course, "accepted.csv", ("student", "exercise")):
        accepted.setdefault(row["student"], set()).add(row["exercise"])
    return accepted


def _key(course: Path) -> Key:
    try:
        return read_key(course / "key.json")
    except KeyMissing as error:
        _leave(str(error))


def _leave(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
