"""The commands `frcnn-lessons data`: look at a data set, fetch PASCAL VOC 2007. Lesson 12."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from frcnn_lessons.files import data_folder, written_whole

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# How data are read; `train` and `evaluate` have these options too.
BadBoxes = Annotated[
    Literal["raise", "clip", "drop"],
    typer.Option(help="Boxes that reach beyond their image: refuse them, cut them at its border, or leave them out."),
]
Background = Annotated[bool, typer.Option("--background", help="Images without an XML hold no objects.")]
Exif = Annotated[
    Literal["refuse", "apply", "ignore"], typer.Option(help="What to do with images that EXIF says to turn.")
]
ZeroBased = Annotated[bool, typer.Option("--zero-based", help="VOC boxes are edges that count from 0.")]

app = typer.Typer(help="Look at data of your own; fetch PASCAL VOC 2007.", no_args_is_help=True)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A VOC folder, a COCO JSON, an Open Images CSV, or the folder of one.")],
    images: Annotated[Path | None, typer.Option(help="The folder of images, if it is not beside the file.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with pictures, too.")] = None,
    bad_boxes: BadBoxes = "raise",
    background: Background = False,
    exif: Exif = "refuse",
    zero_based: ZeroBased = False,
) -> None:
    """Say what a data set is, how much it holds, and all that is wrong with it. Exit code 1 when something is."""
    from frcnn_lessons.datasets.report import check_data

    with sentences():
        report = check_data(
            path, images=images, bad_boxes=bad_boxes, background=background, exif=exif, one_based=not zero_based
        )
    typer.echo(str(report))
    if html is not None:
        try:
            with written_whole(html) as temporary:
                temporary.write_text(report.as_html(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            typer.echo(f"{html}: the page cannot be written ({error.strerror}); name another file", err=True)
            raise typer.Exit(1) from None
    raise typer.Exit(1 if report.defects else 0)


@app.command()
def voc2007(
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The data folder of the course by default.")] = None,
) -> None:
    """Fetch PASCAL VOC 2007, 900 MB; what is there already is not fetched again."""
    from frcnn_lessons.datasets.sample import DataError
    from frcnn_lessons.datasets.voc2007 import fetch_voc2007

    try:
        typer.echo(fetch_voc2007(to or data_folder()))
    except DataError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"VOC 2007 cannot be kept there ({error}); name another folder with --to", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; run the command again to go on", err=True)
        raise typer.Exit(130) from None


@contextmanager
def sentences(stopped: str = "stopped") -> Iterator[None]:
    """Leave with a sentence where something is wrong that a user can mend.

    Args:
        stopped: what to say after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\n{stopped}", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        remedy = "; make room, then go on with --resume" if error.errno in DISK_FULL else ""
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"{where}{error.strerror or error}{remedy}", err=True)
        raise typer.Exit(1) from None
    except (ValueError, FloatingPointError) as error:  # DataError, CheckpointError and RunError are ValueErrors
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
