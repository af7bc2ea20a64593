"""The house rules of the package: floors, length, a test for every module, no path of one machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "frcnn_lessons"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What students read, as README lists it.
README = (ROOT / "README.md").read_text()
READ = re.findall(r"^- \[`(\w+)`\]\(frcnn_lessons/\w+\.py\): .*\(lesson \d\d\)$", README, re.MULTILINE)


def name_of(path: Path) -> str:
    """Return a module's name without the package: "datasets.voc"; the package itself is ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def contracts(folder: Path) -> subprocess.CompletedProcess:
    """Run import-linter on a package `frcnn_lessons` in a folder, with the project's own contracts."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_modules_import_from_lower_floors_only_and_never_in_a_circle():
    done = contracts(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("roi", "from frcnn_lessons.roi_fast import roi_pool"),
        ("boxes", "import frcnn_lessons.rpn"),
        ("batch", "def f():\n    from frcnn_lessons import faster_rcnn"),  # an import inside a function counts, too
        ("sampling", "from frcnn_lessons.anchors import inside"),  # of the same floor
        ("plots", "from frcnn_lessons.course import results"),
        ("newcomer", ""),  # a module without a floor
    ],
)
def test_a_breach_of_the_floors_is_seen(tmp_path, module, line):
    # The package in small: every module's imports, and one line more.
    for path in MODULES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        imports = re.findall(
            r"^ *from frcnn_lessons[^(\n]*$|^ *import frcnn_lessons.*$", path.read_text(), re.MULTILINE
        )
        copy.write_text("\n".join(one.strip() for one in imports) + "\n")
    with (tmp_path / "frcnn_lessons" / f"{module}.py").open("a") as file:
        file.write(f"{line}\n")
    done = contracts(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "floors of the house" in done.stdout
    assert module in done.stdout


def test_what_students_read_stays_short():
    assert len(READ) == 14, "README's list of what to read has changed"
    lines = {name: len((PACKAGE / f"{name}.py").read_text().splitlines()) for name in READ}
    assert sum(lines.values()) < 4000, lines


@pytest.mark.parametrize(
    "path", [path for path in MODULES if not {"course", "exercises"} & set(path.parts)], ids=name_of
)
def test_every_module_of_the_package_names_its_lesson(path):
    if path != PACKAGE / "__init__.py":
        assert re.search(r"\b[Ll]essons? \d\d\b", ast.get_docstring(ast.parse(path.read_text())))


def test_importing_the_package_costs_nothing():
    assert "import" not in (PACKAGE / "__init__.py").read_text()


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=name_of)
def test_every_module_has_a_test_of_its_name(path):
    # In a folder the name may stand behind that of the folder, and parts that only their folder uses may be tested
    # through it.
    names = [path.stem] if path.parent == PACKAGE else [f"{path.parent.name}_{path.stem}", path.stem, path.parent.name]
    users = [
        other
        for other in path.parent.glob("*.py")
        if path.parent != PACKAGE and other != path and f"frcnn_lessons.{name_of(path)} import" in other.read_text()
    ]
    assert users or any((ROOT / "tests" / f"test_{name}.py").is_file() for name in names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_source_holds_a_path_of_one_machine(path):
    for root in ("/home/", "/Users/", "/root/", "/work/"):
        # The linter of the lessons names these folders in a pattern, without a name behind them.
        assert f'"{root}' not in path.read_text()
        assert f"'{root}" not in path.read_text()
