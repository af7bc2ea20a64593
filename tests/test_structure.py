"""The house rules of the package, read from its source: import floors, docstrings, a test for every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "frcnn_lessons"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

# A module imports only from lower floors. The modules of `datasets` and `exercises` may import each other.
FLOORS = {
    0: ["files"],
    1: ["boxes", "datasets", "roi"],
    2: ["selective_search", "metrics", "backbones", "roi_fast", "sampling", "anchors", "plots", "checks"],
    3: ["rcnn", "sppnet", "fast_rcnn", "rpn"],
    4: ["faster_rcnn", "recipes", "checkpoints", "schedule"],
    5: ["training", "exercises", "torchvision_twin"],
    6: ["four_step", "service"],
    7: ["course"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}


def room(module: str) -> str:
    """Return the first part of a module's name within the package: "datasets.voc" is in "datasets"."""
    return module.split(".")[0]


def imports(source: str) -> Iterator[str]:
    """Yield the modules of this package that a source imports, anywhere in it, without the package's name."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            # "from frcnn_lessons import boxes" imports a module, "from frcnn_lessons.boxes import iou" a function.
            names = [f"frcnn_lessons.{alias.name}" for alias in node.names] if node.module == "frcnn_lessons" else []
            names = names or [node.module or ""]
        yield from (name.removeprefix("frcnn_lessons.") for name in names if name.startswith("frcnn_lessons."))


def breaches(module: str, source: str) -> list[str]:
    """Return what a module imports from its own floor or from above."""
    return [
        f"{module} imports {other}"
        for other in imports(source)
        if room(other) != room(module) and FLOOR_OF[room(other)] >= FLOOR_OF[room(module)]
    ]


def name_of(path: Path) -> str:
    """Return a module's name without the package: "datasets.voc"; the package itself is ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_lower_floors(path):
    module = name_of(path)
    if not module:
        assert list(imports(path.read_text())) == [], "importing the package must stay free of cost"
        return
    assert room(module) in FLOOR_OF, f"{module} has no floor: put it into the table"
    assert breaches(module, path.read_text()) == []


def test_the_check_of_floors_sees_every_way_to_import():
    upward = ["import frcnn_lessons.rpn", "from frcnn_lessons import rpn", "from frcnn_lessons.rpn import loss"]
    for line in upward:
        assert breaches("roi", line) == ["roi imports rpn"] or breaches("roi", line) == ["roi imports rpn.loss"]
        assert breaches("roi", f"def f():\n    {line}") != [], "an import inside a function counts too"
        assert breaches("faster_rcnn", line) == []
    assert breaches("roi", "from frcnn_lessons.anchors import grid") != [], "a module of the same floor"
    assert breaches("datasets.voc", "from frcnn_lessons.datasets.sample import Sample") == []
    assert breaches("service", "from frcnn_lessons.course.cli import app") != [], "nothing imports cli"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    bare = [] if ast.get_docstring(tree) or not tree.body else [f"{path.name} itself"]
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    holders = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))]
    for holder in holders:
        for node in holder.body:
            if isinstance(node, definitions) and not node.name.startswith("_") and not ast.get_docstring(node):
                bare.append(node.name)
    assert bare == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=name_of)
def test_every_module_has_a_test_of_its_name(path):
    # A part of `datasets` or `exercises` may be tested through a module that is made of it.
    siblings = [other for other in path.parent.glob("*.py") if path.parent != PACKAGE and other.name != "__init__.py"]
    users = [other for other in siblings if name_of(path) in imports(other.read_text())]
    names = [path.stem, f"course_{path.stem}", path.parent.name]
    assert users or any((ROOT / "tests" / f"test_{name}.py").is_file() for name in names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_source_holds_a_path_of_one_machine(path):
    for root in ("/home/", "/Users/", "/root/", "/work/"):
        # lessons.py names these folders in the pattern that looks for them, without a name behind them.
        assert f'"{root}' not in path.read_text()
        assert f"'{root}" not in path.read_text()
