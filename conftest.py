"""For nbval, which runs the notebooks: progress bars are not stored with a lesson, so they are not compared either."""

import importlib.util
from collections.abc import Iterator

import pytest
from nbformat import NotebookNode

# Without the extra `serve` its modules cannot be imported, so nobody looks for examples in them.
collect_ignore = [] if importlib.util.find_spec("fastapi") else ["frcnn_lessons/service"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let nbval compare what a cell gave without its progress bars."""
    if hasattr(item, "compare_outputs"):
        compare = item.compare_outputs
        item.compare_outputs = lambda new, stored: compare(without_bars(new), stored)
    return (yield)


def without_bars(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Drop what `frcnn-lessons build` does not store."""
    from frcnn_lessons.course.lint import is_bar  # here: the checker of shapes must be in place before the package

    return [output for output in outputs if not is_bar(output)]
