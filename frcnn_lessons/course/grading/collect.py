"""Take submissions out of what Moodle and Canvas give for download: zip archives from strangers.

Nothing is unpacked by its path: members are read one by one, within limits, and written under names of our own. A
notebook is known by its cells, not by its name.
"""

import lzma
import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from frcnn_lessons.course.grading.rebuild import LARGEST, lesson_of, read_submission
from frcnn_lessons.course.grading.tables import read_table
from frcnn_lessons.files import written_whole

MOST_MEMBERS, MOST_BYTES = 20_000, 2 * 2**30  # of an archive, unpacked

# What zipfile raises for an archive that is damaged, locked, or packed in a way that it does not know.
UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, IndexError, zlib.error, lzma.LZMAError)
MOODLE = re.compile(r"^(?P<who>.+?)_(?P<number>\d+)_assignsubmission_")  # a folder, or a file if "in folders" is off
CANVAS = re.compile(r"^(?P<who>[^_]+)(?:_LATE)?_(?P<number>\d+)_\d+_.+$", re.IGNORECASE)


@dataclass
class Collected:
    """What came of a download: `taken` are (student, lesson, path), `problems` sentences, `missing` students."""

    taken: list[tuple[str, str, Path]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def collect(download: Path, folder: Path, sources: dict[str, NotebookNode], roster: Path) -> Collected:
    """Put each student's notebook at `folder/STUDENT/LESSON/LESSON.ipynb`; what was collected before is replaced.

    Args:
        download: a zip archive of Moodle or Canvas, or a folder of what lay in one.
        folder: of the submissions.
        sources: the instructor's notebooks by lesson.
        roster: `students.csv` with the columns id and name; where there is none, nobody is missing.

    Raises:
        TableError: the roster cannot be read.
    """
    found, students = Collected(), read_roster(roster)
    owners: dict[str, str] = {}
    for path, data in _members(download, found):
        who, number = _who(path)
        student = students.get(_slug(who), _slug(who))
        if not student:
            found.problems.append(f"{path}: it is not to be told whose this is.")
            continue
        if students and _slug(who) not in students:
            found.problems.append(f"{path}: students.csv has no {who}; kept as {student}.")
        if owners.setdefault(student, number) != number:
            found.problems.append(f"{path}: a second student is called {who}; kept as {student}-{number}.")
            student = f"{student}-{number}"
        target = folder / student / "unknown" / re.sub(r"[^\w.-]", "_", Path(path).name)[-80:]
        _write(target, data)
        submission = read_submission(target)
        lesson = lesson_of(submission, sources)
        if not lesson:
            why = submission.notes or ["none of its cells is an answer to a lesson that was released."]
            found.problems.append(f"{student}, {path}: {' '.join(why)}")
            continue
        place = folder / student / lesson / f"{lesson}.ipynb"
        if any(one[:2] == (student, lesson) for one in found.taken):
            found.problems.append(f"{student}, {path}: a second notebook of lesson {lesson}; the last one counts.")
            found.taken = [one for one in found.taken if one[:2] != (student, lesson)]
        _write(place, data)
        target.unlink()
        if not any(target.parent.iterdir()):
            target.parent.rmdir()
        found.taken.append((student, lesson, place))
    lessons = Counter(lesson for _, lesson, _ in found.taken)
    usual = max(lessons, key=lambda lesson: lessons[lesson], default="")
    has_it = {student for student, lesson, _ in found.taken if lesson == usual}
    for student, lesson, _ in found.taken:
        if student not in has_it:
            found.problems.append(f"{student}: handed in {lesson}, and not {usual} as most did.")
    handed_in = {student for student, _, _ in found.taken}
    found.missing = sorted(set(students.values()) - handed_in)
    return found


def read_roster(path: Path) -> dict[str, str]:
    """The students of a course: their ids by the names that an archive may call them.

    Raises:
        TableError: the table cannot be read.
    """
    students: dict[str, str] = {}
    for row in read_table(path, ("id", "name")):
        if student := _slug(row["id"]):
            words = row["name"].split()
            names = (" ".join(words), "".join(words[-1:] + words[:-1]), "".join(words), row["id"])
            students |= {_slug(name): student for name in names if _slug(name)}
    return students


def _members(download: Path, found: Collected) -> Iterator[tuple[str, bytes]]:
    """The path and the bytes of each notebook; what cannot be read is named among the problems."""
    if download.is_dir():
        for path in sorted(download.rglob("*")):
            within = path.relative_to(download).as_posix()
            if path.is_dir() and not path.is_symlink():
                continue
            if path.is_symlink() or not path.is_file():
                found.problems.append(f"{within}: a link or no file; left out.")
            elif path.suffix == ".ipynb" and path.stat().st_size <= LARGEST:
                yield within, path.read_bytes()
            elif path.suffix == ".zip":
                for inside, data in _members(path, found):
                    yield f"{within}/{inside}", data
            else:
                found.problems.append(f"{within}: no notebook, or too large; left out.")
        return
    try:
        with zipfile.ZipFile(download) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_MEMBERS:
                found.problems.append(f"{download.name} has more than {MOST_MEMBERS} files and was not opened.")
                return
            left = MOST_BYTES
            for info in infos:
                if info.is_dir():
                    continue
                if not info.filename.lower().endswith(".ipynb"):
                    found.problems.append(f"{info.filename}: no notebook; left out.")
                elif info.file_size > min(LARGEST, left):
                    found.problems.append(f"{info.filename}: too large; left out.")
                else:
                    try:
                        with archive.open(info) as file:
                            data = file.read(LARGEST + 1)  # the size that an archive states may be a lie
                    except UNREADABLE as error:
                        found.problems.append(f"{info.filename}: it cannot be unpacked ({type(error).__name__}).")
                        continue
                    left -= len(data)
                    yield info.filename, data
    except UNREADABLE as error:
        found.problems.append(f"{download.name} is no zip archive that can be read ({error}).")


def _who(path: str) -> tuple[str, str]:
    """Name and number of the student, from a path in an archive of Moodle or Canvas, or of folders by student."""
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")]
    for part in parts:  # from outside: what stands within an archive of a student's is that student's invention
        if match := MOODLE.match(part) or CANVAS.match(part):
            return match["who"], match["number"]
    folders = parts[:-1]
    archives = [place for place, part in enumerate(folders) if part.endswith(".zip")]
    if archives:
        folders = folders[: archives[0]] or folders[archives[-1] + 1 :]
    return (folders[-1], "") if folders else ("", "")


def _slug(name: str) -> str:
    """A name as that of a folder: letters of any script, digits and hyphens.

    macOS writes an accent as a character of its own, which is put back onto its letter.
    """
    return re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFC", name).strip().lower()).strip("-_")[:80]


def _write(path: Path, data: bytes) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
