"""Ranges of settings, stated at each field and read by one function.

Most settings out of their range would not fail by themselves: `detections=-1` drops the last one, `foreground_share=2`
gives more regions than were asked for. So a dataclass of settings says at each field what is allowed,

    nms_iou: Share = 0.3
    pool_size: tuple[Count, Count] = (7, 7)

and calls `check_settings(self)` when it is made. Choices between words are a `Literal`. Lesson 07.
"""

import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """Which numbers are allowed, and how a message says it."""

    words: str
    holds: Callable[[float], bool]


Count = Annotated[int, Range("an integer from 1", lambda number: number >= 1)]
Whole = Annotated[int, Range("an integer from 0", lambda number: number >= 0)]
Share = Annotated[float, Range("within 0..1", lambda number: 0 <= number <= 1)]
Inside = Annotated[float, Range("between 0 and 1", lambda number: 0 < number < 1)]
Weight = Annotated[float, Range("0 or more", lambda number: 0 <= number < math.inf)]
Positive = Annotated[float, Range("above 0", lambda number: 0 < number < math.inf)]


def check_settings(settings: Any) -> None:
    """Refuse a dataclass whose values are not what its annotations allow.

    Raises:
        ValueError: names the setting, says what is allowed and what was given.
    """
    for name, allowed in get_type_hints(type(settings), include_extras=True).items():
        _check(name, getattr(settings, name), allowed)


def _check(name: str, value: Any, allowed: Any) -> None:
    kind, parts = get_origin(allowed), get_args(allowed)
    if kind is Annotated:
        number, limits = parts
        # Plain numbers only: those of NumPy could be saved in a checkpoint, but not loaded from it.
        fits = type(value) is int or (type(value) is float and number is float)
        if not (fits and limits.holds(value)):
            raise ValueError(f"{name} must be {limits.words}; got {value!r}")
    elif kind is Literal:
        if value not in parts:
            raise ValueError(f"{name} must be one of {', '.join(parts)}; got {value!r}")
    elif kind in (Union, types.UnionType):  # all of ours are "a number or None"
        if value is not None:
            _check(name, value, parts[0])
    elif kind is tuple:
        length = None if parts[-1] is Ellipsis else len(parts)
        if not isinstance(value, tuple) or (len(value) != length if length else not value):
            raise ValueError(f"{name} must be a tuple of {length or 'one or more'} numbers; got {value!r}")
        for number in value:
            try:
                _check(name, number, parts[0])
            except ValueError as error:  # of the whole tuple, as it was given
                raise ValueError(f"{str(error).partition(';')[0]}; got {value!r}") from None
    elif allowed is bool and type(value) is not bool:
        raise ValueError(f"{name} must be True or False; got {value!r}")
