"""`frcnn-lessons serve`: a detector that programs and people can ask over HTTP. Lesson 13."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="[CHECKPOINT]", help="Of `train`; else a detector for drawn streets.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0 to be reached from other machines.")] = "127.0.0.1",
) -> None:
    """Serve a detector over HTTP: POST /tag, and a page to try it."""
    from frcnn_lessons.checkpoints import CheckpointError
    from frcnn_lessons.detectors import load_detector
    from frcnn_lessons.service import server
    from frcnn_lessons.service.streets_model import streets_detector

    try:
        listening = server.listen(host, port)  # before a minute is spent on training
        detector = load_detector(checkpoint) if checkpoint else streets_detector(typer.echo)
    except (OSError, CheckpointError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    name, number = listening.getsockname()[:2]
    typer.echo(f"Serving {', '.join(detector.classes)} at http://{name}:{number} (Ctrl-C ends it)")
    server.serve(detector, listening)
