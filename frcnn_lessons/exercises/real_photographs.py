"""The exercises of lesson 12, real photographs and torchvision.

Letters: K boxes, H x W pixels of an image.
"""

import math

import torch
from torch import Tensor, nn, tensor

from frcnn_lessons.exercises.description import (
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    on_paper,
    parts,
)

# --- 12.1 ------------------------------------------------------------------------------------------------------


def exif_turned(boxes, size, orientation):
    """Boxes (K, 4) xyxy of the upright picture, from those of the stored pixels of size (H, W)."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    if orientation == 3:
        return torch.stack([width - x2, height - y2, width - x1, height - y1], dim=1)
    if orientation == 6:
        return torch.stack([height - y2, x1, height - y1, x2], dim=1)
    if orientation == 8:
        return torch.stack([y1, width - x2, y2, width - x1], dim=1)
    return boxes


def _boxes_and_turn(count: int, draw: torch.Generator) -> tuple[Tensor, tuple[int, int], int]:
    corner, side = 40 * torch.rand(count, 2, generator=draw), 1 + 20 * torch.rand(count, 2, generator=draw)
    orientation = (1, 3, 6, 8)[int(torch.randint(4, (1,), generator=draw))]
    return torch.cat([corner, corner + side], dim=1), (70, 90), orientation


CORNER = tensor([[0.0, 0, 2, 1]])  # in the top left corner of what is stored, lying

TURNED_TEXT = """\
The boxes of some telephone pictures were drawn on the pixels *as they are stored*, and the program that trains turns
the pictures upright. This function turns the boxes with them. "It works", says who wrote it: on square pictures.

`exif_turned(boxes, size, orientation)`: the stored pixels have `size` `(height, width)`; `boxes`, shape `(K, 4)`, are
`xyxy` in them. What has to be done to see the picture upright is told by `orientation`: 1 nothing, 3 half a turn,
{clockwise} a quarter **clockwise** (the left edge becomes the top), {back} a quarter **counterclockwise** (the right
edge becomes the top).{note} Return the boxes in the upright picture, `xyxy`, shape `(K, 4)`. `K` may be 0.

Find the mistake and correct it; a sheet of paper that you turn helps."""

EXIF_TURNED = Exercise(
    kind="find the bug",
    reference=exif_turned,
    given="as_given",
    number="12.1",
    title="A quarter turn",
    stars=2,
    minutes=10,
    points=3,
    goals=(1,),
    core=True,
    text=TURNED_TEXT.format(clockwise=6, back=8, note=""),
    cases=(
        on_paper(
            "a box in the top left corner, 6 x 10 pixels, orientation 1", CORNER, (6, 10), 1, gives=[[0, 0, 2, 1]]
        ),
        on_paper("the same, orientation 6", CORNER, (6, 10), 6, gives=[[5, 0, 6, 2]]),
        on_paper("the same, orientation 8", CORNER, (6, 10), 8, gives=[[0, 8, 1, 10]]),
        on_paper("the same, orientation 3", CORNER, (6, 10), 3, gives=[[8, 5, 10, 6]]),
        on_paper(
            "two boxes, orientation 6",
            tensor([[1.0, 2, 4, 3], [0, 0, 10, 6]]),
            (6, 10),
            6,
            gives=[[3, 1, 4, 4], [0, 0, 6, 10]],
        ),
        edge("no boxes", torch.zeros(0, 4), (6, 10), 6, gives=torch.zeros(0, 4)),
        *at_random(_boxes_and_turn),
    ),
    impostors=(
        Impostor(
            "as_given",
            "Where the picture is turned by a quarter, the stored *height* becomes the new width: "
            "which of the two is subtracted from?",
            change={
                "height - y2, x1, height - y1, x2": "width - y2, x1, width - y1, x2",
                "y1, width - x2, y2, width - x1": "y1, height - x2, y2, height - x1",
            },
        ),
        Impostor(
            "only_6_mended",
            "Orientation 8 has the same mistake as 6 had.",
            change={"y1, width - x2, y2, width - x1": "y1, height - x2, y2, height - x1"},
        ),
        Impostor(
            "only_8_mended",
            "Orientation 6 has the same mistake as 8 had.",
            change={"height - y2, x1, height - y1, x2": "width - y2, x1, width - y1, x2"},
        ),
        Impostor(
            "other_way_round",
            "6 is a quarter *clockwise*: the left edge becomes the top. You turned the other way.",
            change={"orientation == 6": "orientation == 0", "orientation == 8": "orientation == 6"},
        ),
        Impostor(
            "corners_swapped",
            "A turn exchanges the corners: the first one must be the upper left again, or the box has a negative side.",
            change={
                "height - y2, x1, height - y1, x2": "height - y1, x1, height - y2, x2",
                "y1, width - x2, y2, width - x1": "y1, width - x1, y2, width - x2",
            },
        ),
        Impostor(
            "not_turned", "These are the boxes as they came in.", function=lambda boxes, _size, _orientation: boxes
        ),
    ),
    hints=(
        "Draw a picture of 10 x 6 squares with a box in its upper left corner, and turn the sheet clockwise.",
        "The stored top edge becomes the right edge: the new x runs from there, so it is *something* minus the old y.",
        "After a quarter turn the picture is `height` wide: x is `height - y` for 6; for 8, y is `width - x`.",
    ),
    variants=(
        Variant(
            "back",
            TURNED_TEXT.format(
                clockwise=8, back=6, note=" (These notes say how the camera *was* held; EXIF has 6 and 8 exchanged.)"
            ),
            change={"orientation == 6": "orientation == 0", "orientation == 8": "orientation == 6", "== 0": "== 8"},
            gives={
                "the same, orientation 6": [[0, 8, 1, 10]],
                "the same, orientation 8": [[5, 0, 6, 2]],
                "two boxes, orientation 6": [[2, 6, 3, 9], [0, 0, 6, 10]],
            },
            without=("as_given", "only_6_mended", "only_8_mended", "other_way_round", "corners_swapped"),
            impostors=(
                Impostor(
                    "as_given",
                    "Where the picture is turned by a quarter, the stored *height* becomes the new width: "
                    "which of the two is subtracted from?",
                    change={
                        "height - y2, x1, height - y1, x2": "width - y2, x1, width - y1, x2",
                        "y1, width - x2, y2, width - x1": "y1, height - x2, y2, height - x1",
                    },
                ),
            ),
        ),
    ),
)

# --- 12.2 ------------------------------------------------------------------------------------------------------

SIZES_TEXT = """\
A detector has `min_size={short}` and `max_size={long}`, as torchvision calls them: the short side is brought to {short}
pixels, unless the long side would pass {long}; then the long side is {long}. Proportions stay, small pictures grow, and
sides are rounded to whole pixels. What does it make of these four, each given as width x height?

1. {first}; 2. {second}; 3. {third}; 4. {fourth}.

Set `sizes_after_resizing` to four pairs, `(width, height)`, in this order. Pencil and paper are enough."""

SIZES_AFTER_RESIZING = Exercise(
    kind="predict",
    name="sizes_after_resizing",
    number="12.2",
    title="As the detector sees it",
    minutes=6,
    points=1,
    goals=(2,),
    core=True,
    text=SIZES_TEXT.format(
        short=400, long=600, first="800 x 1000", second="2000 x 1000", third="300 x 200", fourth="500 x 200"
    ),
    answer=((400, 500), (600, 300), (600, 400), (600, 240)),
    stub="(..., ..., ..., ...)",
    cases=parts("800 x 1000", "2000 x 1000", "300 x 200", "500 x 200"),
    impostors=(
        Impostor(
            "no_limit",
            "The long side would pass the limit: then the limit decides, and the short side is shorter than 400.",
            answer=((400, 500), (800, 400), (600, 400), (1000, 400)),
        ),
        Impostor(
            "never_grows",
            "Small pictures grow: there is no rule that forbids it.",
            answer=((400, 500), (600, 300), (300, 200), (500, 200)),
        ),
        Impostor(
            "long_side_always",
            "The long side is brought to 600 only where the short side at 400 would make it longer than that.",
            answer=((480, 600), (600, 300), (600, 400), (600, 240)),
        ),
        Impostor(
            "squeezed",
            "Both sides are multiplied by one factor, or the picture is squeezed.",
            answer=((400, 500), (600, 400), (600, 400), (600, 400)),
        ),
        Impostor(
            "height_first",
            "The pairs are (width, height).",
            answer=((500, 400), (300, 600), (400, 600), (240, 600)),
        ),
    ),
    hints=(
        "Two factors: 400 / short side and 600 / long side. Which one is used?",
        "The smaller of the two factors, for both sides.",
        "800 x 1000: 0.5 and 0.6, so 0.5. 500 x 200: 2 and 1.2, so 1.2.",
    ),
    variants=(
        Variant(
            "published",
            SIZES_TEXT.format(
                short=600, long=1000, first="500 x 400", second="1000 x 400", third="3000 x 1500", fourth="1200 x 2400"
            ),
            answer=((750, 600), (1000, 400), (1000, 500), (500, 1000)),
            cases=parts("500 x 400", "1000 x 400", "3000 x 1500", "1200 x 2400"),
            without=("no_limit", "never_grows", "long_side_always", "squeezed", "height_first"),
            impostors=(
                Impostor(
                    "no_limit",
                    "The long side would pass the limit: then the limit decides.",
                    answer=((750, 600), (1500, 600), (1200, 600), (600, 1200)),
                ),
                Impostor(
                    "never_grows",
                    "Small pictures grow: there is no rule that forbids it.",
                    answer=((500, 400), (1000, 400), (1000, 500), (500, 1000)),
                ),
            ),
        ),
    ),
)

# --- 12.3 ------------------------------------------------------------------------------------------------------


def fpn_level(boxes):
    """Level of the pyramid, 2 to 5, (K,), from which each box (K, 4) xyxy is pooled."""
    levels = []
    for x1, y1, x2, y2 in boxes.tolist():
        side = math.sqrt((x2 - x1) * (y2 - y1))
        level = math.floor(4 + math.log2(side / 224))
        levels.append(min(5, max(2, level)))
    return torch.tensor(levels, dtype=torch.int64)


def _objects(count: int, draw: torch.Generator) -> tuple[Tensor]:
    corner = 300 * torch.rand(count, 2, generator=draw)
    side = 2 ** (3 + 7 * torch.rand(count, 2, generator=draw))  # 8 to 1,024 pixels
    return (torch.cat([corner, corner + side], dim=1),)


LEVEL_TEXT = """\
`fpn_level(boxes)`: from which level of the pyramid is each object pooled? For `K` boxes, `xyxy`, shape `(K, 4)`, return
the `K` levels, whole numbers, shape `(K,)`, by the paper's equation 1:
an object whose area is that of a square of {base} pixels belongs to level {level}, each halving of that side goes one
level down, each doubling one up; round down. There is no level below 2 and none above 5. `K` may be 0."""

FPN_LEVEL = Exercise(
    kind="implement",
    reference=fpn_level,
    number="12.3",
    title="Which level?",
    stars=1,
    minutes=8,
    points=2,
    goals=(3,),
    core=True,
    text=LEVEL_TEXT.format(base=224, level=4),
    cases=(
        on_paper("224 x 224", tensor([[0.0, 0, 224, 224]]), gives=[4]),
        on_paper("112 x 112", tensor([[300.0, 400, 412, 512]]), gives=[3]),
        on_paper("448 x 112, the area of 224 x 224", tensor([[0.0, 0, 448, 112]]), gives=[4]),
        on_paper("111 x 111 and 300 x 300", tensor([[0.0, 0, 111, 111], [0, 0, 300, 300]]), gives=[2, 4]),
        on_paper("20 x 10 and 1800 x 1800", tensor([[0.0, 0, 20, 10], [0, 0, 1800, 1800]]), gives=[2, 5]),
        on_paper("448 x 448, away from the corner", tensor([[100.0, 100, 548, 548]]), gives=[5]),
        edge("no boxes", torch.zeros(0, 4), gives=[]),
        *at_random(_objects),
    ),
    impostors=(
        Impostor(
            "area",
            "The *side* of the square is compared with 224, the square root of the area.",
            change={"math.sqrt((x2 - x1) * (y2 - y1))": "(x2 - x1) * (y2 - y1)"},
        ),
        Impostor(
            "width_only",
            "448 x 112 has the area of 224 x 224, so both belong to level 4: the height counts as well.",
            change={"math.sqrt((x2 - x1) * (y2 - y1))": "x2 - x1"},
        ),
        Impostor(
            "far_corner",
            "The second corner is no size: 412 - 300 = 112.",
            change={"(x2 - x1) * (y2 - y1)": "x2 * y2"},
        ),
        Impostor(
            "rounded",
            "Round *down*: an object of 300 pixels has not come to level 5 yet.",
            change={"math.floor": "round"},
        ),
        Impostor(
            "natural_log",
            "Each *halving* goes one level down: the logarithm is that to base 2.",
            change={"math.log2": "math.log"},
        ),
        Impostor(
            "no_limits",
            "There is no level below 2 and none above 5.",
            change={"min(5, max(2, level))": "level"},
        ),
        Impostor(
            "from_zero",
            "Levels are counted as the paper does, from 2, and not as places in a list.",
            change={"min(5, max(2, level))": "min(5, max(2, level)) - 2"},
        ),
        Impostor(
            "upside_down",
            "Large objects go to the coarse levels, which have the *high* numbers.",
            change={"4 + math.log2(": "4 - math.log2("},
        ),
        Impostor("one_too_high", "224 pixels belong to level 4, not 5.", change={"4 + math": "5 + math"}),
    ),
    hints=(
        "How many halvings lie between the object's side and 224? A logarithm to base 2 counts them.",
        "`math.log2(side / 224)` is -1 for 112 pixels; add it to 4 and round down.",
        "`min(5, max(2, math.floor(4 + math.log2(side / 224))))` with the square root of the area as side.",
    ),
    variants=(
        Variant(
            "base_256",
            LEVEL_TEXT.format(base=256, level=4),
            change={"side / 224": "side / 256"},
            gives={
                "224 x 224": [3],
                "112 x 112": [2],
                "448 x 112, the area of 224 x 224": [3],
                "111 x 111 and 300 x 300": [2, 4],
                "448 x 448, away from the corner": [4],
            },
            without=("area", "no_limits", "width_only", "far_corner", "rounded"),
            impostors=(
                Impostor("no_limits", "There is no level below 2.", change={"min(5, max(2, level))": "min(5, level)"}),
                Impostor("of_224", "Here the square has 256 pixels.", change={"side / 256": "side / 224"}),
            ),
        ),
    ),
)

# --- 12.4 ------------------------------------------------------------------------------------------------------


def parameter_groups(model):
    """Names of the parameters that learn, sorted: (those that decay, those that do not)."""
    decays, stays = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decays if parameter.ndim > 1 else stays).append(name)
    return sorted(decays), sorted(stays)


def _small() -> nn.Sequential:
    """A convolution with its batch norm, and a linear layer."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 2))


def _first_frozen() -> nn.Module:
    model = _small()
    model[0].requires_grad_(False)
    return model


def _norm_frozen() -> nn.Module:
    model = _small()
    model[1].requires_grad_(False)
    return model


def _nested() -> nn.Module:
    return nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(1, 2, 1), nn.GroupNorm(1, 2)), "head": nn.Linear(2, 1)})


def _one_weight_frozen() -> nn.Module:
    model = _small()
    model[2].weight.requires_grad_(False)
    return model


GROUPS_TEXT = """\
Weight decay pulls weights to 0, which keeps a matrix simple. The scale of a batch norm at 0 switches a channel off, and
a bias at 0 is no simpler than another: neither should decay.

`parameter_groups(model)`: return two lists of *names*, as `model.named_parameters()` gives them, each sorted: of the
parameters that decay (the weights of convolutions and linear layers: all that have more than one axis) and of those
that do not (the others: biases, and scale and shift of every kind of normalisation). Parameters that are frozen
(`requires_grad` is False) stand in neither list."""

PARAMETER_GROUPS = Exercise(
    kind="implement",
    reference=parameter_groups,
    number="12.4",
    title="What decays?",
    stars=2,
    minutes=10,
    points=3,
    goals=(4,),
    core=True,
    text=GROUPS_TEXT,
    cases=(
        on_paper("a linear layer alone", nn.Linear(2, 3), gives=(["weight"], ["bias"])),
        on_paper(
            "convolution, batch norm, linear layer",
            _small(),
            gives=(["0.weight", "2.weight"], ["1.bias", "1.weight", "2.bias"]),
        ),
        on_paper(
            "the same, the convolution frozen",
            _first_frozen(),
            gives=(["2.weight"], ["1.bias", "1.weight", "2.bias"]),
        ),
        on_paper(
            "the same, the batch norm frozen",
            _norm_frozen(),
            gives=(["0.weight", "2.weight"], ["2.bias"]),
        ),
        on_paper(
            "the same, one weight frozen, its bias not",
            _one_weight_frozen(),
            gives=(["0.weight"], ["1.bias", "1.weight", "2.bias"]),
        ),
        on_paper(
            "parts within parts, another normalisation",
            _nested(),
            gives=(["body.0.weight", "head.weight"], ["body.0.bias", "body.1.bias", "body.1.weight", "head.bias"]),
        ),
        edge("a module without parameters", nn.ReLU(), gives=([], [])),
    ),
    impostors=(
        Impostor(
            "frozen_too",
            "A frozen parameter stands in neither list: an optimiser with weight decay may shrink it all the same.",
            change={"if parameter.requires_grad:": "if True:"},
        ),
        Impostor(
            "by_the_name_bias",
            "The scale of a normalisation is called `weight` as well: ask for the number of axes, not for the name.",
            change={"parameter.ndim > 1": "not name.endswith('bias')"},
        ),
        Impostor(
            "exchanged",
            "The first list holds what decays, the second what does not.",
            change={"return sorted(decays), sorted(stays)": "return sorted(stays), sorted(decays)"},
        ),
        Impostor(
            "all_decay",
            "Biases and the scales of normalisation should not decay.",
            change={"parameter.ndim > 1": "True"},
        ),
        Impostor(
            "four_axes",
            "A linear layer's weight has two axes and decays as well, not only a convolution's with four.",
            change={"parameter.ndim > 1": "parameter.ndim == 4"},
        ),
        Impostor(
            "frozen_stay",
            "What is frozen belongs into neither list, also not into the one of those that do not decay.",
            change={
                "if parameter.requires_grad:\n            (decays if parameter.ndim > 1 else stays)": (
                    "if True:\n            (decays if parameter.ndim > 1 and parameter.requires_grad else stays)"
                )
            },
        ),
    ),
    hints=(
        "`model.named_parameters()` goes through all parts within parts and gives (name, parameter).",
        "How many axes has the weight of a convolution, of a linear layer, of a batch norm? `parameter.ndim` tells.",
        "`if parameter.requires_grad:` append the name to one of two lists, by `parameter.ndim > 1`; both sorted.",
    ),
    variants=(
        Variant(
            "biases_too",
            GROUPS_TEXT.replace("neither should decay.", "here the bias of a matrix decays *with* it all the same.")
            .replace(
                "the weights of convolutions and linear layers: all that have more than one axis",
                "all that have more than one axis, and everything whose name ends in `bias`",
            )
            .replace("the others: biases, and scale and shift of every kind of normalisation", "the others"),
            change={"parameter.ndim > 1": "parameter.ndim > 1 or name.endswith('bias')"},
            gives={
                "a linear layer alone": (["bias", "weight"], []),
                "convolution, batch norm, linear layer": (["0.weight", "1.bias", "2.bias", "2.weight"], ["1.weight"]),
                "the same, the convolution frozen": (["1.bias", "2.bias", "2.weight"], ["1.weight"]),
                "the same, the batch norm frozen": (["0.weight", "2.bias", "2.weight"], []),
                "the same, one weight frozen, its bias not": (["0.weight", "1.bias", "2.bias"], ["1.weight"]),
                "parts within parts, another normalisation": (
                    ["body.0.bias", "body.0.weight", "body.1.bias", "head.bias", "head.weight"],
                    ["body.1.weight"],
                ),
            },
            without=("by_the_name_bias", "all_decay", "four_axes", "frozen_stay"),
        ),
    ),
)

# --- 12.5 ------------------------------------------------------------------------------------------------------


def names_to_labels(images, classes, synonyms):
    """Labels from 1 on of the names in each image; None for an image with a name that nobody knows."""
    known = {name.lower(): label for label, name in enumerate(classes, start=1)}
    known |= {word.lower(): known[name.lower()] for word, name in synonyms.items()}
    answer = []
    for names in images:
        labels = [known.get(name.strip().lower()) for name in names]
        answer.append(None if None in labels else labels)
    return answer


VEHICLES = ("bus", "truck", "car")
OTHER_WORDS = {"lorry": "truck", "automobile": "car", "Coach": "bus"}

NAMES_TEXT = """\
Three people have labelled your photographs, each with words of their own. `names_to_labels(images, classes, synonyms)`:
`images` is a list with the names of the objects of each image; `classes` holds the names of the classes, of which the
first has label 1 (0 is background); `synonyms` says for other words which class they mean. Capitals and spaces around a
name do not matter, in none of the three.

Return for each image the list of its labels, in order; but `None` for an image that holds *any* name which is neither a
class nor a synonym. It must not be trained on: an object that may be one of yours would be taught as background. An
image without objects is fine, its list is empty."""

NAMES_TO_LABELS = Exercise(
    kind="implement",
    reference=names_to_labels,
    number="12.5",
    title="One set of names",
    stars=2,
    minutes=12,
    points=3,
    goals=(5,),
    core=True,
    text=NAMES_TEXT,
    cases=(
        on_paper("names of classes only", [["bus", "car"], ["truck"]], VEHICLES, OTHER_WORDS, gives=[[1, 3], [2]]),
        on_paper("a synonym", [["lorry", "bus"]], VEHICLES, OTHER_WORDS, gives=[[2, 1]]),
        on_paper("capitals and spaces", [["Car", " BUS "], ["Lorry "]], VEHICLES, OTHER_WORDS, gives=[[3, 1], [2]]),
        on_paper("a synonym that is written with a capital", [["coach"]], VEHICLES, OTHER_WORDS, gives=[[1]]),
        on_paper(
            "one unknown name among known ones", [["car", "tram"], ["car"]], VEHICLES, OTHER_WORDS, gives=[None, [3]]
        ),
        on_paper("an image without objects", [[], ["bus"]], VEHICLES, OTHER_WORDS, gives=[[], [1]]),
        on_paper("the same class twice", [["car", "automobile", "car"]], VEHICLES, OTHER_WORDS, gives=[[3, 3, 3]]),
        edge("no images", [], VEHICLES, OTHER_WORDS, gives=[]),
        edge("no synonyms", [["lorry"], ["car"]], VEHICLES, {}, gives=[None, [3]]),
        edge("a synonym for a class with a capital", [["tom"]], ("Cat", "Dog"), {"Tom": "cat"}, gives=[[1]]),
    ),
    impostors=(
        Impostor(
            "from_zero",
            "Label 0 is background: the first class has label 1.",
            change={"start=1": "start=0"},
        ),
        Impostor(
            "name_dropped",
            "Only the unknown name was dropped. Its object is still in the picture, and would be taught as background: "
            "the whole image must go.",
            change={"None if None in labels else labels": "[label for label in labels if label is not None]"},
        ),
        Impostor(
            "unknown_is_background",
            "An unknown name became label 0; the whole image must go.",
            change={"None if None in labels else labels": "[label or 0 for label in labels]"},
        ),
        Impostor(
            "image_left_out",
            "The image with the unknown name is missing from the answer; there must be a `None` in its place, or all "
            "that follow slip by one.",
            change={
                "answer.append(None if None in labels else labels)": (
                    "if None not in labels:\n            answer.append(labels)"
                )
            },
        ),
        Impostor(
            "empty_is_none",
            "An image without objects is fine: it shows what nothing looks like.",
            change={"None if None in labels else labels": "None if None in labels or not labels else labels"},
        ),
        Impostor(
            "no_synonyms",
            "The words of `synonyms` are known, too.",
            change={
                "known |= {word.lower(): known[name.lower()] for word, name in synonyms.items()}": "known = dict(known)"
            },
        ),
        Impostor(
            "capitals_matter",
            "Capitals do not matter: `Car` is a car.",
            function=lambda images, classes, synonyms: [
                None if None in labels else labels
                for labels in (
                    [
                        {
                            **{name: label for label, name in enumerate(classes, 1)},
                            **{word: list(classes).index(of) + 1 for word, of in synonyms.items() if of in classes},
                        }.get(name.strip())
                        for name in names
                    ]
                    for names in images
                )
            ],
        ),
        Impostor(
            "spaces_matter",
            "Spaces around a name do not matter.",
            change={"name.strip().lower()": "name.lower()"},
        ),
        Impostor(
            "capital_of_synonym",
            "The words of `synonyms` may have capitals as well: bring both sides to small letters.",
            change={"word.lower(): known": "word: known"},
        ),
        Impostor(
            "each_class_once",
            "Every object has a label, also the second of its class.",
            change={"None if None in labels else labels": "None if None in labels else list(dict.fromkeys(labels))"},
        ),
    ),
    hints=(
        "Make one dictionary first: from every word that is known, in small letters, to its label.",
        "`dict.get` gives None for what is not in it. One None in the list of an image, and the image is out.",
        "`labels = [known.get(name.strip().lower()) for name in names]`, then `None if None in labels else labels`.",
    ),
    variants=(
        Variant(
            "numbers_from_zero",
            NAMES_TEXT.replace(
                "of which the\nfirst has label 1 (0 is background)",
                "of which the\nfirst has label 0, as in DETR, where background comes *last*",
            ),
            change={"Labels from 1 on": "Labels from 0 on", "start=1": "start=0"},
            gives={
                "names of classes only": [[0, 2], [1]],
                "a synonym": [[1, 0]],
                "capitals and spaces": [[2, 0], [1]],
                "a synonym that is written with a capital": [[0]],
                "one unknown name among known ones": [None, [2]],
                "an image without objects": [[], [0]],
                "the same class twice": [[2, 2, 2]],
                "no synonyms": [None, [2]],
                "a synonym for a class with a capital": [[0]],
            },
            without=("from_zero", "unknown_is_background", "capitals_matter"),
            impostors=(Impostor("from_one", "Here the first class has label 0.", change={"start=0": "start=1"}),),
        ),
    ),
)

EXERCISES = (EXIF_TURNED, SIZES_AFTER_RESIZING, FPN_LEVEL, PARAMETER_GROUPS, NAMES_TO_LABELS)
