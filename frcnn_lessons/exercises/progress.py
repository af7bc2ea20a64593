"""How far a student is, in one small JSON file; a file that is damaged or cannot be written stops nothing."""

import json
from pathlib import Path
from typing import Any

from frcnn_lessons.files import data_folder, written_whole


def progress_file() -> Path:
    """Where progress is kept: `progress.json` in the course's data folder."""
    return data_folder() / "progress.json"


def all_notes() -> dict[str, dict[str, Any]]:
    """What was noted of each exercise; nothing at all for a file that is not there or damaged."""
    try:
        notes = json.loads(progress_file().read_text(encoding="utf-8"))
        return {name: dict(note) for name, note in notes.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def notes_of(name: str) -> dict[str, Any]:
    """What was noted of one exercise.

    `solved`: whether a check found it right; `attempts`: fingerprints of wrong answers that differ; `hints`: how many
    were shown; `mistake`: what the last check made of it. Damaged entries come back as if there were none.
    """
    note = all_notes().get(name, {})
    attempts, hints = note.get("attempts"), note.get("hints")
    return {
        "solved": note.get("solved") is True,
        "attempts": list(attempts) if isinstance(attempts, list) else [],
        "hints": hints if isinstance(hints, int) else 0,
        "mistake": str(note.get("mistake", "")),
    }


def note(name: str, **changes: Any) -> None:
    """Keep something about an exercise; where the file cannot be written, it is kept by nobody."""
    notes = all_notes() | {name: notes_of(name) | changes}
    try:
        with written_whole(progress_file()) as temporary:
            temporary.write_text(json.dumps(notes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError:
        pass
