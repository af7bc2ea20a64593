"""The command `frcnn-lessons`: look whether the course can run, open it, run it, store its outputs, check them, make
the exercises.

Nothing heavy is imported before a command needs it, so that `doctor` can report what is missing.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from frcnn_lessons.course import detector_commands
from frcnn_lessons.course.data import app as data_app
from frcnn_lessons.course.serve_command import serve
from frcnn_lessons.files import CHECKOUT

app = typer.Typer(help="Learn two-stage object detection by building it.", no_args_is_help=True, add_completion=False)

# What the extras `lessons` and `serve` of pyproject.toml bring.
LESSONS_ONLY = ("IPython", "ipywidgets", "jupyter_client", "jupyterlab", "nbclient", "nbformat")
SERVE_ONLY = ("fastapi", "fastapi_offline", "filelock", "uvicorn")

LESSONS = "Lessons, e.g. 01 02, or what is off the path, e.g. 07_truncated_svd; all by default."
Numbers = Annotated[list[str] | None, typer.Argument(metavar="[NN]...", help=LESSONS)]


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and what to do about it. Exit code 1 when the course cannot run."""
    from frcnn_lessons.course.doctor import check

    report = check(CHECKOUT)
    typer.echo(str(report))
    raise typer.Exit(0 if report.ready else 1)


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    options: Annotated[list[str] | None, typer.Argument(metavar="[-- OPTION...]", help="JupyterLab's own.")] = None,
) -> None:
    """Open the lessons in JupyterLab; it gets what follows --, as in: frcnn-lessons lab -- --no-browser --port 8890."""
    from frcnn_lessons.course.lessons import PATIENT_THREADS, LessonError, lessons_folder

    try:
        folder = lessons_folder(CHECKOUT)
    except LessonError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    arguments = [f"--ServerApp.root_dir={folder}"]
    if (folder / "00_start_here.ipynb").is_file():
        arguments.append("--LabApp.default_url=/lab/tree/00_start_here.ipynb")
    arguments += options or []  # at the end, so that the user has the last word
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in arguments:
        # Usual in a container; JupyterLab would only refuse and name this flag.
        typer.echo("Running as root: the notebooks can change every file of this machine.", err=True)
        arguments.append("--allow-root")
    # A "python3" kernel in the user's home may belong to another Python, where the course is not installed.
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    os.environ.update(PATIENT_THREADS | os.environ)  # kernels inherit it; what the user has set stays

    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    LabApp.launch_instance(arguments)


@app.command()
def run(
    numbers: Numbers = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for the numerical libraries.")] = None,
) -> None:
    """Run lessons without a browser: executed copies in build/run/, time, memory and failures in build/summary.json."""
    from frcnn_lessons.course import lessons

    out = CHECKOUT / "build"
    runs = [lessons.run(path, out / "run", threads, after_cell) for path, after_cell in _with_bars(numbers)]
    lessons.write_summary(runs, out / "summary.json")
    typer.echo(f"{'lesson':32}{'time':>10}{'memory':>10}")
    for result in runs:
        line = f"{result.name:32}{result.seconds:8.1f} s{result.peak_mb:7d} MB{'  FAILED' if result.failure else ''}"
        typer.echo(line)
    _end("\n".join(result.failure for result in runs if result.failure))


@app.command()
def build(numbers: Numbers = None) -> None:
    """Run lessons in fresh kernels and store their outputs in notebooks/, each whole or not at all."""
    from frcnn_lessons.course import lessons

    failures = []
    for path, after_cell in _with_bars(numbers):
        try:
            lessons.build(path, after_cell)
        except lessons.LessonError as error:
            failures.append(str(error))
    _end("\n".join(failures))


@app.command()
def lint(numbers: Numbers = None) -> None:
    """Say what is wrong with lessons as they are stored, without running them. Exit code 1 when something is."""
    from frcnn_lessons.course import lessons

    _end("\n".join(sentence for path in _lessons(numbers) for sentence in lessons.look_over(path, CHECKOUT)))
    typer.echo("in good order")


@app.command()
def table() -> None:
    """Train all detectors alike (ten minutes on two cores) and store what they score in notebooks/table.json."""
    from frcnn_lessons.course import reference, results

    data, rows = reference.load(), {}
    for detector in results.DETECTORS:
        rows[detector] = reference.measure(detector, data)
        typer.echo(f"{detector:26}AP50 {rows[detector].ap50:.3f}{rows[detector].training_seconds:6.0f} s")
    results.write(rows, results.REFERENCE)


@app.command()
def release(
    numbers: Numbers = None,
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="notebooks/exercises by default.")] = None,
) -> None:
    """Make the notebooks of the exercises from notebooks/instructor/ and frcnn_lessons/exercises/."""
    from frcnn_lessons.course import book, lessons

    try:
        notebooks = lessons.lessons_folder(CHECKOUT)
        for path in book.release(notebooks / "instructor", to or notebooks / "exercises", numbers or ()):
            typer.echo(path.name)
    except (book.BookError, lessons.LessonError) as error:
        _end(str(error))


app.add_typer(data_app, name="data")
for command in (detector_commands.train, detector_commands.evaluate, detector_commands.detect, serve):
    app.command()(command)


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def course(words: Annotated[list[str] | None, typer.Argument(metavar="COMMAND ...")] = None) -> None:
    """For instructors: init, release, collect, grade, feedback, export, as notebooks/instructor/README.md says."""
    from frcnn_lessons.course.grading.commands import app as of_courses

    try:
        of_courses(words or ["--help"], prog_name="frcnn-lessons course")
    except OSError as error:
        _end(f"{error.filename or 'the folder of the course'} cannot be used ({error.strerror or error}); name another")


def _lessons(numbers: list[str] | None) -> list[Path]:
    """Return the lessons asked for; leave with exit code 1 when one of them is not there."""
    from frcnn_lessons.course import lessons

    try:
        return lessons.find(numbers or [], lessons.lessons_folder(CHECKOUT))
    except lessons.LessonError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _with_bars(numbers: list[str] | None) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Yield each lesson asked for, and what to call after each of its cells; a progress bar counts the calls."""
    from tqdm import tqdm

    from frcnn_lessons.course import lessons

    for path in _lessons(numbers):
        with tqdm(total=lessons.count_code_cells(path), desc=path.stem, unit="cell") as bar:
            yield path, bar.update


def _end(failures: str) -> None:
    """Leave with exit code 1 when something failed, and say what."""
    if failures:
        typer.echo(failures, err=True)
        raise typer.Exit(1)


def main() -> None:
    """Run the command; one that misses a package says which extra brings it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for names of files and classes that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in LESSONS_ONLY:
            sys.exit(f'{package} is not installed, which lessons need: uv sync, or pip install -e ".[lessons]"')
        if package in SERVE_ONLY:
            sys.exit(
                f"{package} is not installed, which the service needs: uv run --extra serve frcnn-lessons serve, or "
                'pip install -e ".[serve]"'
            )
        if package == "nbgrader":
            sys.exit(
                "nbgrader is not installed, which the gradebook.db of your course needs: uv sync --extra instructor, "
                'or pip install -e ".[instructor]"'
            )
        raise


if __name__ == "__main__":
    main()
