"""Where files go, and how they are written: whole or not at all.

A file or folder is made under a temporary name beside its place and moved there when it is complete, so that a
reader, a second process or a kill in the middle never meets half of one.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The checkout that the package is run from, if it is run from one: where notebooks/ and data/ are, and build/ will be.
CHECKOUT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """Where the course puts data that it makes or fetches.

    The folder named by the environment variable `FRCNN_LESSONS_DATA` if it is set; else `data/` of the checkout that
    the package is run from; else, for an installed package, a folder in the user's cache.
    """
    if named := os.environ.get("FRCNN_LESSONS_DATA"):
        return Path(named).expanduser().resolve()
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "data").is_dir():
        return CHECKOUT / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frcnn-lessons"


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; it takes the place of `path` when the block ends without an error.

    Example:
        >>> with written_whole("history.json") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("[]")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays at the end: some writers choose the format by it (cv2.imwrite, numpy.savez).
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp made it private
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` when the block ends without an error.

    If another process has put its own folder at `path` in the meantime, that one stays and ours is dropped: both
    were made to hold the same.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        try:
            temporary.replace(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
