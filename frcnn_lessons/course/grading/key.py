"""The key of a course: which variants and data are handed out, and the seeds of the cases that nobody has seen.

The repository is public, references and cases included. What a class cannot look up is drawn by `course init`, kept in
`key.json` of the course's folder, and never committed.
"""

import functools
import hmac
import inspect
import json
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.description import Case, Exercise
from frcnn_lessons.files import written_whole

STEP = 2520  # seeds move by a multiple of it, so that a case keeps its size whether there are 1, 2, ... or 10 of them


class KeyMissing(ValueError):
    """A course without a key, or with a damaged one; the message says what to do."""


@dataclass(frozen=True)
class Key:
    """What is secret of a course.

    Attributes:
        shift: added to the seeds of all random cases.
        variants: by exercise, the name of the variant handed out; "" for the exercise as it stands in the repository.
        secret: from which `key_of` draws the variants of each student.
    """

    shift: int
    variants: dict[str, str]
    secret: str = ""


def draw_key() -> Key:
    """A key for a new course: a variant of each exercise that has one."""
    variants = {name: exercise.variant_of(secrets.randbits(64)) for name, exercise in EXERCISES.items()}
    return Key(STEP * (1 + secrets.randbelow(10**9)), variants, secrets.token_hex(32))


def key_of(key: Key, student: str) -> Key:
    """The key for one student: variants and data that nobody can work out without the secret, always the same."""

    def number(name: str) -> int:
        return int.from_bytes(hmac.digest(key.secret.encode(), f"{student}/{name}".encode(), "sha256"))

    return replace(key, variants={name: exercise.variant_of(number(name)) for name, exercise in EXERCISES.items()})


def write_key(key: Key, path: Path) -> None:
    """Write a key, readable for its owner only."""
    with written_whole(path) as temporary:
        temporary.chmod(0o600)
        temporary.write_text(
            json.dumps({"shift": key.shift, "secret": key.secret, "variants": key.variants}, indent=1) + "\n",
            encoding="utf-8",
        )


def read_key(path: Path) -> Key:
    """Read a key; exercises that are newer than it are handed out as they stand.

    Raises:
        KeyMissing: there is none, it is damaged, or it names a variant that is gone.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        variants = {str(name): str(variant) for name, variant in data["variants"].items()}
        key = Key(int(data["shift"]), variants, str(data.get("secret", "")))
    except FileNotFoundError:
        raise KeyMissing(f"{path} is missing: a graded course needs its key; `course init` draws one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyMissing(f"{path} is no key of a course ({error}); take it from your backup") from error
    look_for_variants(key.variants, path)
    return key


def look_for_variants(variants: Mapping[str, str], path: Path) -> None:
    """See that variants are still there.

    Raises:
        KeyMissing: one has gone; the message names the file that holds its name.
    """
    for name, variant in variants.items():
        if variant and name in EXERCISES:
            try:
                EXERCISES[name].variant(variant)
            except ValueError as error:
                raise KeyMissing(
                    f"{path}: {error}; stay with the course's version of the term's beginning, or write the name of "
                    "another into key.json before you release that lesson"
                ) from error


@functools.cache
def _graded(name: str, shift: int, variant: str) -> Exercise:
    base = EXERCISES[name]
    variants = tuple(replace(one, cases=_moved(one.cases, shift)) for one in base.variants)
    exercise = replace(base, cases=_moved(base.cases, shift), variants=variants)
    exercise = exercise.variant(variant) if variant else exercise
    cases = list(exercise.cases)
    if exercise.kind == "catch the mistake":
        # Right functions are a group of their own, and come more than once: who only counts or guesses accuses one.
        honest = [replace(case, group="edge") for case in cases if case.gives is False]
        cases = [case for case in cases if case.gives is not False] + 3 * honest
        random.Random(shift).shuffle(cases)
    return replace(exercise, cases=cases, forbidden=(), variants=())


def graded(key: Key, name: str) -> Exercise:
    """The exercise as it is graded: its variant, with other random cases than those that the student sees.

    What it forbids is left out: `names` and the worker see to that.
    """
    return _graded(name, key.shift, key.variants.get(name, ""))


def _moved(cases: Sequence[Case], shift: int) -> list[Case]:
    return [replace(case, inputs=_reseeded(case.inputs, shift)) if case.group == "random" else case for case in cases]


def _reseeded(make: Any, shift: int) -> Callable[[], tuple[Any, ...]]:
    """`at_random` has bound a seed to its function; this binds another."""
    seed = inspect.signature(make).parameters["seed"].default
    return functools.partial(make, seed=seed + shift)
