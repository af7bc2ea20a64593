"""Where files go, and how they are written: whole or not at all.

A file or folder is made under a temporary name beside its place and moved there when it is complete, so that a
reader, a second process or a kill in the middle never meets half of one. Lesson 02.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

# The checkout that the package is run from, if it is run from one: where notebooks/ and data/ are, and build/ will be.
CHECKOUT = Path(__file__).resolve().parents[1]


def user_path(path: Path | str) -> Path:
    """A path as a person wrote it, with a leading `~` made the home folder; links stay links.

    Example:
        >>> user_path("~/photographs") == Path.home() / "photographs"
        True
    """
    # (Path.expanduser raises for a name such as "~old" that is no user's.)
    return Path(os.path.expanduser(path))  # noqa: PTH111


def data_folder() -> Path:
    """Where the course puts data that it makes or fetches.

    The folder named by the environment variable `FRCNN_LESSONS_DATA` if it is set; else `data/` of the checkout that
    the package is run from; else, for an installed package, a folder in the user's cache.
    """
    if named := os.environ.get("FRCNN_LESSONS_DATA"):
        return user_path(named).absolute()
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "data").is_dir():
        return CHECKOUT / "data"
    return platformdirs.user_cache_path("frcnn-lessons", appauthor=False)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Where the folder of the course cannot be used, say which setting moves it.

    Raises:
        OSError: whatever the block raised, of the same class. Its message names `FRCNN_LESSONS_DATA` if `path` lies in
            `data_folder()`; else it is the system's own.
    """
    try:
        yield
    except OSError as error:
        if not path.absolute().is_relative_to(data_folder()):
            raise
        raise type(error)(
            f"{data_folder()}: the course cannot keep its data here ({error.strerror}); set the environment variable "
            "FRCNN_LESSONS_DATA to a folder that you may write to"
        ) from error


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; it takes the place of `path` when the block ends without an error.

    Example:
        >>> with written_whole("history.json") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("[]")
    """
    path = user_path(path)
    # The ending stays at the end: some writers choose the format by it (cv2.imwrite, numpy.savez).
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` when the block ends without an error.

    If another process has put its own folder at `path` in the meantime, that one stays and ours is dropped: both
    were made to hold the same.
    """
    path = user_path(path)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.replace(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
