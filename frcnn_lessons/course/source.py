"""Show a reference implementation in a lesson, or the part of it that the lesson is about."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def show_source(thing: Callable[..., Any] | type, part: tuple[str, str] | None = None, docstring: bool = False) -> None:
    """Print the source of a function, method or class.

    Args:
        thing: what to show.
        part: the words of the line to begin with and of the line to end with; what lies between is moved to the left.
            If the source has changed so that they are not there any more, or more than once, that is an error: a
            lesson must not go on to show something else.
        docstring: show it, too. A lesson has usually said it better.

    Raises:
        ValueError: the source has no such line, more than one, or the last comes before the first.

    Example:
        >>> from frcnn_lessons.boxes import iou_core
        >>> show_source(iou_core, part=("intersection, union", "return"))
        intersection, union = intersection_and_union(a, b, _area(a), _area(b))
        return intersection / union
    """
    lines = inspect.getsource(thing).splitlines()
    if not docstring:
        # A method is indented, which Python only accepts behind something like this.
        inside = lines[0].startswith(" ")
        tree: Any = ast.parse("\n".join(["if True:" if inside else "", *lines]))
        definition = tree.body[0].body[0] if inside else tree.body[0]
        first = definition.body[0]  # the docstring, if there is one; line 1 is the one put in front
        if ast.get_docstring(definition) is not None and first.lineno > definition.lineno:
            lines[first.lineno - 2 : first.end_lineno - 1] = []
    if part is not None:
        begin, end = (_only_line(lines, words, thing) for words in part)
        if end < begin:
            raise ValueError(f"in the source of {thing.__qualname__}, {part[1]!r} comes before {part[0]!r}")
        lines = lines[begin : end + 1]
    print(textwrap.dedent("\n".join(lines)).strip("\n"))


def _only_line(lines: list[str], words: str, thing: Any) -> int:
    found = [number for number, line in enumerate(lines) if words in line]
    if len(found) != 1:
        raise ValueError(
            f"the source of {thing.__qualname__} has {len(found)} lines with {words!r}, and must have one: it has "
            "changed; choose the part anew"
        )
    return found[0]
