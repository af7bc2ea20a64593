"""What an exercise is: one description, from which its checker, its cells, its tables and its tests are made.

How to write one (`boxes_and_iou` is the model). A module a lesson, named like its notebook, ends with
`EXERCISES = (...)` and has a line in `catalogue`. For an exercise in which a function is written:

    def half(numbers):
        '''Half of each of N numbers.'''                         # the stub shows signature and docstring
        return numbers / 2

    HALF = Exercise(
        kind="implement", reference=half, number="01.0", title="Half of it", minutes=5, points=2, goals=(1,), core=True,
        text="Return half of each number. `N` may be 0.",        # Markdown, all that the student reads beside the stub
        cases=(                                                  # in order of teaching; the first that fails is told
            on_paper("one number", tensor([4.0]), gives=[2]),    # label, inputs, the answer worked out by hand
            edge("no numbers at all", torch.zeros(0)),
            *at_random(lambda n, draw: (torch.rand(n, generator=draw),)),
        ),
        impostors=(                                              # known wrong answers: edits of the reference's source
            Impostor("doubled", "That is twice as much, not half.", change={"/ 2": "* 2"}),
            Impostor("off", "One too many.", function=lambda numbers: numbers / 2 + 1),
        ),
        hints=("Look at one number.", "Which sign divides?", "`numbers / ...`"),
        forbidden=("torch.div",),                                # modules, functions or ".method" not to be used
        variants=(Variant("third", "Return a third.", change={"/ 2": "/ 3"}, gives={"one number": [4 / 3]}),),
    )

- `kind="find the bug"` also: `given=` the impostor whose code the student is given.
- `kind="predict"` and "complete the picture": `name=`, `answer=` (the right value, or one of them), `stub=` what stands
  behind `name = `, and cases from `parts("row 1", "row 2")` where each part has one right value, or experiments that
  measure a property. Impostors have `answer=`. "predict" never prints what was expected.
- `kind="measure"` is like "predict", with `data=` the source of a cell that stands before the answer, and `drawn=` a
  function that makes a variant of a number: other data, and what is right for them. So each student can have their own.
- `kind="explain"`: `name=`, `answer=` a good answer in words, `guide=` how points are given.
- `kind="catch the mistake"`: the reference is a test that takes a function and returns True if it is wrong; cases from
  `right("the course's", f)` and `faulty("boxes far apart", f)`, whose label says in a word where it differs.
- An **experiment** measures something with the student's function instead of comparing its plain answer: drawn numbers,
  training steps, files. `on_paper("no row is drawn twice", *inputs, gives=True, experiment=lambda f, *inputs: ...)`.
- Inputs are copied afresh for each call. An impostor must be wrong in a case on paper, and in two cases at least (its
  hint is shown only then), and never be like another one in all cases: tests see to that.
- Text is Markdown, wrapped at 120 signs like all source; formulas need a raw string (`r"..."`).
- An impostor with `hint=""` is told by its symptom: a changed input, a shape, an exception.
"""

import ast
import copy
import functools
import inspect
import linecache
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

Kind = Literal[
    "implement", "find the bug", "predict", "measure", "complete the picture", "explain", "catch the mistake"
]
Group = Literal["on paper", "edge", "random"]

NOT_SAID = ...  # where None could be meant


@dataclass(frozen=True)
class Case:
    """One question to the student's function.

    Attributes:
        label: in words, as it stands in "no boxes at all: expected ..., got ...".
        inputs: copied at each call, or a function that makes them.
        group: points are given by group.
        gives: the right answer, worked out without the reference; `...` where it is not said.
        experiment: called with the function and the inputs; what it returns is compared in place of the answer.
    """

    label: str
    inputs: tuple[Any, ...] | Callable[[], tuple[Any, ...]]
    group: Group
    gives: Any = NOT_SAID
    experiment: Callable[..., Any] | None = None

    def fresh_inputs(self) -> tuple[Any, ...]:
        """Inputs that nobody else holds."""
        return self.inputs() if callable(self.inputs) else copy.deepcopy(self.inputs)


def on_paper(label: str, *inputs: Any, gives: Any, experiment: Callable[..., Any] | None = None) -> Case:
    """A case small enough to be worked out with a pencil, and its answer."""
    return Case(label, inputs, "on paper", gives, experiment)


def edge(label: str, *inputs: Any, gives: Any = NOT_SAID, experiment: Callable[..., Any] | None = None) -> Case:
    """A case that is legal and easily forgotten: nothing at all, a border, a tie."""
    return Case(label, inputs, "edge", gives, experiment)


def at_random(
    make: Callable[[int, torch.Generator], tuple[Any, ...]],
    count: int = 20,
    sizes: Sequence[int] = (7, 1, 2, 40, 0),
    experiment: Callable[..., Any] | None = None,
) -> list[Case]:
    """Cases of all sizes, the same at every check.

    Args:
        make: called with a size and a generator; gives the inputs.
    """
    return [
        Case(
            f"random case {seed} (size {sizes[seed % len(sizes)]})",
            lambda seed=seed: make(sizes[seed % len(sizes)], torch.Generator().manual_seed(seed)),  # type: ignore[misc]
            "random",
            experiment=experiment,
        )
        for seed in range(count)
    ]


def parts(*labels: str) -> list[Case]:
    """For an answer that is a value: a case for each of its parts, in order; for one label, the value as a whole."""
    if len(labels) == 1:
        return [Case(labels[0], (), "on paper", experiment=lambda value: value())]
    return [
        Case(label, (), "on paper", experiment=lambda value, place=place: value()[place])
        for place, label in enumerate(labels)
    ]


def right(label: str, function: Callable[..., Any]) -> Case:
    """A right function, which a student's test must accept."""
    return Case(label, (function,), "on paper", gives=False)


def faulty(label: str, function: Callable[..., Any]) -> Case:
    """A faulty function, which a student's test should catch; the label says where it differs: "boxes far apart"."""
    return Case(label, (function,), "on paper", gives=True, experiment=_caught)


def _caught(test: Callable[..., Any], function: Callable[..., Any]) -> bool:
    try:
        return bool(test(function))
    except Exception:  # the faulty function failed in the student's hands, which a test may well rely on
        return True


@dataclass(frozen=True, eq=False)
class Impostor:
    """A known wrong answer as code, and the likely mistake in words.

    Attributes:
        name: a word for tables: which mistake how many students made.
        hint: what to say to whoever made it; "" where the symptom says it all.
        change: edits of the reference's source, old text to new; all places are changed.
        function: the wrong function, where an edit would be long.
        answer: the wrong value, for exercises that ask for a value.
    """

    name: str
    hint: str
    change: Mapping[str, str] = field(default_factory=dict)
    function: Callable[..., Any] | None = None
    answer: Any = NOT_SAID


@dataclass(frozen=True)
class Variant:
    """The same exercise with another convention or other numbers, for graded work.

    Attributes:
        text: replaces the exercise's.
        change: edits of the reference's source.
        answer: replaces the exercise's, where it asks for a value.
        data: replaces the exercise's.
        inputs: makes the inputs of a case from those of the exercise, e.g. the same boxes in another format.
        gives: answers worked out by hand, by label; at least one.
        cases: replace the exercise's, where given.
        impostors: added to those of the exercise.
        without: names of the exercise's impostors that this variant does not have.
    """

    name: str
    text: str
    change: Mapping[str, str] = field(default_factory=dict)
    answer: Any = NOT_SAID
    data: str = ""
    inputs: Callable[..., tuple[Any, ...]] | None = None
    gives: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[Case] = ()
    impostors: Sequence[Impostor] = ()
    without: Collection[str] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Exercise:
    """One exercise; the module's docstring says how to write one.

    Attributes:
        number: lesson and place in it, "01.2".
        goals: which of the lesson's "You will be able to" it serves, counted from 1.
        hints: three, from a nudge to nearly the answer.
        data: source of a cell before the answer, with what is to be measured.
        drawn: makes the variant of a whole number; it is called by that number.
        tolerance: of numbers, absolute and relative.
        seconds: for one case.
        any_order: rows of the answer may come in any order.
        may_change: the function may change its inputs (training steps).
        may_draw: the function may use global random numbers (making a network does).
        draw: called with (inputs, expected, got) of the case that failed, where a value is asked for with the value
            before its inputs; draws with matplotlib.
    """

    kind: Kind
    number: str
    title: str
    text: str
    minutes: int
    points: int
    goals: tuple[int, ...]
    core: bool
    name: str = ""
    reference: Callable[..., Any] | None = None
    answer: Any = NOT_SAID
    stub: str = "..."
    given: str = ""
    guide: str = ""
    cases: Sequence[Case] = ()
    impostors: Sequence[Impostor] = ()
    hints: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    data: str = ""
    drawn: Callable[[int], Variant] | None = None
    stars: int = 1
    tolerance: float = 1e-4
    seconds: float = 2.0
    any_order: bool = False
    may_change: bool = False
    may_draw: bool = False
    draw: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.reference is not None:
            object.__setattr__(self, "name", self.reference.__name__)

    @property
    def asks_for_a_value(self) -> bool:
        """Whether the student gives a value and not a function."""
        return self.kind in ("predict", "measure", "complete the picture")

    @property
    def right_function(self) -> Callable[..., Any]:
        """The reference; for a value, a function that returns it."""
        return self.reference or (lambda: self.answer)

    def function_of(self, impostor: Impostor) -> Callable[..., Any]:
        """The impostor's code as a function; for a value, a function that returns it."""
        if impostor.change:
            assert self.reference is not None
            return edited(self.reference, impostor.change, f"{self.name}: {impostor.name}")
        return impostor.function or (lambda: impostor.answer)

    @property
    def given_function(self) -> Callable[..., Any] | None:
        """The faulty function of "find the bug"."""
        found = [impostor for impostor in self.impostors if impostor.name == self.given]
        return self.function_of(found[0]) if found else None

    @property
    def starting_point(self) -> str:
        """The code that the student is given."""
        if self.asks_for_a_value:
            return f"{self.name} = {self.stub}  # your answer here"
        if self.given_function is not None:
            return source_of(self.given_function)
        assert self.reference is not None
        lines = source_of(self.reference).splitlines()
        first = ast.parse("\n".join(lines)).body[0].body[0]  # type: ignore[attr-defined]  # the docstring
        return "\n".join([*lines[: first.end_lineno], "    ...  # your code here"])

    @property
    def solution(self) -> str:
        """A right answer as the student would write it."""
        if self.reference is not None:
            return source_of(self.reference)
        return self.answer if self.kind == "explain" else f"{self.name} = {self.answer!r}"

    def variant_of(self, number: int) -> str:
        """The name of the variant that a number stands for; "" where there is none."""
        if self.drawn is not None:
            return str(number % 10**9)
        return self.variants[number % len(self.variants)].name if self.variants else ""

    @functools.cache  # noqa: B019  # exercises live as long as the program
    def variant(self, name: str) -> "Exercise":
        """The exercise in another convention, or with other data.

        Raises:
            ValueError: there is none of this name; says which there are.
        """
        found = [variant for variant in self.variants if variant.name == name]
        if self.drawn is not None and name.isdecimal():
            found = [self.drawn(int(name))]
        if not found:
            raise ValueError(
                f"{self.name} has no variant {name!r}; it has {', '.join(v.name for v in self.variants) or 'none'}"
            )
        (new,) = found
        cases = [_case_of(new, case) for case in new.cases or self.cases]
        return replace(
            self,
            text=new.text,
            reference=edited(self.reference, new.change, f"{self.name}, {name}") if self.reference else None,
            answer=new.answer,
            data=new.data,
            cases=cases,
            impostors=[i for i in self.impostors if i.name not in new.without] + list(new.impostors),
            variants=(),
        )


def _case_of(variant: Variant, case: Case) -> Case:
    gives = variant.gives.get(case.label, case.gives if variant.cases or case.experiment else NOT_SAID)
    if variant.inputs is None or variant.cases:
        return replace(case, gives=gives)
    return replace(case, gives=gives, inputs=functools.partial(_converted, variant.inputs, case))


def _converted(convert: Callable[..., tuple[Any, ...]], case: Case) -> tuple[Any, ...]:
    return convert(*case.fresh_inputs())


def source_of(function: Callable[..., Any]) -> str:
    """The code of a function, from its own margin."""
    return textwrap.dedent(inspect.getsource(function)).strip("\n")


def edited(function: Callable[..., Any], change: Mapping[str, str], name: str) -> Callable[..., Any]:
    """A function made from another's source by putting new text in place of old, wherever it stands.

    Raises:
        ValueError: the source does not hold the old text.
    """
    source = source_of(function)
    for old, new in change.items():
        if old not in source:
            raise ValueError(f"{name}: the source of {function.__name__} does not hold {old!r}; it may have changed")
        source = source.replace(old, new)
    # Where Python looks for lines of code that lie in no file, so that the new function has a source as well.
    linecache.cache[f"<{name}>"] = (len(source), None, source.splitlines(keepends=True), f"<{name}>")
    names: dict[str, Any] = {}
    exec(compile(source, f"<{name}>", "exec"), inspect.unwrap(function).__globals__, names)
    made: Callable[..., Any] = names[function.__name__]
    return made
