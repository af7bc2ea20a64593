"""What the diagrams promise: that they say the same as the code and the papers that they are about."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from frcnn_lessons import plots
from frcnn_lessons.course import diagrams
from frcnn_lessons.course.results import DETECTORS, Result

pytestmark = pytest.mark.usefixtures("without_a_window")


def captions(ax):
    return [text.get_text() for text in ax.texts]


def test_the_map_has_thirteen_stops_in_order_joined_by_arrows():
    (ax,) = diagrams.course_map().axes
    stops = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert (len(stops), len(arrows)) == (13, 12)
    assert [text for text in captions(ax) if text.isdigit()] == [f"{n:02}" for n in range(1, 14)]


def test_the_map_shows_the_four_detectors_in_their_colour():
    (ax,) = diagrams.course_map().axes
    stops = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    blue = [n for n, stop in enumerate(stops, start=1) if same_color(stop.get_facecolor(), plots.BLUE)]
    assert blue == [5, 6, 7, 10]


def test_the_arrows_of_the_map_do_not_run_through_a_stop():
    (ax,) = diagrams.course_map().axes
    stops = [patch.get_bbox() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch._posA_posB for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    for (start, end), (here, there) in zip(arrows, itertools.pairwise(stops), strict=True):
        for share in np.linspace(0, 1, 21):
            point = (1 - share) * np.array(start) + share * np.array(end)
            assert not any(stop.contains(*point) for stop in stops)
        assert distance(start, here) < 0.1, "an arrow starts at its stop"
        assert distance(end, there) < 0.1, "and ends at the next one"


def distance(point, box):
    """From a point to the nearest point of a box."""
    nearest = np.clip(point, box.min, box.max)
    return np.hypot(*(np.array(point) - nearest))


def test_the_window_of_the_rpn_numbers_its_channels_as_the_network_does():
    # Lesson 08 reads the order of the channels off this picture: 4 * a + (0 for dx, 1 dy, 2 dw, 3 dh).
    (ax,) = diagrams.rpn_window().axes
    places = {}
    for text in ax.texts:
        if text.get_text().isdigit():
            x, y = text.get_position()
            places.setdefault(y, []).append((x, int(text.get_text())))
    rows = [[number for _, number in sorted(places[y])] for y in sorted(places)]
    assert rows == [[a, *range(4 * a, 4 * a + 4)] for a in range(9)]


def test_the_gradient_is_cut_on_the_way_from_the_proposals_to_the_head():
    # The one dashed arrow of the diagram; the two users of the map get solid ones.
    (ax,) = diagrams.two_users_of_one_map().axes
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    dashed = [arrow for arrow in arrows if arrow.get_linestyle() == "--"]
    assert (len(arrows), len(dashed)) == (7, 1)
    stops = {text.get_text(): text.get_position() for text in ax.texts}
    start, end = dashed[0]._posA_posB
    assert abs(start[0] - stops["proposals"][0]) < 1.7
    assert abs(end[0] - stops["head"][0]) < 1.7


LESSON_OF = DETECTORS


def bars(ax):
    """Width of each bar by the row that it stands in."""
    return [(round(bar.get_y() + bar.get_height() / 2), bar.get_width()) for bar in ax.patches]


def test_the_summary_shows_what_was_measured_and_where_the_rest_comes_from():
    measured = {
        "R-CNN": Result("R-CNN", 0.7, 46, 0.3, 0.1, 200, "–"),
        "Faster R-CNN": Result("Faster R-CNN", 0.9, 50, 0.02, 0.01, 200, "5"),
    }
    score, training, image = diagrams.course_summary(measured, LESSON_OF).axes[:3]
    assert bars(score) == [(0, 0.7), (3, 0.9)]
    assert bars(training) == [(0, 46), (3, 50)]
    in_milliseconds = [(row, round(width)) for row, width in bars(image)]
    assert in_milliseconds == [(0, 300), (3, 20), (0, 200), (3, 10)], "in all, then without proposals"
    for ax in (score, training, image):
        missing = {round(text.get_position()[1]): text.get_text() for text in ax.texts if "lesson" in text.get_text()}
        assert missing == {1: "run lesson 06", 2: "run lesson 07", 4: "run lesson 11"}


def test_the_summary_of_nothing_still_shows_the_papers():
    axes = diagrams.course_summary({}, LESSON_OF).axes
    assert [len(ax.patches) for ax in axes[:3]] == [0, 0, 0]
    assert bars(axes[3]) == [(0, 66.0), (1, 63.1), (2, 66.9), (3, 69.9)]
    assert [text.get_text() for text in axes[4].texts if "published" in text.get_text()] == ["not published"] * 2


def test_the_four_steps_show_as_fixed_what_four_step_training_freezes():
    # Students learn from the hatching what is frozen; it must say the same as the table on top of four_step.py.
    (ax,) = diagrams.four_steps().axes
    parts = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_gid()]
    fixed = {patch.get_gid() for patch in parts if patch.get_hatch()}
    learning = {patch.get_gid() for patch in parts} - fixed
    assert learning == {"1 RPN", "1 backbone 1", "2 head", "2 backbone 2", "3 RPN", "4 head"}
    assert fixed == {"2 RPN", "2 backbone 1", "3 backbone 2", "4 RPN", "4 backbone 2"}


def test_every_part_of_the_four_steps_but_the_first_comes_from_an_earlier_step():
    (ax,) = diagrams.four_steps().axes
    parts = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_gid()]
    arrows = [patch for patch in ax.patches if patch.get_gid() == "handed on"]
    joins = set()
    for arrow in arrows:
        # A part at each end: the one whose box the end touches.
        ends = [
            next(p.get_gid() for p in parts if p.get_bbox().padded(0.01).contains(*point)) for point in arrow._posA_posB
        ]
        joins.add(tuple(ends))
    assert joins == {
        *(("1 RPN", "2 RPN"), ("2 RPN", "3 RPN"), ("3 RPN", "4 RPN"), ("1 backbone 1", "2 backbone 1")),
        *(("2 backbone 2", "3 backbone 2"), ("3 backbone 2", "4 backbone 2"), ("2 head", "4 head")),
    }
