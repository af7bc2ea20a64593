"""What the diagrams of the detectors promise: their numbers are the network's, and what is new can be seen."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import FancyArrowPatch, Rectangle

from frcnn_lessons import backbones, plots, sppnet
from frcnn_lessons import rcnn as r_cnn
from frcnn_lessons.course import architecture
from frcnn_lessons.fast_rcnn import FastRCNN
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.recipes import STREETS_FAST_HEAD, STREETS_HEAD, STREETS_RPN

pytestmark = pytest.mark.usefixtures("without_a_window", "one_thread")

SIZE = (160, 208)


def region_network(classes=3, **way):
    return r_cnn.RegionNetwork(backbones.mini(), classes, **({"size": 64, "padding": 4.5} | way))


def fast(classes=3, **changes):
    return FastRCNN(backbones.mini(), classes, replace(STREETS_FAST_HEAD, **changes))


def faster(**changes):
    return FasterRCNN(backbones.mini(), 3, replace(STREETS_RPN, **changes), STREETS_HEAD)


def rpn(**changes):
    model = faster(**changes)
    return architecture.rpn(model.backbone, model.rpn, SIZE)


DIAGRAMS = {
    "R-CNN": lambda: architecture.rcnn(region_network(), SIZE),
    "SPPNet": lambda: architecture.sppnet(sppnet.PyramidNetwork(backbones.mini(), 3), SIZE),
    "Fast R-CNN": lambda: architecture.fast_rcnn(fast(), SIZE),
    "RPN": rpn,
    "Faster R-CNN": lambda: architecture.faster_rcnn(faster(), SIZE),
    "Four-step training": lambda: architecture.four_step(faster(), SIZE),
}


def said(figure):
    """The words in each place of a diagram."""
    (ax,) = figure.axes
    words = {}
    for text in ax.texts:
        words[text.get_gid()] = f"{words.get(text.get_gid(), '')} {text.get_text()}".strip()
    return words


def places(ax):
    return {patch.get_gid(): patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_gid()}


def new(figure):
    return {place for place, patch in places(figure.axes[0]).items() if patch.get_linewidth() > 2}


# Worked out by hand: `mini` has stride 8 and 96 channels, so 160 x 208 pixels make 20 x 26 cells.
@pytest.mark.parametrize(
    ("draw", "place", "words"),
    [
        (lambda: architecture.rcnn(region_network(), SIZE), "cut out", "crop and warp each to 64 x 64 R x 3 x 64 x 64"),
        (lambda: architecture.rcnn(region_network(size=96), SIZE), "map", "feature maps one a region R x 96 x 12 x 12"),
        (lambda: architecture.rcnn(region_network(cells=3), SIZE), "pooling", "average pool 3 x 3 a map R x 864"),
        (lambda: architecture.rcnn(region_network(width=32), SIZE), "head", "hidden layer one, with ReLU R x 32"),
        (lambda: architecture.rcnn(region_network(classes=20), SIZE), "boxes", "boxes ridge: R x 20 x 4"),
        (lambda: architecture.sppnet(sppnet.PyramidNetwork(backbones.mini(), 3, (6, 3, 2, 1)), SIZE), "pooling",
         "pyramid pool 6 x 6, 3 x 3, 2 x 2, 1 x 1 R x 96 x 50"),
        (lambda: architecture.sppnet(sppnet.PyramidNetwork(backbones.mini(), 3, enlarged=2.0), SIZE), "map",
         "feature map one an image 96 x 40 x 52"),
        (lambda: architecture.fast_rcnn(fast(), SIZE), "pooling", "RoI align R x 96 x 4 x 6"),
        (lambda: architecture.fast_rcnn(fast(align=False, pool_size=(7, 7)), SIZE), "pooling",
         "RoI pooling R x 96 x 7 x 7"),
        (lambda: architecture.fast_rcnn(fast(classes=20), SIZE), "classes", "classes softmax: R x 21"),
        (lambda: architecture.fast_rcnn(fast(), SIZE), "boxes", "boxes deltas: R x 4 x 4"),
        (lambda: architecture.fast_rcnn(fast(class_agnostic=True), SIZE), "boxes", "boxes deltas: R x 1 x 4"),
        (rpn, "rpn", "RPN 8 anchors a cell 20 x 26 x 8 = 4,160 a score and 4 deltas"),
        (lambda: rpn(sizes=(32,), ratios=(1.0,)), "rpn", "RPN 1 anchors a cell 20 x 26 x 1 = 520 a score and 4 deltas"),
        (lambda: rpn(after_nms=(2000, 300)), "proposals", "proposals the best 300 after NMS (no gradient)"),
        (lambda: architecture.faster_rcnn(faster(), SIZE), "pooling", "RoI align 100 x 96 x 5 x 8"),
    ],
)  # fmt: skip
def test_the_numbers_are_those_of_the_network(draw, place, words):
    assert said(draw())[place] == words


def test_the_stages_that_do_not_learn_are_counted():
    model = fast()
    assert "fixed" not in said(architecture.fast_rcnn(model, SIZE))["backbone"]
    model.backbone.freeze(stages=2)
    assert said(architecture.fast_rcnn(model, SIZE))["backbone"].endswith("stride 8 2 of 4 stages fixed")


def test_drawing_leaves_the_network_as_it_was():
    model = faster().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    architecture.faster_rcnn(model, SIZE)
    assert model.backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("R-CNN", {"search", "cut proposals", "cut out", "classes", "boxes", "class loss", "box loss"}),
        ("SPPNet", {"backbone", "map", "pooling"}),
        ("Fast R-CNN", {"backbone", "pooling", "head", "classes", "boxes", "class loss", "box loss"}),
        ("RPN", {"rpn", "object loss", "anchor loss", "proposals"}),
        ("Faster R-CNN", {"rpn", "object loss", "anchor loss", "proposals"}),
    ],
)
def test_what_the_paper_changed_has_the_thick_frame(name, changed):
    assert new(DIAGRAMS[name]()) == changed


def test_the_losses_are_as_many_as_the_detectors_have():
    said_by = {name: said(draw()) for name, draw in DIAGRAMS.items()}
    losses = {name: sorted(place for place in words if place and "loss" in place) for name, words in said_by.items()}
    two, four = ["box loss", "class loss"], ["anchor loss", "box loss", "class loss", "object loss"]
    assert losses == {
        **dict.fromkeys(("R-CNN", "SPPNet", "Fast R-CNN"), two),
        "RPN": ["anchor loss", "object loss"],
        **dict.fromkeys(("Faster R-CNN", "Four-step training"), four),
    }


@pytest.mark.parametrize("name", DIAGRAMS)
def test_no_word_leaves_its_box_and_no_box_the_picture(name):
    plots.use_course_style()
    figure = DIAGRAMS[name]()
    figure.canvas.draw()
    (ax,) = figure.axes
    boxes = places(ax)
    for text in ax.texts:
        words, around = text.get_window_extent(), ax.bbox.padded(2)
        if text.get_gid() in boxes:
            around = boxes[text.get_gid()].get_window_extent().padded(1)
        assert around.x0 <= words.x0 < words.x1 <= around.x1, text.get_text()
        assert around.y0 <= words.y0 < words.y1 <= around.y1, text.get_text()
    for patch in boxes.values():
        assert ax.bbox.padded(1).x1 >= patch.get_window_extent().x1


@pytest.mark.parametrize("name", DIAGRAMS)
def test_an_arrow_starts_and_ends_at_a_part(name):
    (ax,) = DIAGRAMS[name]().axes
    parts = [patch.get_bbox().padded(0.02) for patch in ax.patches if isinstance(patch, Rectangle)]
    arrows = [patch._posA_posB for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) >= 9
    for start, end in arrows:
        assert any(part.contains(*end) for part in parts), end
        assert any(part.contains(*start) for part in parts) or start[1] == 1.18, start  # or it comes from a bend


def test_the_same_part_stands_in_the_same_place_in_all_of_them():
    seen = {}
    for draw in DIAGRAMS.values():
        for place, patch in places(draw().axes[0]).items():
            assert seen.setdefault(place, patch.get_bbox().bounds) == patch.get_bbox().bounds


def test_all_in_a_row_is_all_six():
    figure = architecture.all_in_a_row(
        region_network(), sppnet.PyramidNetwork(backbones.mini(), 3), fast(), faster(), SIZE
    )
    titles = [ax.texts[[text.get_fontsize() for text in ax.texts].index(13)].get_text() for ax in figure.axes]
    assert titles == list(DIAGRAMS)
    assert plt.get_fignums() == [figure.number]
