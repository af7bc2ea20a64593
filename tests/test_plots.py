"""What the pictures promise: boxes where their numbers say, captions that can be read, sliders that redraw.

Nothing here looks at pixels that a font or an anti-aliasing rule decides; the tests ask the axes what is on them.
"""

import io
import itertools

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from matplotlib.colors import same_color, to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image

from frcnn_lessons import plots

CLASSES = ("bus", "truck", "car")


@pytest.fixture(autouse=True)
def without_a_window():
    """Draw into memory, with matplotlib's own defaults, and leave neither figures nor settings behind."""
    with mpl.rc_context():
        plt.switch_backend("agg")
        yield
        plt.close("all")


@pytest.fixture
def paper():
    return plots.squared_paper(12, 8)


def rectangles(ax):
    """Each rectangle on the axes as xyxy."""
    boxes = [patch.get_bbox().extents for patch in ax.patches if isinstance(patch, Rectangle)]
    return [box.tolist() for box in boxes]


def captions(ax):
    return [text.get_text() for text in ax.texts]


# --- boxes -------------------------------------------------------------------------------------------------------


def test_squared_paper_counts_y_downwards_in_squares_of_equal_sides(paper):
    # With y upwards every picture of the course would contradict its numbers.
    assert paper.get_xlim() == (0, 12)
    assert paper.get_ylim() == (8, 0)
    assert paper.get_aspect() == 1
    assert paper.get_xticks().tolist() == list(range(13))
    assert paper.get_yticks().tolist() == list(range(9))


def test_squared_paper_uses_the_axes_that_it_is_given():
    _, axes = plt.subplots(1, 2)
    assert plots.squared_paper(4, 3, axes[1], "title") is axes[1]
    assert axes[1].get_title() == "title"
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("box", [[3, 2, 7, 4], torch.tensor([3.0, 2, 7, 4])])
def test_a_box_is_drawn_from_corner_to_corner(paper, box):
    # Rectangle wants width and height: handing it x2 and y2 is the xywh mistake of lesson 01.
    plots.draw_box(paper, box, plots.RED, "here", line="--")
    (patch,) = paper.patches
    assert rectangles(paper) == [[3, 2, 7, 4]]
    assert same_color(patch.get_edgecolor(), plots.RED)
    assert patch.get_linestyle() == "--"
    assert not patch.get_fill()
    assert captions(paper) == ["here"]


def test_filling_and_hatching_cover_the_box_and_nothing_else(paper):
    plots.draw_box(paper, [3, 2, 7, 4], fill=0.2, hatch="//")
    assert rectangles(paper) == [[3, 2, 7, 4]] * 3
    assert [patch.get_fill() for patch in paper.patches] == [True, False, False]
    assert [patch.get_hatch() for patch in paper.patches] == [None, "//", None]
    assert captions(paper) == []


def test_a_caption_stands_above_its_box_or_inside(paper):
    # Above a box at the upper border of an image it would be cut off.
    plots.draw_box(paper, [3, 2, 7, 4], caption="out")
    plots.draw_box(paper, [3, 2, 7, 4], caption="in", inside=True)
    paper.figure.canvas.draw()
    edge = paper.transData.transform((3, 2))[1]  # pixels, upwards
    outside, inside = (text.get_window_extent() for text in paper.texts)
    assert outside.y0 > edge > inside.y1


@pytest.mark.parametrize("colour", [*plots.CLASS_COLOURS, plots.GREY])
def test_a_caption_can_be_read_on_its_tag(paper, colour):
    # WCAG's contrast ratio; 3 is its limit for large or bold text.
    plots.draw_box(paper, [3, 2, 7, 4], colour, "bus")
    (text,) = paper.texts
    light, dark = sorted((luminance(text.get_color()), luminance(colour)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def luminance(colour):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return np.dot([0.2126, 0.7152, 0.0722], channels)


def test_the_classes_of_a_data_set_have_different_colours():
    assert len(set(plots.CLASS_COLOURS)) == len(plots.CLASS_COLOURS) >= 3


@pytest.mark.parametrize(
    ("second", "shared"), [([4.0, 2, 10, 6], [[4, 2, 8, 5]]), ([8.0, 1, 10, 5], []), ([9.0, 6, 11, 8], [])]
)
def test_what_two_boxes_share_is_hatched_and_only_that(second, shared):
    # Overlapping, touching, apart. The student counts the hatched squares.
    ax = plots.show_overlap(torch.tensor([[2.0, 1, 8, 5]]), torch.tensor([second]))
    hatched = [patch.get_bbox().extents.tolist() for patch in ax.patches if patch.get_hatch()]
    assert hatched == shared
    assert rectangles(ax).count([2, 1, 8, 5]) >= 1
    assert rectangles(ax).count(second) >= 1
    assert captions(ax) == ["predicted", "truth"]


# --- images ------------------------------------------------------------------------------------------------------


def test_an_image_spans_its_edges_so_that_boxes_fit():
    # imshow puts pixel *centres* at whole numbers by itself: every box would sit half a pixel off.
    _, ax = plt.subplots()
    plots.draw_image(ax, torch.zeros(3, 5, 9))
    assert ax.images[0].get_extent() == [0, 9, 5, 0]
    assert ax.get_xlim() == (0, 9)
    assert ax.get_ylim() == (5, 0)


def test_the_name_of_an_object_at_the_upper_border_stands_inside_its_box():
    _, ax = plt.subplots()
    plots.draw_image(ax, torch.zeros(3, 100, 100))
    plots.draw_objects(ax, torch.tensor([[5.0, 2, 40, 40], [50, 50, 90, 90]]), [1, 2], CLASSES)
    assert [text.get_verticalalignment() for text in ax.texts] == ["top", "bottom"]


def test_an_image_keeps_its_colours_and_is_cut_to_0_and_1(paper):
    image = torch.zeros(3, 2, 2)
    image[0, 0, 1] = 1.5  # red, top right, too bright after a resize
    plots.draw_image(paper, image, "title")
    assert paper.images[0].get_array()[0, 1].tolist() == [1, 0, 0]
    assert paper.get_title() == "title"


def test_an_image_with_channels_last_is_refused(paper):
    with pytest.raises(TypeCheckError):
        plots.draw_image(paper, torch.zeros(5, 9, 3))


def test_objects_are_drawn_with_class_score_and_difficulty(paper):
    boxes = torch.tensor([[1.0, 2, 3, 4], [4, 2, 6, 4]])
    plots.draw_objects(paper, boxes, torch.tensor([3, 1]), CLASSES, scores=[0.934, 0.5], difficult=[False, True])
    assert captions(paper) == ["car 0.93", "bus 0.50 (difficult)"]
    assert rectangles(paper) == boxes.tolist()
    assert [patch.get_linestyle() for patch in paper.patches] == ["-", ":"]
    # Label 1 is the first class: 0 is background and has neither name nor colour.
    assert same_color(paper.patches[0].get_edgecolor(), plots.CLASS_COLOURS[2])
    assert same_color(paper.patches[1].get_edgecolor(), plots.CLASS_COLOURS[0])


def test_more_classes_than_colours_begin_again(paper):
    many = [str(k) for k in range(20)]
    plots.draw_objects(paper, torch.tensor([[1.0, 2, 3, 4]] * 2), [1, 1 + len(plots.CLASS_COLOURS)], many)
    first, second = paper.patches
    assert same_color(first.get_edgecolor(), second.get_edgecolor())


def test_an_image_without_objects_gets_no_boxes(paper):
    plots.draw_objects(paper, torch.zeros(0, 4), [], CLASSES)
    assert list(paper.patches) == []


def test_a_label_for_every_box_is_asked_for(paper):
    with pytest.raises(ValueError, match="zip"):
        plots.draw_objects(paper, torch.zeros(2, 4), [1], CLASSES)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 3, 1), (4, 3, 2), (6, 3, 2), (7, 2, 4)])
def test_a_grid_has_a_place_for_every_image_and_hides_what_is_left_over(count, columns, rows):
    figure, axes = plots.image_grid(count, columns, cell=(2.0, 1.5))
    assert len(axes) == count
    assert [ax.get_visible() for ax in figure.axes] == [True] * count + [False] * (rows * columns - count)
    assert figure.get_size_inches().tolist() == [columns * 2.0, rows * 1.5]


# --- what is shown -----------------------------------------------------------------------------------------------


def test_a_photograph_becomes_a_jpeg_and_its_figure_is_closed(paper):
    # Left open, the notebook would store it a second time, as a PNG of ten times the size.
    figure = paper.figure
    picture = plots.as_jpeg(figure)
    assert Image.open(io.BytesIO(picture.data)).format == "JPEG"
    assert picture.format == "jpeg"
    assert not plt.fignum_exists(figure.number)


def test_a_lower_quality_makes_a_smaller_jpeg():
    sizes = []
    for quality in (95, 40):
        figure, ax = plt.subplots()
        plots.draw_image(ax, torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)))
        sizes.append(len(plots.as_jpeg(figure, quality).data))
    assert sizes[0] > sizes[1]


def draw_bars(height, count):
    figure, ax = plt.subplots()
    ax.bar(range(count), height)
    return figure


def test_a_picture_is_drawn_anew_with_the_values_of_all_its_sliders():
    calls = []

    def draw(**values):
        calls.append(values)
        return draw_bars(**values)

    sliders = {"height": ipywidgets.IntSlider(value=1, max=9), "count": ipywidgets.IntSlider(value=2, max=5)}
    box = plots.follow_sliders(draw, **sliders)
    picture = box.children[-1]
    first = picture.value
    assert box.children[:-1] == tuple(sliders.values())
    assert Image.open(io.BytesIO(first)).format == "PNG"

    sliders["count"].value = 4
    assert calls == [{"height": 1, "count": 2}, {"height": 1, "count": 4}]
    assert picture.value != first
    sliders["count"].value = 2
    assert picture.value == first
    assert plt.get_fignums() == [], "an open figure would be shown again under the cell"


# --- diagrams and style ------------------------------------------------------------------------------------------


def test_the_map_has_twelve_stops_in_order_joined_by_arrows():
    (ax,) = plots.course_map().axes
    stops = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert (len(stops), len(arrows)) == (12, 11)
    assert [text for text in captions(ax) if text.isdigit()] == [f"{n:02}" for n in range(1, 13)]


def test_the_map_shows_the_four_detectors_in_their_colour():
    (ax,) = plots.course_map().axes
    stops = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    blue = [n for n, stop in enumerate(stops, start=1) if same_color(stop.get_facecolor(), plots.BLUE)]
    assert blue == [5, 6, 7, 9]


def test_the_arrows_of_the_map_do_not_run_through_a_stop():
    (ax,) = plots.course_map().axes
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


def test_the_style_keeps_figures_small_enough_to_store():
    plots.use_course_style()
    assert 72 <= plt.rcParams["figure.dpi"] <= 100
    assert plt.rcParams["savefig.dpi"] == plt.rcParams["figure.dpi"]
