"""Names that an answer may not use, found in its syntax tree before it runs.

Two kinds: what the exercise does not allow (`boxes.iou` where IoU is to be written), and what no answer needs but a
fraud does (`eval`, `sys`, `ctypes`). An instructor can accept an answer by hand.
"""

import ast
from collections.abc import Iterator, Sequence

# No reference of the course uses one of these: a test sees to that.
# fmt: off
BUILTINS = frozenset({
    "eval", "exec", "compile", "__import__", "__builtins__", "globals", "locals", "vars", "breakpoint", "delattr",
    "setattr", "get_ipython", "open", "input",
})
# fmt: on
# Modules, and attributes that lead to them; a variable of such a name is nobody's business.
# fmt: off
SUSPICIOUS = frozenset({
    "builtins", "sys", "os", "_os", "_sys", "subprocess", "importlib", "inspect", "ctypes", "gc", "atexit",
    "signal", "threading", "_thread", "multiprocessing", "socket", "runpy", "code", "marshal", "pickle", "shelve",
    "pty", "resource", "mmap", "linecache", "traceback", "tracemalloc", "psutil", "nbgrader", "pkgutil", "weakref",
    "faulthandler", "concurrent", "asyncio", "attrgetter", "methodcaller", "ops", "cpp_extension", "hub",
    "codeop", "timeit", "cProfile", "profile", "pdb", "bdb", "doctest", "pydoc", "get_type_hints", "ForwardRef", "jit",
    "_C", "_ops", "ctypeslib", "cffi", "open", "fromfile", "from_file", "memmap", "tofile", "loadtxt", "genfromtxt",
    "pathlib", "shutil", "tempfile", "glob", "fileinput", "fcntl", "FileIO", "read_text", "write_text", "read_bytes",
    "write_bytes", "urllib", "http", "httpx", "requests", "ssl", "ftplib", "smtplib", "pycocotools",
    "f_globals", "f_locals", "f_back", "tb_frame", "gi_frame", "cr_frame",
})
# fmt: on
# fmt: off
FINE_DUNDERS = frozenset({
    "__name__", "__doc__", "__class__", "__init__", "__call__", "__len__", "__getitem__", "__setitem__", "__iter__",
    "__next__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__sub__", "__mul__", "__truediv__",
    "__and__", "__or__", "__repr__", "__str__", "__enter__", "__exit__", "__contains__", "__hash__",
    "__post_init__", "__version__", "__annotations__", "__future__",
})
# fmt: on


def names_not_allowed(answer: str, before: Sequence[str], forbidden: Sequence[str]) -> list[str]:
    """What an answer uses and must not, as it stands there; in order, without repetition.

    Args:
        answer: the source of the student's cell, helpers included.
        before: sources of the notebook whose imports give names their meaning.
        forbidden: modules, functions or ".method" that the exercise does not allow.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it cannot be read. Then it must not run either: another
            process may read what is nested too deeply for this one.
    """
    tree = ast.parse(answer)
    meanings: dict[str, str] = {}
    for source in before:
        meanings |= _imported(ast.parse(source))
    meanings |= _imported(tree)
    meanings |= {
        target.id: _full(node.value, meanings)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Attribute, ast.Name))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return list(dict.fromkeys(_found(tree, meanings, forbidden)))


def _found(tree: ast.AST, meanings: dict[str, str], forbidden: Sequence[str]) -> Iterator[str]:
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            fulls = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            fulls = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, (ast.Attribute, ast.Name)):
            fulls = [_full(node, meanings)] if id(node) not in inner else []  # `a.b` of `a.b.c` is a part of it
            if isinstance(node, ast.Attribute) and f".{node.attr}" in forbidden:
                yield ast.unparse(node)
        elif isinstance(node, ast.MatchClass):  # `case object(__globals__=found)` reads an attribute, too
            fulls = [f"object.{attribute}" for attribute in node.kwd_attrs]
        else:
            continue
        for full in fulls:
            if any(full == no or full.startswith(no + ".") for no in forbidden if no[0] != ".") or _is_suspicious(
                full,
                is_variable=not isinstance(node, (ast.Import, ast.ImportFrom)) and _root(node) not in meanings,
            ):
                yield ast.unparse(node)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "getattr" and id(node) not in called:
            yield "getattr"  # handed on, it could be called with anything
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            name = node.args[1] if len(node.args) > 1 else None
            attribute = str(name.value) if isinstance(name, ast.Constant) else "__computed"
            if attribute in SUSPICIOUS or attribute.startswith("__"):
                yield ast.unparse(node)


def _is_suspicious(full: str, is_variable: bool) -> bool:
    if full.startswith("frcnn_lessons.exercises.check"):
        return False  # the student's own check of it, which says nothing where it is graded
    parts = full.split(".")
    if full.startswith(("frcnn_lessons.exercises", "frcnn_lessons.course")) or parts[0] in BUILTINS:
        return True
    if any(part.startswith("__") and part not in FINE_DUNDERS for part in parts):
        return True
    attributes = parts[2:] if full.startswith("torchvision.ops") else parts[1:] if is_variable else parts
    return not SUSPICIOUS.isdisjoint(attributes)


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _imported(tree: ast.AST) -> dict[str, str]:
    """What names mean that imports bind: {"ops": "torchvision.ops"}."""
    meanings = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                meanings[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            meanings |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return meanings


def _full(node: ast.AST, meanings: dict[str, str]) -> str:
    """The dotted name behind an expression; parts that are no names are left out."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.insert(0, meanings.get(node.id, node.id))
    return ".".join(parts)
