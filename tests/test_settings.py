"""Settings out of their range are refused when they are made, by name."""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest

from frcnn_lessons.settings import Count, Inside, Positive, Share, Weight, Whole, check_settings
from helpers.tiny_scenes import HEAD_SMALL, RPN_SMALL

# Users have no shape checker; what they see is what is tested here.
pytestmark = pytest.mark.usefixtures("unchecked")


@dataclass(frozen=True)
class Example:
    count: Count = 1
    whole: Whole = 0
    share: Share = 1
    inside: Inside = 0.5
    weight: Weight = 0
    above: Positive = 0.1
    pair: tuple[Count, Count] = (1, 2)
    some: tuple[Positive, ...] = (1, 2.5, 3)
    word: Literal["a", "b"] = "a"
    perhaps: Count | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        check_settings(self)


def test_every_value_in_range_passes():
    assert Example().pair == (1, 2)
    values = {"count": 9, "whole": 3, "share": 0, "weight": 1e9, "above": 1, "some": (1,), "word": "b", "perhaps": 4}
    assert vars(Example(**values, flag=True)).items() >= values.items()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, "count must be an integer from 1; got 0"),
        ({"count": 1.0}, "count must be an integer from 1; got 1.0"),
        ({"count": True}, "count must be an integer from 1; got True"),
        ({"count": "3"}, "count must be an integer from 1; got '3'"),
        ({"count": None}, "count must be an integer from 1; got None"),
        ({"count": np.int64(3)}, "count must be an integer from 1; got np.int64(3)"),
        ({"whole": -1}, "whole must be an integer from 0; got -1"),
        ({"share": 1.01}, "share must be within 0..1; got 1.01"),
        ({"share": float("nan")}, "share must be within 0..1; got nan"),
        ({"inside": 0}, "inside must be between 0 and 1; got 0"),
        ({"inside": 1.0}, "inside must be between 0 and 1; got 1.0"),
        ({"weight": -0.1}, "weight must be 0 or more; got -0.1"),
        ({"weight": float("inf")}, "weight must be 0 or more; got inf"),
        ({"above": 0}, "above must be above 0; got 0"),
        ({"pair": (1,)}, "pair must be a tuple of 2 numbers; got (1,)"),
        ({"pair": [1, 2]}, "pair must be a tuple of 2 numbers; got [1, 2]"),
        ({"pair": (1, 0)}, "pair must be an integer from 1; got (1, 0)"),
        ({"some": ()}, "some must be a tuple of one or more numbers; got ()"),
        ({"some": (1, -2)}, "some must be above 0; got (1, -2)"),
        ({"word": "c"}, "word must be one of a, b; got 'c'"),
        ({"perhaps": 0}, "perhaps must be an integer from 1; got 0"),
        ({"flag": 1}, "flag must be True or False; got 1"),
    ],
    ids=str,
)
def test_every_value_out_of_range_is_refused_by_name(change, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        Example(**change)


def check(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        (HEAD_SMALL, {"pool_size": 7}, "pool_size must be a tuple of 2 numbers; got 7"),
        (HEAD_SMALL, {"pool_size": (0, 7)}, "pool_size must be an integer from 1"),
        (HEAD_SMALL, {"hidden": 0}, "hidden must be"),
        (HEAD_SMALL, {"detections": -1}, "detections must be"),
        (HEAD_SMALL, {"regions": 2.5}, "regions must be"),
        (HEAD_SMALL, {"foreground_share": 1.5}, "foreground_share must be within 0..1"),
        (HEAD_SMALL, {"score_threshold": 50}, "score_threshold must be"),
        (HEAD_SMALL, {"background_iou": 0.3}, "background_iou must be a tuple"),
        (HEAD_SMALL, {"box_weight": -1.0}, "box_weight must be 0 or more"),
        (HEAD_SMALL, {"beta": np.float64(0.1)}, "beta must be 0 or more; got np.float64(0.1)"),
        (RPN_SMALL, {"sizes": 32}, "sizes must be a tuple of one or more"),
        (RPN_SMALL, {"ratios": ()}, "ratios must be a tuple of one or more"),
        (RPN_SMALL, {"before_nms": 100}, "before_nms must be a tuple of 2"),
        (RPN_SMALL, {"after_nms": (0, 10)}, "after_nms must be an integer from 1"),
        (RPN_SMALL, {"foreground_iou": 70}, "foreground_iou must be within 0..1"),
        (RPN_SMALL, {"nms_iou": float("nan")}, "nms_iou must be within 0..1"),
    ],
)
def test_settings_out_of_range_are_named(settings, change, words):
    # "detections=-1" would drop the last one, "foreground_share=2" return more regions than were asked for.
    check(lambda: replace(settings, **change), words)
