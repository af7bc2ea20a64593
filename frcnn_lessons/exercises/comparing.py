"""Whether two answers are the same, and if not, what can be said of the difference for certain.

Answers are compared as numbers, whatever holds them: tensors, NumPy arrays, nested lists, numbers of Python, in any
float dtype. Their shape must be right.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

SMALL = 24  # so many numbers are shown one by one
OF_HALF_PRECISION = 2e-3  # the tolerance of answers in half precision


@dataclass(frozen=True)
class Difference:
    """Where two answers differ.

    Attributes:
        fact: a sentence that is true whatever the cause ("" if there is only "expected and got").
        symptom: the fact in a word, for tables: "nothing", "type", "shape", "nan", "order" or "".
        expected, got: in short, as they are shown.
    """

    expected: str
    got: str
    fact: str = ""
    symptom: str = ""


def plain(value: Any) -> Any:
    """A copy of an answer that no later change can reach, with NumPy arrays for tensors."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.half() if value.dtype == torch.bfloat16 else value).numpy().copy()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else tuple(map(plain, value))
    if value is None or isinstance(value, (bool, int, float, str, set, frozenset, np.ndarray)):
        return copy.deepcopy(value)
    return value


def difference(expected: Any, got: Any, tolerance: float, any_order: bool = False) -> Difference | None:
    """Compare two answers that `plain` has made; None if they are the same.

    Args:
        tolerance: of float numbers, absolute and relative.
        any_order: rows may come in any order.
    """
    both = Difference(shown(expected), shown(got))
    if expected is None or got is None:
        if expected is got:
            return None
        nothing = "It returned nothing: is there a `return`?" if got is None else ""
        return _with(both, nothing, "nothing" if got is None else "")
    if isinstance(expected, tuple) and any(isinstance(one, np.ndarray) and one.ndim for one in expected):
        return _of_sequences(expected, got, both, tolerance, any_order)  # several tensors were asked for, not one
    wanted, given = _as_array(expected), _as_array(got)
    if wanted is not None and given is not None:
        exact = isinstance(expected, np.ndarray) and expected.dtype.kind in "iu"
        is_list = isinstance(got, (list, tuple)) or isinstance(expected, (list, tuple))
        return _of_arrays(wanted, given, both, tolerance, any_order, exact, empty_list=is_list)
    if isinstance(expected, Mapping):
        return _of_mappings(expected, got, both, tolerance)
    if isinstance(expected, (list, tuple)):
        return _of_sequences(expected, got, both, tolerance, any_order)
    if isinstance(expected, type(got)) or isinstance(got, type(expected)):
        return None if expected == got else both
    return _with(both, f"It should be {_kind(expected)} and is {_kind(got)}.", "type")


def _of_arrays(
    wanted: np.ndarray,
    given: np.ndarray,
    both: Difference,
    tolerance: float,
    any_order: bool,
    exact: bool,
    empty_list: bool,
) -> Difference | None:
    if given.size == wanted.size == 0 and empty_list:
        return None  # a list without anything in it has no second axis
    if given.shape != wanted.shape:
        return _with(both, _about_shapes(wanted.shape, given.shape), "shape")
    if exact and given.dtype.kind not in "iu":
        return _with(both, f"Whole numbers are wanted, and it returned {_dtype(given)}.", "type")
    if (wanted.dtype.kind == "b") != (given.dtype.kind == "b") and not np.isin(given, (0, 1)).all():
        return _with(both, f"It should be {_dtype(wanted)} and is {_dtype(given)}.", "type")
    if given.dtype == np.float16:
        tolerance = max(tolerance, OF_HALF_PRECISION)
    says_yes_or_no = wanted.dtype.kind == "b"
    wanted, given = wanted.astype(float), given.astype(float)
    if any_order:
        wanted, given = _sorted(wanted), _sorted(given)
    same = np.isclose(given, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    if same.all():
        return None
    if wanted.size > SMALL:
        first = tuple(int(i) for i in np.argwhere(~same)[0])
        place = f" at [{', '.join(map(str, first))}]" if first else ""
        both = Difference(
            shown(wanted[first]) + place, f"{shown(given[first])} ({(~same).sum()} of {same.size} differ)"
        )
    if np.isnan(given[~np.isnan(wanted)]).any():
        return _with(
            both,
            "There is a NaN in the answer, as comes of 0 divided by 0, or of a logarithm below 0.",
            "nan",
        )
    if (
        wanted.ndim
        and not says_yes_or_no  # as many True as wanted is no order of anything
        and _sorted(wanted).shape == _sorted(given).shape
        and np.allclose(_sorted(wanted), _sorted(given), rtol=tolerance, atol=tolerance)
    ):
        return _with(both, "All the right numbers, in another order.", "order")
    return both


def _of_mappings(expected: Mapping[Any, Any], got: Any, both: Difference, tolerance: float) -> Difference | None:
    if not isinstance(got, Mapping):
        return _with(both, f"It should be a dict and is {_kind(got)}.", "type")
    if set(expected) != set(got):
        keys = ", ".join(map(repr, sorted(expected, key=str)))
        return _with(both, f"The keys should be {keys}.", "shape")
    found = ((key, difference(expected[key], got[key], tolerance)) for key in expected)
    return next((_inside(f"[{key!r}]", one) for key, one in found if one), None)


def _of_sequences(
    expected: Sequence[Any], got: Any, both: Difference, tolerance: float, any_order: bool
) -> Difference | None:
    if not isinstance(got, (list, tuple, np.ndarray)):
        return _with(both, f"It should be {_kind(expected)} and is {_kind(got)}.", "type")
    if len(expected) != len(got):
        return _with(both, f"It should have {_count(len(expected))} and has {len(got)}.", "shape")
    if any_order:
        expected, got = sorted(expected, key=repr), sorted(got, key=repr)
    found = ((place, difference(a, b, tolerance)) for place, (a, b) in enumerate(zip(expected, got, strict=True)))
    return next((_inside(f"part {place}", one) for place, one in found if one), None)


def _inside(place: str, one: Difference) -> Difference:
    return Difference(f"{one.expected} in {place}", one.got, one.fact, one.symptom)


def _with(both: Difference, fact: str, symptom: str) -> Difference:
    return Difference(both.expected, both.got, fact, symptom)


def _about_shapes(wanted: tuple[int, ...], given: tuple[int, ...]) -> str:
    sentence = f"The shape should be {wanted} and is {given}"
    if given == wanted[::-1]:
        return f"{sentence}: rows and columns are exchanged."
    if len(wanted) == 1 and given == wanted * 2 and wanted != (1,):
        return f"{sentence}: a table of everything with everything, where one number a row was asked for."
    if [side for side in given if side != 1] == [side for side in wanted if side != 1]:
        return f"{sentence}: an axis of length 1 too {'many' if len(given) > len(wanted) else 'few'}."
    return f"{sentence}."


def _as_array(value: Any) -> np.ndarray | None:
    """Numbers in whatever holds them; None for what is not numbers, or has rows of unequal length."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "biuf" else None
    if isinstance(value, (bool, int, float)):
        number = np.asarray(value)
        return number if number.dtype.kind in "biuf" else None  # an int beyond 64 bits is an object for NumPy
    if isinstance(value, (list, tuple)):
        inside = [_as_array(one) for one in value]
        if all(one is not None and one.shape == inside[0].shape for one in inside):  # type: ignore[union-attr]
            return np.asarray(inside) if inside else np.zeros(0)
    return None


def _sorted(numbers: np.ndarray) -> np.ndarray:
    """Rows in ascending order."""
    rows = numbers.reshape(len(numbers), -1) if numbers.ndim else numbers.reshape(1, 1)
    return rows[np.lexsort(rows.T[::-1])].reshape(numbers.shape) if rows.size else numbers


def is_rounded(expected: Any, got: Any, decimals: int) -> bool:
    """Whether an answer is the expected one, rounded; never for what is no numbers."""
    wanted, given = _as_array(expected), _as_array(got)
    if wanted is None or given is None or wanted.shape != given.shape:
        return False
    return np.allclose(wanted.astype(float).round(decimals), given.astype(float), rtol=1e-6, atol=1e-6, equal_nan=True)


def same_inputs(before: Any, after: Any) -> bool:
    """Whether tensors, arrays, numbers and texts, alone and in lists and dicts, are what they were, bit for bit."""
    if isinstance(before, torch.Tensor):
        return isinstance(after, torch.Tensor) and same_inputs(before.detach().numpy(), after.detach().numpy())
    if isinstance(before, np.ndarray):
        return before.shape == after.shape and before.dtype == after.dtype and before.tobytes() == after.tobytes()
    if isinstance(before, Mapping):
        return list(before) == list(after) and all(same_inputs(before[key], after[key]) for key in before)
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(map(same_inputs, before, after))
    if isinstance(before, (bool, int, float, str)):
        return before == after or before != before  # the same, or not a number
    return True


def shown(value: Any) -> str:
    """A value in few words: numbers one by one while they are few, else their shape."""
    array = _as_array(plain(value))
    if array is not None:
        if array.size == 0 and array.ndim > 1:
            return f"nothing, shape {array.shape}"
        return _numbers(array.tolist()) if array.size <= SMALL else f"{array.shape} {_dtype(array)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(shown, value[:SMALL])) + (", ..." if len(value) > SMALL else "")
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if callable(value):
        return getattr(value, "__name__", "a function")
    try:
        text = repr(value)
    except Exception:  # of an int with thousands of digits, or of a class of the student's own
        return _kind(value)
    return text if len(text) <= 120 and " at 0x" not in text else _kind(value)


def _count(parts: int) -> str:
    return "1 part" if parts == 1 else f"{parts} parts"


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_numbers, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 10_000 else f"{value}"


def _dtype(array: np.ndarray) -> str:
    return {"b": "True and False", "f": "floats"}.get(array.dtype.kind, "whole numbers")


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a tensor of shape {value.shape}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
