"""What a lesson shows of the package: all of a function, or a part that must still be there."""

import re

import pytest

from frcnn_lessons.course.source import show_source
from frcnn_lessons.rpn import RPN
from frcnn_lessons.sampling import SampledRegions, sample


def shown(capsys, *arguments, **named):
    show_source(*arguments, **named)
    return capsys.readouterr().out


def example(x):
    """Add one.

    At length.
    """
    # a comment stays
    y = x + 1
    if y > 2:
        y = y + 0
    return y


class Holder:
    """A class."""

    number = 1

    def method(self, x):
        """One line."""
        return x

    def odd(self):
        """Hold a string that reaches the left margin."""
        return """
flush left
"""


def bare(x):
    return x


def one_line(): """A docstring beside the name."""  # fmt: skip


def test_a_function_is_shown_without_its_docstring(capsys):
    assert shown(capsys, example) == (
        "def example(x):\n    # a comment stays\n    y = x + 1\n    if y > 2:\n        y = y + 0\n    return y\n"
    )
    assert '"""Add one.' in shown(capsys, example, docstring=True)
    assert shown(capsys, bare) == "def bare(x):\n    return x\n"


def test_a_method_moves_to_the_left_and_a_class_keeps_the_docstrings_of_its_methods(capsys):
    assert shown(capsys, Holder.method) == "def method(self, x):\n    return x\n"
    text = shown(capsys, Holder)
    assert text.startswith("class Holder:\n")
    assert "A class." not in text
    assert '"""One line."""' in text


def test_odd_functions_are_shown_as_they_are(capsys):
    odd = shown(capsys, Holder.odd)
    assert odd.strip().startswith("def odd(self):")
    assert "Hold a string" not in odd
    assert "\nflush left\n" in odd
    assert shown(capsys, one_line).startswith('def one_line(): """A docstring')


def test_a_part_is_shown_from_line_to_line_and_moved_to_the_left(capsys):
    assert shown(capsys, example, ("if y", "y + 0")) == "if y > 2:\n    y = y + 0\n"
    assert shown(capsys, example, ("return y", "return y")) == "return y\n"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (("z = ", "return y"), "the source of example has 0 lines with 'z = '"),
        (("y = ", "return y"), "the source of example has 2 lines with 'y = '"),
        (("return y", "if y"), "'if y' comes before 'return y'"),
        (("Add one", "return y"), "has 0 lines with 'Add one'"),
    ],
)
def test_a_part_that_is_not_there_any_more_is_an_error(capsys, part, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        show_source(example, part)
    assert capsys.readouterr().out == "", "nothing is shown then"


def test_the_packages_own_functions_methods_and_classes_can_be_shown(capsys):
    assert shown(capsys, sample).startswith("def sample(")
    assert shown(capsys, RPN.propose).startswith("def propose(")
    assert shown(capsys, SampledRegions).startswith("class SampledRegions(NamedTuple):")
