"""What the pictures promise: boxes where their numbers say, captions that can be read, sliders that redraw.

Nothing here looks at pixels that a font or an anti-aliasing rule decides; the tests ask the axes what is on them.
"""

import io
import re
import warnings
from itertools import combinations

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.colors import same_color, to_hex, to_rgb
from matplotlib.patches import Circle, Rectangle
from PIL import Image
from skimage.color import rgb2lab

from frcnn_lessons import plots
from frcnn_lessons.sampling import BACKGROUND, FOREGROUND, IGNORED
from frcnn_lessons.training import History

CLASSES = ("bus", "truck", "car")

pytestmark = pytest.mark.usefixtures("without_a_window")


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


@pytest.mark.parametrize(
    ("box", "shown"), [([-1, -1, 12, 9], True), ([-3, 2, 7, 4], True), ([20, 2, 30, 4], False), ([-9, 2, -1, 4], False)]
)
def test_a_box_that_reaches_out_of_the_picture_keeps_its_caption(paper, box, shown):
    plots.draw_box(paper, box, caption="bus 0.9")
    paper.figure.canvas.draw()
    (text,) = paper.texts
    assert text._check_xy(paper.figure.canvas.get_renderer()) is shown
    if shown:
        extent = text.get_window_extent()
        assert paper.bbox.padded(1).contains(extent.x0, extent.y0)
        assert paper.bbox.padded(1).contains(extent.x1, extent.y1)


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


def seen_without_green(colour):
    """A colour in CIELAB as a deuteranope sees it: Machado, Oliveira and Fernandes 2009, the matrix of severity 1."""
    matrix = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    linear = np.clip(np.array(matrix) @ linear, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def alike(colours):
    """The pairs that are nearer than 20 to each other: some nine times what can just be told apart side by side."""
    pairs = combinations(colours, 2)
    return [pair for pair in pairs if np.linalg.norm(np.subtract(*map(seen_without_green, pair))) < 20]


def test_the_simulation_knows_what_a_deuteranope_confuses():
    # Red and green of one lightness, the classic pair, and blue and yellow, which nobody confuses.
    assert alike(["#A05A2C", "#6E7A2C"])
    assert not alike(["#0000FF", "#FFFF00"])


def test_the_pairs_of_colours_that_not_everybody_tells_apart_are_those_that_plots_warns_of():
    # Grey was nearly green's double when it was lighter, in the pictures of anchors by their verdict.
    names = ("BLUE", "ORANGE", "GREEN", "RED", "PURPLE", "SKY", "YELLOW", "GREY")
    name_of = {getattr(plots, name): name for name in names}
    pairs = {frozenset(map(name_of.get, pair)) for pair in alike(name_of)}
    assert pairs == {frozenset(pair) for pair in (("ORANGE", "RED"), ("ORANGE", "YELLOW"), ("GREEN", "PURPLE"))}


def test_what_stands_side_by_side_is_told_apart_by_everybody():
    plots.use_course_style()
    lines = [style["color"] for style in plt.rcParams["axes.prop_cycle"]]
    verdicts = [style["colour"] for style in (plots.OBJECT, *plots.VERDICTS.values())]
    _, ax = plt.subplots()
    plots.draw_bins(ax, torch.zeros(4, 4), torch.tensor([[0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 2, 4], [2, 2, 4, 4]]))
    bins = [to_hex(patch.get_edgecolor()) for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len(set(bins)) == 4
    for colours in (plots.CLASS_COLOURS[:5], lines[:4], verdicts, bins):
        assert alike(colours) == []


def test_a_box_is_drawn_by_its_verdict(paper):
    for style in (plots.OBJECT, *(plots.VERDICTS[verdict] for verdict in (FOREGROUND, BACKGROUND, IGNORED))):
        plots.draw_box(paper, [3, 2, 7, 4], **style)
    assert [patch.get_linestyle() for patch in paper.patches] == ["--", "-", "-", ":"]
    assert paper.patches[0].get_linewidth() > paper.patches[1].get_linewidth()


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


@pytest.mark.parametrize("seed", range(5))
def test_no_tag_lies_on_a_tag_or_on_the_title(seed):
    draw = torch.Generator().manual_seed(seed)
    figure, ax = plt.subplots()
    plots.draw_image(ax, torch.zeros(3, 100, 100), "A title")
    corner = torch.rand(4, 2, generator=draw) * 60
    plots.draw_objects(ax, torch.cat([corner, corner + 30], dim=1), [1, 2, 1, 2], CLASSES, [0.9, 0.8, 0.7, 0.6])
    figure.canvas.draw()
    tags = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in combinations(tags, 2))
    assert all(ax.bbox.padded(1).contains(*corner) for tag in tags for corner in tag.get_points())


def test_the_name_of_an_object_at_the_upper_border_stands_inside_its_box():
    figure, ax = plt.subplots()
    plots.draw_image(ax, torch.zeros(3, 100, 100))
    plots.draw_objects(ax, torch.tensor([[5.0, 2, 40, 40], [50, 50, 90, 90]]), [1, 2], CLASSES)
    figure.canvas.draw()
    assert [text.get_verticalalignment() for text in ax.texts] == ["top", "bottom"]


def test_an_image_keeps_its_colours_and_is_cut_to_0_and_1(paper):
    image = torch.zeros(3, 2, 2)
    image[0, 0, 1] = 1.0005  # red, top right, a trace too bright after a resize
    plots.draw_image(paper, image, "title")
    assert paper.images[0].get_array()[0, 1].tolist() == [1, 0, 0]
    assert paper.get_title() == "title"


def test_bytes_and_floats_give_the_same_picture(paper):
    # Bytes used to be drawn nearly white: all above 1 was cut off.
    pixels = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(3, 4, 5) * 4
    for image in (pixels, pixels / 255, pixels.double() / 255):
        plots.draw_image(paper, image)
        assert (paper.images[-1].get_array() * 255).round().tolist() == pixels.permute(1, 2, 0).tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_one_channel_is_drawn_grey(paper, dtype):
    # imshow would lay matplotlib's yellow and green over it, stretched to the range that is there.
    pixels = torch.tensor([[[0, 51, 102], [102, 51, 51]]], dtype=torch.uint8)
    plots.draw_image(paper, pixels if dtype == torch.uint8 else (pixels / 255).to(dtype))
    drawn = np.asarray(paper.images[0].get_array())
    assert (drawn == drawn[..., :1]).all()
    assert drawn[..., 0] == pytest.approx(np.array([[0, 0.2, 0.4], [0.4, 0.2, 0.2]]), abs=1e-3)


COLOURS = torch.linspace(0, 1, 3 * 6 * 8).view(3, 6, 8)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (COLOURS * 255, "pixels of 0 to 255 must be divided by 255"),
        (COLOURS[:1] * 255, "pixels of 0 to 255 must be divided by 255"),
        ((COLOURS * 255).int(), "must hold floats in 0..1, not normalised; got torch.int32 from 0 to 255"),
        ((COLOURS - 0.45) / 0.22, "must hold floats in 0..1, not normalised"),
        (COLOURS.where(COLOURS < 0.9, torch.nan), "some are NaN"),
        (COLOURS.where(COLOURS < 0.9, torch.inf), "to inf"),
        (COLOURS.permute(1, 2, 0), "use image.permute(2, 0, 1)"),
        ((COLOURS * 255).byte().permute(1, 2, 0), "use image.permute(2, 0, 1)"),
        (torch.zeros(4, 6, 8), "use image[:3]"),
        (torch.zeros(2, 6, 8), "RGB; got a tensor of (2, 6, 8)"),
        (torch.zeros(6, 8), "grey?"),
        (torch.zeros(1, 3, 6, 8), "batch[0]"),
        (torch.zeros(3, 0, 8), "(3, 0, 8)"),
        (COLOURS.numpy(), "got a ndarray"),
        (None, "got a NoneType"),
    ],
)
def test_what_is_no_image_is_refused_instead_of_drawn_white(paper, image, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        plots.draw_image(paper, image)
    assert str(refusal.value).startswith("image must")
    assert list(paper.images) == []


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


@pytest.mark.parametrize(
    "labels", [[0], [-1], [4], torch.tensor([1.5]), torch.tensor([0]), torch.tensor([4], dtype=torch.uint8)]
)
def test_a_label_that_is_no_class_is_refused(paper, labels):
    # Label 0 used to be drawn as the last class.
    with pytest.raises(ValueError, match=r"labels must be 1 to 3 \(0 is background, which is not an object\); got \["):
        plots.draw_objects(paper, torch.tensor([[1.0, 2, 3, 4]]), labels, CLASSES)


@pytest.mark.parametrize("more", [{"scores": [0.5]}, {"difficult": torch.tensor([True, False, True])}])
def test_scores_and_flags_must_be_as_many_as_boxes(paper, more):
    with pytest.raises(ValueError, match="must have one value for each of the 2 boxes; got"):
        plots.draw_objects(paper, torch.tensor([[1.0, 2, 3, 4]] * 2), [1, 2], CLASSES, **more)


def test_a_label_for_every_box_is_asked_for(paper):
    with pytest.raises(ValueError, match="zip"):
        plots.draw_objects(paper, torch.zeros(2, 4), [1], CLASSES)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 3, 1), (4, 3, 2), (6, 3, 2), (7, 2, 4)])
def test_a_grid_has_a_place_for_every_image_and_hides_what_is_left_over(count, columns, rows):
    figure, axes = plots.image_grid(count, columns, cell=(2.0, 1.5))
    assert len(axes) == count
    assert [ax.get_visible() for ax in figure.axes] == [True] * count + [False] * (rows * columns - count)
    assert figure.get_size_inches().tolist() == [columns * 2.0, rows * 1.5]


# --- words -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_other_fonts(monkeypatch):
    """As on a machine that has matplotlib's own fonts alone, and has not been told so yet."""
    monkeypatch.setattr(plots, "OTHER_FONTS", ())
    plots._say_that_fonts_are_missing.cache_clear()


@pytest.mark.parametrize("words", ["$5 bus", "5$ and 6$", "$x^2$", r"$\alpha", "a_b^c", "100%", r"\frac{"])
def test_the_words_of_others_are_not_read_as_mathematics(words):
    figure, ax = plt.subplots()
    plots.draw_image(ax, torch.zeros(3, 40, 40), words)
    plots.draw_objects(ax, torch.tensor([[5.0, 20, 30, 30]]), [1], [words])
    plots.draw_cells(plt.figure().add_subplot(), torch.zeros(2, 2), words)
    plots.squared_paper(4, 4, title=words)
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()  # an odd "$" was an error here
    assert [text.get_text() for text in (ax.title, *ax.texts)] == [words, words]
    assert not ax.title.get_parse_math()
    assert figure.axes == [ax]


@pytest.mark.usefixtures("no_other_fonts")
@pytest.mark.parametrize("words", ["汽车", "バス", "버스", "🚗", "🚗 car", "बस", "汽车\n$"])
def test_without_a_font_that_has_the_characters_one_warning_says_what_to_do(words):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure, ax = plt.subplots()
        plots.draw_image(ax, torch.zeros(3, 40, 40), words)
        plots.draw_objects(ax, torch.tensor([[5.0, 5, 30, 30]] * 3), [1, 2, 1], [words, "bus"])
        figure.canvas.draw()
        plots.as_jpeg(figure)
    (warning,) = said
    assert "install one that has, for example Noto Sans CJK" in str(warning.message)
    assert [text.get_text() for text in ax.texts] == [words, "bus", words]


@pytest.mark.parametrize("words", ["bus", "Größe", "voitûre", "автобус", "λεωφορείο"])
def test_letters_that_matplotlib_has_are_drawn_in_its_own_font(paper, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.draw_box(paper, [3, 2, 7, 4], caption=words)
        paper.figure.canvas.draw()
    assert paper.texts[0].get_fontfamily() == plt.rcParams["font.family"]


def test_a_font_of_this_machine_that_has_the_characters_is_used(tmp_path, monkeypatch):
    # A font of two characters under a name that Linux gives to one of thousands.
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "car", "vehicle"])
    font.setupCharacterMap({ord("汽"): "car", ord("车"): "vehicle"})
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0)), pen.lineTo((800, 0)), pen.lineTo((0, 800)), pen.closePath()
    font.setupGlyf(dict.fromkeys(font.font.getGlyphOrder(), pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(font.font.getGlyphOrder(), (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "WenQuanYi Zen Hei", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "two.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "two.ttf")
    monkeypatch.setattr(plots, "OTHER_FONTS", ("Noto Sans CJK SC", "WenQuanYi Zen Hei"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, ax = plt.subplots()
        plots.draw_box(ax, [0.1, 0.1, 0.9, 0.9], caption="汽车 car")
        figure.canvas.draw()
    assert ax.texts[0].get_fontfamily() == [*plt.rcParams["font.family"], "WenQuanYi Zen Hei"]


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


def test_a_reader_without_a_kernel_is_told_what_there_is_to_see():
    # JupyterLab shows a stored widget's text then: "VBox(children=(IntSlider(value=3, ..." said nothing.
    box = plots.follow_sliders(lambda x: draw_bars(x, 2), x=ipywidgets.IntSlider())
    picture, _ = plots.follow_training()
    for widget in (box, picture):
        assert "run this cell" in widget._repr_mimebundle_()["text/plain"]


# --- feature maps ------------------------------------------------------------------------------------------------


def test_a_cell_of_a_map_carries_its_value_and_its_row_and_column():
    # Rows and columns swapped is one of the mistakes that lesson 06 shows; its own picture must not make it.
    _, ax = plt.subplots()
    plots.draw_cells(ax, torch.tensor([[1.0, 2, 3], [4, 5, 60]]), "title")
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {
        (0.5, 0.5): "1",
        (1.5, 0.5): "2",
        (2.5, 0.5): "3",
        (0.5, 1.5): "4",
        (1.5, 1.5): "5",
        (2.5, 1.5): "60",
    }
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1"]
    assert ax.get_ylim() == (2, 0)
    assert ax.get_title() == "title"


@pytest.mark.parametrize("values", [torch.zeros(2, 3), torch.arange(-3.0, 3).view(2, 3)])
def test_ink_shows_on_every_cell_of_a_map(values):
    _, ax = plt.subplots()
    plots.draw_cells(ax, values, numbers=False)
    (picture,) = ax.images
    assert list(ax.texts) == []
    darkest = min(luminance(colour[:3]) for colour in picture.to_rgba(picture.get_array()).reshape(-1, 4))
    assert (darkest + 0.05) / 0.05 >= 4.5  # WCAG's contrast for black text


def test_a_bin_is_framed_and_its_largest_cell_circled():
    _, ax = plt.subplots()
    cells = torch.tensor([[1.0, 2, 3], [4, 50, 6]])
    plots.draw_cells(ax, cells)
    plots.draw_bins(ax, cells, torch.tensor([[0, 0, 2, 2], [1, 0, 3, 1], [3, 0, 3, 2]]))
    circles = [patch.center for patch in ax.patches if isinstance(patch, Circle)]
    assert circles == [(1.5, 1.5), (2.5, 0.5)]  # the third bin has no cell: nothing to draw
    (a, b), colours = rectangles(ax), [patch.get_edgecolor() for patch in ax.patches]
    assert np.abs(np.subtract(a, [0, 0, 2, 2])).max() < 0.25
    assert np.abs(np.subtract(b, [1, 0, 3, 1])).max() < 0.25
    assert colours[0] == colours[1] != colours[2] == colours[3], "a circle has the colour of its bin"


def test_bins_that_share_an_edge_are_drawn_apart():
    _, ax = plt.subplots()
    plots.draw_bins(ax, torch.zeros(4, 4), torch.tensor([[0, 0, 2, 2], [0, 0, 2, 4]]))
    first, second = rectangles(ax)
    assert first[0] != second[0]


# --- style ------------------------------------------------------------------------------------------------------


def test_the_style_keeps_figures_small_enough_to_store():
    plots.use_course_style()
    assert 72 <= plt.rcParams["figure.dpi"] <= 100
    assert plt.rcParams["savefig.dpi"] == plt.rcParams["figure.dpi"]


# --- training ----------------------------------------------------------------------------------------------------


def steps_of(count, **more):
    return {
        "total": [float(i) for i in range(count)],
        "loss_classifier": [1.0] * count,
        "learning_rate": [0.1] * count,
    } | more


def bold_lines(ax):
    """What is drawn thick, by its name in the legend."""
    return {line.get_label(): line.get_ydata().tolist() for line in ax.lines if line.get_linewidth() >= 2}


def test_loss_curves_show_the_mean_of_the_last_steps():
    # A mean that looked ahead would show a loss falling before it fell.
    (ax,) = plots.loss_curves(steps_of(5), smooth=3).axes
    assert bold_lines(ax) == {"total": [0, 0.5, 1, 2, 3], "classifier": [1.0] * 5}  # no learning rate among them


def test_accuracy_has_a_panel_of_its_own_because_up_is_good_there():
    losses, accuracy = plots.loss_curves(steps_of(4, accuracy=[0.25, 0.5, 0.75, 1.0]), smooth=1).axes
    assert list(bold_lines(losses)) == ["total", "classifier"]
    assert bold_lines(accuracy) == {"accuracy": [0.25, 0.5, 0.75, 1.0]}


def test_the_losses_of_an_rpn_have_a_panel_of_their_own_beside_those_of_a_head():
    # Five curves in 345 pixels, two of them on the axis, were all that there was to see of Faster R-CNN's training.
    rpn = {"loss_objectness": [0.2] * 4, "loss_rpn_box_reg": [0.1] * 4}
    head, of_rpn = plots.loss_curves(steps_of(4, **rpn)).axes
    assert list(bold_lines(head)) == ["total", "classifier"]
    assert list(bold_lines(of_rpn)) == ["objectness", "rpn_box_reg"]
    # An RPN by itself (lesson 09) has nothing beside which its losses would be small.
    (alone,) = plots.loss_curves({"total": [0.3] * 4} | rpn).axes
    assert list(bold_lines(alone)) == ["total", "objectness", "rpn_box_reg"]


@pytest.mark.parametrize("more", [{}, {"accuracy": [0.5] * 4}, {"loss_objectness": [0.2] * 4, "accuracy": [0.5] * 4}])
def test_each_panel_of_the_losses_is_wide_enough_to_read(more):
    plots.use_course_style()
    figure = plots.loss_curves(steps_of(4, **more))
    assert figure.get_size_inches()[0] * figure.dpi <= 1000, "wider than a notebook's page"
    figure.canvas.draw()
    for ax in figure.axes:
        if ax.get_visible():
            assert ax.bbox.width > 350


def test_the_live_picture_is_drawn_anew_every_so_many_steps():
    picture, follow = plots.follow_training(every=2)
    history = History()
    seen = []
    for value in (3.0, 2.0, 1.0, 0.5):
        history.steps.setdefault("total", []).append(value)
        follow(history)
        seen.append(bytes(picture.value))
    assert seen[0] == b""
    assert seen[1].startswith(b"\x89PNG")
    assert seen[2] == seen[1]
    assert seen[3] != seen[2]
    assert plt.get_fignums() == [], "a figure left open at every drawing would fill the memory"
