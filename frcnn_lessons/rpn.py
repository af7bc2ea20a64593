"""The region proposal network: a small network that slides over the feature map and says where objects may be.

    features      -> 3x3 conv -> ReLU -+-> 1x1 conv: objectness  (N, T)     is it an object?
    (N, K, h, w)     (N, D, h, w)      `-> 1x1 conv: deltas      (N, T, 4)  where is it, seen from the anchor?

In training, `rpn_loss` compares both with what `anchor_targets` asks for, on a sample of the anchors. The proposal
layer, `proposals`, turns them into a few hundred boxes: move the anchors, clip, drop what is tiny, take the best before
and after non-maximum suppression. These boxes then take the place of selective search in Fast R-CNN.

`RPN` holds all this together: called with a feature map, it gives what it says of every anchor and, with targets, how
wrong that is. Nothing in it knows a class: only "object" or not.

Source: Ren et al., "Faster R-CNN", 2015 (arXiv:1506.01497): sections 3.1 (network, loss) and 3.3 (numbers). Lesson 09.
Letters: N images, K channels of a map of h x w cells, D hidden channels, A anchors a cell, T = h * w * A anchors of an
image (their order: see `frcnn_lessons.anchors`), F of them foreground and B background, M ground-truth boxes, P
proposals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from frcnn_lessons import boxes
from frcnn_lessons.anchors import Rounding, anchor_grid, base_anchors, inside
from frcnn_lessons.batch import ImageSizes, Losses, Targets, check_targets
from frcnn_lessons.sampling import BACKGROUND, FOREGROUND, IGNORED, learnable, match, on_difficult, sample
from frcnn_lessons.settings import Count, Positive, Share, Weight, check_settings

Sampled = Sequence[tuple[Int[Tensor, " _"], Int[Tensor, " _"]]]
"""For each image the indices of the foreground and of the background anchors, as `sampling.sample` gives them."""


@dataclass(frozen=True)
class RPNSettings:
    """What can be chosen about an RPN, with the paper's values. Change one: `RPNSettings(sizes=(16, 32, 64))`.

    Pairs of numbers are for training and for testing.
    """

    sizes: tuple[Positive, ...] = (128, 256, 512)  # section 3.3, for images with a short side of 600
    ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)  # section 3.3: 2:1, 1:1, 1:2
    rounding: Rounding = "none"  # see `base_anchors`
    offset: float = 0.5  # centred in the cell; torchvision has 0, its corner
    hidden: Count | None = None  # D; as many as the map has channels if None: 512 for VGG16, section 3.1
    foreground_iou: Share = 0.7  # section 3.1.2
    background_iou: tuple[Share, Share] = (0.0, 0.3)  # section 3.1.2
    allow_crossing: bool = False  # section 3.3: anchors across the border are not trained on; torchvision's are
    regions: Count = 256  # anchors of each image in a step, section 3.1.2
    foreground_share: Share = 0.5  # section 3.1.2: up to 128 of them
    normalise: Literal["sampled", "paper"] = "sampled"  # "paper", section 3.1.2: the box loss over all locations, and
    box_weight: Weight = 1.0  # lambda of equation 1: 10 there. 1 and "sampled" do nearly the same, as later code does
    beta: Weight = 1 / 9  # where smooth L1 turns from a square into a line; the authors' code
    before_nms: tuple[Count, Count] = (12000, 6000)  # best anchors that are looked at; the authors' code
    nms_iou: Share = 0.7  # section 3.3
    after_nms: tuple[Count, Count] = (2000, 300)  # section 3.3 and table 2
    min_size: Weight = 1e-3  # pixels; only what clipping left nothing of. The authors' code drops all below 16
    report_accuracy: bool = False  # adds "accuracy" to the losses, for the curves; it is not to be summed with them

    def __post_init__(self) -> None:
        """Refuse what is out of range, or a misspelt word, which would silently mean the other one."""
        check_settings(self)


class RPNHead(nn.Module):
    """From a feature map to one score and one box for every anchor.

    Attributes:
        conv: 3x3, K -> D: each cell looks at its neighbours.
        objectness: 1x1, D -> A: channel a is about anchor a of the cell, one logit (the paper has two classes and a
            softmax; the difference of its two numbers is this one).
        regressor: 1x1, D -> 4A: channel 4 * a + d is delta d of anchor a, in the order dx, dy, dw, dh.
    """

    def __init__(
        self, channels: int, anchors: int, hidden: int | None = None, generator: Generator | None = None
    ) -> None:
        """Make a head with random weights, for K `channels` and A `anchors` a cell; D is K if `hidden` is not given."""
        super().__init__()
        hidden = hidden or channels
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.objectness = nn.Conv2d(hidden, anchors, 1)
        self.regressor = nn.Conv2d(hidden, 4 * anchors, 1)
        # Section 3.1.3. So small that at first every anchor is "perhaps", and right where it stands.
        for layer in (self.conv, self.objectness, self.regressor):
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, features: Float[Tensor, "N K h w"]) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T 4"]]:
        """Score every anchor: logits, above 0 for "object", and deltas; in the order of `anchors.anchor_grid`."""
        hidden = F.relu(self.conv(features))  # (N, D, h, w)
        # Channels last, so that all numbers of a cell stand together: then the order is rows, columns, anchors.
        objectness = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1)  # (N, h, w, A) -> (N, T)
        deltas = self.regressor(hidden).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))  # (N, T, 4)
        return objectness, deltas


class RPNOutput(NamedTuple):
    """What the network says of a feature map.

    Attributes:
        objectness: logits, above 0 for "object".
        deltas: from each anchor to the object it may see.
        anchors: the same for each of the N images, xyxy in pixels.
        losses: `loss_objectness` and `loss_rpn_box_reg`, if there were targets.
    """

    objectness: Float[Tensor, "N T"]
    deltas: Float[Tensor, "N T 4"]
    anchors: Float[Tensor, "T 4"]
    losses: Losses


class RPN(nn.Module):
    """The network, what it learns from, and its proposals.

    Attributes:
        head: all the weights.
        base: (A, 4), the shapes of a cell.
        generator: which anchors a training step learns from; store its state with the weights to repeat a training.
    """

    base: Tensor

    def __init__(
        self, channels: int, stride: int, settings: RPNSettings | None = None, generator: Generator | None = None
    ) -> None:
        """Make a network with random weights.

        Args:
            channels, stride: of the feature map, see `Backbone`.
            settings: `RPNSettings()` if not given.
            generator: where the weights, and later the anchors of each step, are drawn from; torch's own if not given.
        """
        super().__init__()
        self.settings = settings or RPNSettings()
        self.stride, self.generator = stride, generator
        base = base_anchors(self.settings.sizes, self.settings.ratios, self.settings.rounding)
        self.register_buffer("base", base, persistent=False)  # follows from the settings: not stored
        self.head = RPNHead(channels, len(base), self.settings.hidden, generator)

    def forward(
        self, features: Float[Tensor, "N K h w"], targets: Targets | None = None, image_sizes: ImageSizes | None = None
    ) -> RPNOutput:
        """Say of every anchor whether it is on an object and where that is; with targets, also how wrong this is.

        Args:
            features: one map for each image.
            targets: as `losses` takes them, checked; None for no losses.
            image_sizes: as `losses` takes them; needed with targets.
        """
        objectness, deltas = self.head(features)
        # Under mixed precision they come with three digits: too few to tell thousands of scores apart, or for pixels.
        output = RPNOutput(objectness.float(), deltas.float(), self.anchors(features), {})
        if targets is None or image_sizes is None:
            return output
        return output._replace(losses=self.losses_core(output, targets, image_sizes))

    def anchors(self, features: Float[Tensor, "N K h w"]) -> Float[Tensor, "T 4"]:
        """The anchors of a feature map, the same for each of its images: xyxy in pixels."""
        return anchor_grid(self.base, (features.shape[2], features.shape[3]), self.stride, self.settings.offset)

    def losses(self, output: RPNOutput, targets: Targets, image_sizes: ImageSizes) -> Losses:
        """Draw anchors of every image and compute the loss on them.

        Args:
            output: what the call gave.
            targets: of each image, `boxes` (M, 4), M may be 0, and, if any are, `difficult` (M,).
            image_sizes: of each image; anchors beyond are ignored.

        Returns:
            `loss_objectness` and `loss_rpn_box_reg`, see `rpn_loss`; their sum is to be made small. With
            `report_accuracy` also `accuracy`, the share of the anchors drawn whose logit has the right sign.
        """
        if not len(output.objectness) == len(targets) == len(image_sizes):
            raise ValueError(
                f"targets and image_sizes must hold one for each of the {len(output.objectness)} images; "
                f"got {len(targets)} and {len(image_sizes)}"
            )
        check_targets(targets, classes=None)
        return self.losses_core(output, targets, image_sizes)

    def losses_core(self, output: RPNOutput, targets: Targets, image_sizes: ImageSizes) -> Losses:
        """`losses`, of targets that have been checked."""
        objectness, deltas, anchors, _ = output
        s = self.settings
        rules = s.foreground_iou, s.background_iou, s.allow_crossing
        wanted = [
            anchor_targets_core(anchors, target["boxes"], size, *rules, target.get("difficult"))
            for target, size in zip(targets, image_sizes, strict=True)
        ]
        drawn = [sample(of_image.verdict, s.regions, s.foreground_share, self.generator) for of_image in wanted]
        locations = objectness.numel() // len(self.base) if s.normalise == "paper" else None
        losses = rpn_loss(objectness, deltas, wanted, drawn, s.box_weight, s.beta, locations)
        if s.report_accuracy:
            right = [
                torch.cat([scores[foreground] > 0, scores[background] <= 0])
                for scores, (foreground, background) in zip(objectness, drawn, strict=True)
            ]
            losses["accuracy"] = torch.cat(right).sum() / max(sum(map(len, right)), 1)
        return losses

    def propose(
        self, output: RPNOutput, image_sizes: ImageSizes
    ) -> tuple[list[Float[Tensor, "_ 4"]], list[Float[Tensor, " _"]]]:
        """Propose regions: for each image boxes (P, 4) and scores (P,) as probabilities, best first.

        As many as the settings say for training or testing, whichever mode the module is in; see `proposals`.
        """
        objectness, deltas, anchors, _ = output
        s, mode = self.settings, 0 if self.training else 1
        numbers = s.before_nms[mode], s.after_nms[mode], s.nms_iou, s.min_size
        pairs = proposals_core(objectness, deltas, anchors, image_sizes, *numbers)
        return [found for found, _ in pairs], [scores for _, scores in pairs]


class AnchorTargets(NamedTuple):
    """What the network should answer for the anchors of one image.

    Attributes:
        verdict: (T,), FOREGROUND, BACKGROUND or IGNORED of `sampling` (takes no part in the loss).
        matched: (T,), for foreground the index of the ground-truth box with the highest overlap; -1 elsewhere.
        deltas: (T, 4), from each foreground anchor to that box (`boxes.encode`, equation 2); 0 elsewhere.
    """

    verdict: Int[Tensor, " T"]
    matched: Int[Tensor, " T"]
    deltas: Float[Tensor, "T 4"]


def anchor_targets(
    anchors: Float[Tensor, "T 4"],
    gt_boxes: Float[Tensor, "M 4"],
    image_size: tuple[int, int],
    foreground_iou: float = 0.7,
    background_iou: tuple[float, float] = (0.0, 0.3),
    allow_crossing: bool = False,
    difficult: Bool[Tensor, " M"] | None = None,
) -> AnchorTargets:
    """Decide for every anchor what it should be (section 3.1.2).

    Foreground is an anchor with IoU >= 0.7 with some object; and, so that no object is left out, the anchor with the
    highest IoU with an object, however low (all of them if several are equal). Background is an anchor that has IoU
    < 0.3 with all objects. What lies between is ignored, and so is what crosses the border of the image: it could
    never fit, and its large, uncorrectable errors would keep training from converging (section 3.3). Crossing anchors
    are taken out *first*, so that the best for an object is the best of those inside.

    Args:
        gt_boxes: the image's objects; M may be 0: all that lies inside is background.
        image_size: (height, width) of the image, without what it was padded with.
        foreground_iou, background_iou: the thresholds, see `sampling.match`.
        allow_crossing: let anchors that cross the border (and those in the padding) take part, as torchvision does.
        difficult: objects that are not to be learned. None of them makes an anchor foreground, but an anchor on one,
            with IoU of the upper bound of `background_iou` or more, is no background either: it is ignored.

    Raises:
        ValueError: if an object has no width or height: its deltas would be infinite and the loss NaN.
    """
    bad = ~boxes.is_box(gt_boxes, allow_empty_area=False)  # (M,)
    if bad.any():
        row = int(torch.nonzero(bad)[0])
        raise ValueError(f"gt_boxes must have x2 > x1 and y2 > y1; row {row} is {gt_boxes[row].tolist()}")
    return anchor_targets_core(anchors, gt_boxes, image_size, foreground_iou, background_iou, allow_crossing, difficult)


def anchor_targets_core(
    anchors: Float[Tensor, "T 4"],
    gt_boxes: Float[Tensor, "M 4"],
    image_size: tuple[int, int],
    foreground_iou: float,
    background_iou: tuple[float, float],
    allow_crossing: bool,
    difficult: Bool[Tensor, " M"] | None,
) -> AnchorTargets:
    """`anchor_targets`, of boxes that have been checked."""
    gt_boxes = gt_boxes.to(anchors)
    learned = learnable(gt_boxes, difficult)  # (L,)
    takes_part = torch.ones_like(anchors[:, 0], dtype=torch.bool) if allow_crossing else inside(anchors, image_size)
    taking_part = torch.nonzero(takes_part).flatten()  # (I,)
    iou = boxes.iou_core(anchors[taking_part], gt_boxes)  # (I, M)
    best, verdict_inside = match(iou[:, learned], foreground_iou, background_iou)  # (I,), (I,)
    untaught = on_difficult(iou, difficult, background_iou[1])  # (I,)
    verdict_inside[untaught & (verdict_inside == BACKGROUND)] = IGNORED

    found = torch.nonzero(verdict_inside == FOREGROUND).flatten()  # (F,), among those that take part
    foreground = taking_part[found]  # (F,), among all
    verdict = torch.full((len(anchors),), IGNORED, device=anchors.device)
    matched = torch.full_like(verdict, -1)
    deltas = torch.zeros_like(anchors)
    verdict[taking_part] = verdict_inside
    matched[foreground] = learned[best[found]]
    deltas[foreground] = boxes.encode_core(gt_boxes[matched[foreground]], anchors[foreground])
    return AnchorTargets(verdict, matched, deltas)


def rpn_loss(
    objectness: Float[Tensor, "N T"],
    deltas: Float[Tensor, "N T 4"],
    targets: Sequence[AnchorTargets],
    sampled: Sampled,
    box_weight: float = 1.0,
    beta: float = 1 / 9,
    locations: int | None = None,
) -> dict[str, Tensor]:
    """How wrong the network is about the anchors drawn (equation 1).

        L = 1 / N_cls * sum of log losses  +  box_weight / N_reg * sum over foreground of smooth_l1(delta - goal)

    N_cls is the number of anchors drawn from all images. So is N_reg in most code; in the paper it is the number of
    locations, h * w (about 2,400), with a weight of 10 to make up for it: 10 / 2400 is nearly 1 / 256.

    Args:
        objectness: logits.
        targets: of each image, what `anchor_targets` asks for.
        sampled: of each image, the indices of foreground and background anchors that count.
        box_weight: lambda.
        beta: below this difference, smooth L1 is a square.
        locations: N_reg, the cells of all N maps; if not given, the number of anchors drawn.

    Returns:
        `loss_objectness` and `loss_rpn_box_reg`, torchvision's names; both 0 when nothing was drawn.

    Raises:
        ValueError: if the targets are about another number of anchors or images.
    """
    N, T = objectness.shape
    if [len(image.verdict) for image in targets] != [T] * N or len(sampled) != N:
        raise ValueError(
            f"the network answered for {N} images with {T} anchors each; targets are for "
            f"{[len(image.verdict) for image in targets]} anchors, sampled for {len(sampled)} images"
        )
    # Anchor t of image n is number n * T + t in the flattened batch.
    foreground = torch.cat([of_kind + n * T for n, (of_kind, _) in enumerate(sampled)])  # (F,)
    background = torch.cat([of_kind + n * T for n, (_, of_kind) in enumerate(sampled)])  # (B,)
    logits = objectness.flatten()[torch.cat([foreground, background])]  # (F + B,)
    labels = torch.cat([torch.ones_like(foreground), torch.zeros_like(background)]).to(logits)
    goals = torch.cat([image.deltas[of_kind] for image, (of_kind, _) in zip(targets, sampled, strict=True)])  # (F, 4)
    drawn = max(len(logits), 1)
    box_loss = F.smooth_l1_loss(deltas.flatten(0, 1)[foreground], goals, beta=beta, reduction="sum")
    return {
        "loss_objectness": F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / drawn,
        "loss_rpn_box_reg": box_weight * box_loss / (locations or drawn),
    }


def proposals(
    objectness: Float[Tensor, " T"],
    deltas: Float[Tensor, "T 4"],
    anchors: Float[Tensor, "T 4"],
    image_size: tuple[int, int],
    before_nms: int = 6000,
    after_nms: int = 300,
    nms_iou: float = 0.7,
    min_size: float = 1e-3,
) -> tuple[Float[Tensor, "P 4"], Float[Tensor, " P"]]:
    """From the network's output for one image to its proposals.

    1. take the `before_nms` anchors with the highest objectness;
    2. move and stretch them by their deltas;
    3. clip them to the image, and drop what is smaller than `min_size`;
    4. non-maximum suppression, and take the best `after_nms` of what is left.

    Moving comes before suppression: two anchors far apart may find the same object, two close by different ones.
    Boxes that cross the border are clipped here; only in training are they left out. No gradient flows back through
    the coordinates (section 3.2, "approximate joint training").

    Args:
        objectness: logits.
        image_size: (height, width), without what the image was padded with.
        before_nms, after_nms: how many anchors are looked at, and P at most.
        nms_iou: a box goes if it overlaps a better one by more than this.
        min_size: pixels, for width and height.

    Returns:
        Boxes inside the image and their scores as probabilities, best first; may be none.

    Raises:
        ValueError: if there are not as many anchors as answers.
        FloatingPointError: if an answer that is looked at is not a finite number.
    """
    if not len(objectness) == len(deltas) == len(anchors):
        raise ValueError(
            f"objectness, deltas and anchors must be about the same anchors; got {len(objectness)}, {len(deltas)} and "
            f"{len(anchors)} (made with other sizes, ratios or map size?)"
        )
    return proposals_core(
        objectness[None], deltas[None], anchors, [image_size], before_nms, after_nms, nms_iou, min_size
    )[0]


@torch.no_grad()
def proposals_core(
    objectness: Float[Tensor, "N T"],
    deltas: Float[Tensor, "N T 4"],
    anchors: Float[Tensor, "T 4"],
    image_sizes: ImageSizes,
    before_nms: int,
    after_nms: int,
    nms_iou: float,
    min_size: float,
) -> list[tuple[Float[Tensor, "P 4"], Float[Tensor, " P"]]]:
    """`proposals`, of each of N images."""
    logits, best = objectness.topk(min(before_nms, objectness.shape[1]))  # (N, B), best first; NaN is the highest
    deltas = deltas.gather(1, best[:, :, None].expand(-1, -1, 4))  # (N, B, 4)
    if not (logits.isfinite().all() & deltas.isfinite().all()):
        raise FloatingPointError("objectness or deltas are not finite numbers (look at the image and the weights)")
    results = []
    for of_image, scores, moved, size in zip(best, logits.sigmoid(), deltas, image_sizes, strict=True):
        found = boxes.clip_core(boxes.decode_core(moved, anchors[of_image]), size)  # (B, 4)
        large = boxes.remove_small_core(found, min_size)
        found, scores = found[large], scores[large]
        kept = boxes.nms_core(found, scores, nms_iou, limit=after_nms)
        results.append((found[kept], scores[kept]))
    return results
