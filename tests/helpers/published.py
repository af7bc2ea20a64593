"""Known answers of other projects' tests and programs; tests/fixtures/README.md names them."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "fixtures"


def published_case(name: str) -> Any:
    """Read tests/fixtures/<name>.json."""
    return json.loads((FOLDER / f"{name}.json").read_text())
