"""Copy constraints.txt, the one list of pins, to the end of pyproject.toml, the one place where uv looks for pins.

After a change of constraints.txt: `uv run --no-project .ci/pins.py`. With `--renew` constraints.txt itself is made anew
first, from the newest versions that fit together. With `--none` pyproject.toml is left without pins, as .ci/lowest
wants it.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST, PROJECT = ROOT / "constraints.txt", ROOT / "pyproject.toml"
HEAD = "# Every package that the course installs, to the version; CONTRIBUTING.md says how to renew it.\n"
MARK = "# From here on generated from constraints.txt by .ci/pins.py: do not edit.\n"
EXPORT = "uv export --quiet --all-extras --no-hashes --no-emit-project --no-header --no-annotate"


def with_pins(project: str, pins: str) -> str:
    """Return the text of pyproject.toml with the pins of constraints.txt at its end, in place of those before."""
    lines = [line for line in pins.splitlines() if line and not line.startswith("#")]
    block = "".join(f'    "{line}",\n' for line in lines)
    return f"{project.partition(MARK)[0].rstrip()}\n\n{MARK}[tool.uv]\nconstraint-dependencies = [\n{block}]\n"


def renewed() -> str:
    """Return a new constraints.txt: what uv installs when nothing is pinned."""
    subprocess.run(["uv", "lock", "--upgrade"], cwd=ROOT, check=True)
    return HEAD + subprocess.run(EXPORT.split(), cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    before = PROJECT.read_text()
    PROJECT.write_text(with_pins(before, "" if {"--renew", "--none"} & set(sys.argv) else LIST.read_text()))
    if "--renew" in sys.argv:
        try:
            LIST.write_text(renewed())
        finally:  # whatever happened: pins as in the list
            PROJECT.write_text(with_pins(before, LIST.read_text()))
