"""R-CNN: cut out every proposal, describe it with a CNN, score it with one SVM a class, and correct its box.

    proposals -> crop_regions -> RegionNetwork -> SVMs --> non-maximum suppression -> detections
    (R, 4)       (R, 3, S, S)    pooled, hidden     `-> box regression -^

Training goes in three stages that know nothing of each other: `fine_tune` teaches the network to tell windows apart,
`train_svms` fits the final classifiers on what the network computes, `fit_box_regression` the correction of boxes.
Each stage has its own idea of what a positive is: IoU >= 0.5, the object's own box, IoU > 0.6.

Source: Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", 2014
(arXiv:1311.2524): section 2 (test and training), appendix A (warping), B (positives and negatives), C (boxes).
Letters: an image of H x W pixels, R regions of it (M proposals and K objects), C classes, windows of S x S pixels, P
pooled and D hidden features a region, E examples of a class. Proposals, targets and networks are on one device.
Lesson 05.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import trange

from frcnn_lessons import boxes
from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import (
    Detections,
    Images,
    Proposals,
    Target,
    check_images,
    check_inputs,
    check_proposals,
    check_targets,
    need_proposals,
)
from frcnn_lessons.sampling import draw, learnable, on_difficult

BATCH = 32  # windows that go through the network together: few enough for a processor's cache, twice as fast as 192

# The authors' code scales features to this mean length, so that one strength of the SVM's penalty suits all networks.
FEATURE_LENGTH = 20.0


def crop_regions(
    image: Float[Tensor, "3 H W"],
    regions: Float[Tensor, "R 4"],
    size: int = 227,
    padding: float = 16.0,
    square: bool = False,
    fill: Float[Tensor, " 3"] | None = None,
) -> Float[Tensor, "R 3 {size} {size}"]:
    """Cut regions out of an image and bring them all to one size, whatever their shape (appendix A).

    Args:
        regions: xyxy, pixels; they may reach outside the image.
        padding: pixels of the *window*, on each side, that show what surrounds the region (context). 0 cuts tightly.
        square: take the smallest square around the region instead, so that nothing is distorted.
        fill: colour of what lies outside the image; the mean of the image if not given.

    Raises:
        ValueError: if a region has no width or height, or if the padding leaves nothing of the window.
    """
    if not 0 <= 2 * padding < size:
        raise ValueError(f"padding must be at least 0 and less than half of size = {size}; got {padding}")
    centre, sides = boxes.xyxy_to_cxcywh(regions).split(2, dim=1)  # (R, 2), (R, 2)
    if (sides <= 0).any():
        row = int(torch.nonzero((sides <= 0).any(dim=1))[0])
        raise ValueError(f"a region without width or height cannot be cropped; row {row} is {regions[row].tolist()}")
    if square:
        sides = sides.amax(dim=1, keepdim=True).expand(-1, 2)
    sides = sides * size / (size - 2 * padding)

    # The middles of a window's pixels, from -0.5 to 0.5 of its side, put into the image.
    step = (torch.arange(size, device=image.device) + 0.5) / size - 0.5  # (S,)
    x = centre[:, :1] + sides[:, :1] * step  # (R, S)
    y = centre[:, 1:] + sides[:, 1:] * step  # (R, S)
    height, width = image.shape[1:]
    # grid_sample's coordinates run from -1 to 1. One image, and all windows below each other as one tall grid.
    grid_x = (2 * x / width - 1)[:, None, :].expand(-1, size, -1)  # (R, S, S)
    grid_y = (2 * y / height - 1)[:, :, None].expand(-1, -1, size)  # (R, S, S)
    grid = torch.stack([grid_x, grid_y], dim=3).reshape(1, -1, size, 2)  # (1, R*S, S, 2)
    windows = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)  # (1, 3, R*S, S)
    windows = windows.reshape(3, -1, size, size).transpose(0, 1)  # (R, 3, S, S)

    outside = ((x < 0) | (x > width))[:, None, :] | ((y < 0) | (y > height))[:, :, None]  # (R, S, S)
    colour = image.mean(dim=(1, 2)) if fill is None else fill
    return torch.where(outside[:, None], colour[:, None, None], windows)


def head_layers(
    inputs: int, width: int, classes: int, deviation: float, generator: torch.Generator | None = None
) -> tuple[nn.Sequential, nn.Linear]:
    """The two layers above the pooled features of a region.

    Args:
        inputs, width, classes: P, D and C, background not counted.
        deviation: of the initial weights of `hidden`; those of `classifier` have 0.01.
        generator: where these weights are drawn from; torch's own when not given.

    Returns:
        hidden: pooled (R, P) -> hidden features (R, D), the paper's "fc7".
        classifier: hidden -> C + 1 class scores, background first. After fine-tuning the SVMs take its place.
    """
    linear, classifier = nn.Linear(inputs, width), nn.Linear(width, classes + 1)
    for layer, std in ((linear, deviation), (classifier, 0.01)):
        nn.init.normal_(layer.weight, std=std, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(linear, nn.ReLU()), classifier


class RegionNetwork(nn.Module):
    """A CNN that looks at one window at a time.

    Args:
        classes, width: C, background not counted, and D.
        size, padding, square: how windows are cut, see `crop_regions`.
        cells: the map of a window is pooled to `cells` x `cells`.
        generator: where the initial weights of the head are drawn from; torch's own when not given.

    Attributes:
        backbone, pool: windows -> pooled features (R, P), the paper's "pool5": they still know *where* in the window.
        hidden, classifier: see `head_layers`.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        size: int = 227,
        padding: float = 16.0,
        square: bool = False,
        cells: int = 4,
        width: int = 256,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        inputs = backbone.channels * cells**2
        self.hidden, self.classifier = head_layers(inputs, width, classes, math.sqrt(2 / inputs), generator)
        self.size, self.padding, self.square = size, padding, square
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Flatten())

    def crop(self, image: Float[Tensor, "3 H W"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R 3 S S"]:
        """Cut regions out as this network wants them; what lies outside the image becomes 0 in its normalisation."""
        return crop_regions(image, regions, self.size, self.padding, self.square, fill=self.backbone.normalise.mean)

    def forward(self, windows: Float[Tensor, "R 3 S S"]) -> Float[Tensor, "R L"]:
        """Class scores (logits) of windows, L = C + 1 of them, background first."""
        return self.classifier(self.hidden(self.pool(self.backbone.features(windows))))

    def pool_regions(self, image: Float[Tensor, "3 H W"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R P"]:
        """Pooled features of the regions of an image: each is cut out and goes through the CNN, a batch at a time."""
        batches = [self.crop(image, part) for part in regions.split(BATCH)]
        return torch.cat([self.pool(self.backbone.features(windows)) for windows in batches])


class Features(NamedTuple):
    """What the network computed for the regions of one image. Later stages work on this and never see a pixel."""

    pooled: Float[Tensor, "R P"]
    hidden: Float[Tensor, "R D"]


def describe(network: Any, image: Float[Tensor, "3 H W"], regions: Float[Tensor, "R 4"]) -> Features:
    """Compute the features of the regions (xyxy, pixels; may be none) of an image (RGB, 0..1).

    Args:
        network: a `RegionNetwork` or SPPNet's `PyramidNetwork`: all they do not share is how they pool a region. It is
            put into evaluation.

    Raises:
        ValueError: for an image or regions of another kind, shape or range.
    """
    check_inputs([image], proposals=[regions])
    return describe_core(network, image, regions)


@torch.no_grad()
def describe_core(network: Any, image: Float[Tensor, "3 H W"], regions: Float[Tensor, "R 4"]) -> Features:
    """`describe` what has been checked."""
    network.eval()
    pooled = network.pool_regions(image, regions)  # (R, P)
    return Features(pooled, network.hidden(pooled))


class Regions(NamedTuple):
    """The regions of one training image and how they lie to its objects."""

    boxes: Float[Tensor, "R 4"]  # the K objects first, then the proposals
    labels: Int[Tensor, " K"]  # of the objects, 1..C
    overlap: Float[Tensor, "R C"]  # IoU with the object of each class that the region overlaps best; 0 if there is none
    nearest: Int[Tensor, "R C"]  # the row of that object in `boxes`

    def fine_tuning_labels(self) -> Int[Tensor, " R"]:
        """The class of the best object if IoU >= 0.5, else background, 0 (section 2.3)."""
        best, which = self.overlap.max(dim=1)
        return torch.where(best >= 0.5, which + 1, 0)


def make_regions(proposals: Float[Tensor, "M 4"], target: Target, classes: int) -> Regions:
    """Join an image's objects and proposals.

    Difficult objects are no examples of anything: they are left out, and so are proposals with IoU >= 0.3 on them,
    which would be taught as background otherwise.

    Args:
        proposals: from selective search; may be none.
        target: `boxes` (K, 4), `labels` (K,) from 1 to C = `classes` and, if any are, `difficult` (K,).

    Raises:
        ValueError: for proposals or a target that cannot be learned from.
    """
    check_proposals([proposals])
    check_targets([target], classes)
    everything, difficult = target["boxes"].to(proposals), target.get("difficult")
    learned = learnable(everything, difficult)
    gt_boxes, labels = everything[learned], target["labels"][learned].long()  # (K, 4), (K,)
    untaught = on_difficult(boxes.iou_core(proposals, everything), difficult, 0.3)  # (M,)
    rows = torch.cat([gt_boxes, proposals[~untaught]])  # (R, 4)
    overlap, nearest = rows.new_zeros(len(rows), classes), labels.new_zeros(len(rows), classes)
    for label in labels.unique().tolist():
        of_class = torch.nonzero(labels == label).flatten()
        overlap[:, label - 1], best = boxes.iou_core(rows, gt_boxes[of_class]).max(dim=1)
        nearest[:, label - 1] = of_class[best]
    return Regions(rows, labels, overlap, nearest)


def fine_tune(
    network: RegionNetwork,
    images: Images,
    regions: Sequence[Regions],
    steps: int,
    learning_rate: float = 0.001,
    positives: int = 32,
    negatives: int = 96,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Stage 1: train the network to classify windows with softmax (section 2.3).

    Positives are rare among the proposals, so each batch is drawn to hold a quarter of them; half of all windows are
    mirrored. The paper takes many small steps of plain gradient descent; AdamW needs few, and does not mind how large
    the features of a backbone are. Returns the loss of every step.

    Args:
        images, regions: RGB, 0..1, and for each what `make_regions` makes.
        learning_rate: rises over the first tenth of the steps, then falls to 0 along half a cosine.
        positives, negatives: windows of each kind in a batch, drawn from all images.

    Raises:
        ValueError: for bad images, or if there is no positive or no negative region to learn from.
    """
    check_images(images)
    labels = torch.cat([of_image.fine_tuning_labels() for of_image in regions])  # (sum of R,)
    rows = torch.cat([of_image.boxes for of_image in regions])  # (sum of R, 4)
    owner = torch.cat([labels.new_full((len(of_image.boxes),), i) for i, of_image in enumerate(regions)])

    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, 10 * (step + 1) / steps) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    losses = []
    network.train()
    for _ in trange(steps, desc="fine-tuning", unit="batch"):
        chosen = draw_batch(labels, positives, negatives, generator)
        chosen = chosen[owner[chosen].argsort(stable=True)]  # windows of one image are cut together
        of = owner[chosen]  # (B,)
        windows = torch.cat([network.crop(images[i], rows[chosen[of == i]]) for i in of.unique().tolist()])
        lots = torch.rand(len(windows), generator=generator, device=generator.device if generator else None)
        mirrored = (lots < 0.5).to(windows.device)
        windows = torch.where(mirrored[:, None, None, None], windows.flip(3), windows)
        loss = F.cross_entropy(network(windows), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def draw_batch(
    labels: Int[Tensor, " R"], positives: int, negatives: int, generator: torch.Generator | None = None
) -> Int[Tensor, " B"]:
    """Draw regions to fine-tune with, without replacement: rows of positives first, then of background (label 0).

    There are fewer of a kind where there are not so many. None at all of one of them is a ValueError.
    """
    drawn = []
    for is_of_kind, count in ((labels > 0, positives), (labels == 0, negatives)):
        rows = torch.nonzero(is_of_kind).flatten()
        if len(rows) == 0:
            raise ValueError(
                "fine-tuning needs positive and background regions; give images with objects and proposals"
            )
        drawn.append(draw(rows, count, generator))
    return torch.cat(drawn)


class Svms(NamedTuple):
    """One linear classifier a class, and how the search for hard negatives went."""

    layer: nn.Linear  # hidden features (R, D) -> margins (R, C): above 1 for a region of the class, else below -1
    found: list[list[int]]  # for each class, the hard negatives that each round added


def train_svms(
    features: Sequence[Features],
    regions: Sequence[Regions],
    penalty: float = 1e-3,
    rounds: int = 4,
    generator: torch.Generator | None = None,
) -> Svms:
    """Stage 2: fit one linear SVM a class, with hard negatives (section 2.3, appendix B).

    Positives are the objects of the class themselves, negatives all regions with IoU < 0.3 on each of them; what lies
    between is left out. There are far too many negatives and most are easy, so each SVM starts with a few and takes
    in, round after round, those that it gets wrong or nearly wrong (margin above -1); easy ones are dropped again.

    Args:
        penalty: C of the SVM, how dear an error is; the authors' 0.001.
        rounds: at most so many fits of each SVM; fewer when no new hard negative turns up.
        generator: which negatives to start with.

    Raises:
        ValueError: if a class has no object in these images, or no negative.
    """
    hidden = torch.cat([of_image.hidden for of_image in features])  # (sum of R, D)
    overlap = torch.cat([of_image.overlap for of_image in regions])  # (sum of R, C)
    # The label of each object, and 0 for the proposals that follow it.
    own = torch.cat([F.pad(labels, (0, len(rows) - len(labels))) for rows, labels, *_ in regions])  # (sum of R,)
    scale = FEATURE_LENGTH / hidden.norm(dim=1).mean()
    weights, biases, found = [], [], []
    for c in range(overlap.shape[1]):
        positives = scale * hidden[own == c + 1]
        negatives = scale * hidden[overlap[:, c] < 0.3]
        if len(positives) == 0 or len(negatives) == 0:
            raise ValueError(
                f"an SVM needs examples of both kinds; class {c + 1} has {len(positives)} objects and "
                f"{len(negatives)} negatives"
            )
        taken = torch.zeros(len(negatives), dtype=torch.bool, device=negatives.device)
        taken[draw(torch.arange(len(negatives), device=negatives.device), 2 * len(positives), generator)] = True
        history = []
        for _ in range(rounds):
            weight, bias = fit_svm(positives, negatives[taken], penalty)
            margin = negatives @ weight + bias
            hard = margin > -1
            history.append(int((hard & ~taken).sum()))
            if history[-1] == 0:
                break
            taken = hard | (taken & (margin > -1.2))
        weights.append(scale * weight)  # so that it takes features as they are
        biases.append(bias)
        found.append(history)
    return Svms(fixed_linear(torch.stack(weights), hidden.new_tensor(biases)), found)


def fit_svm(
    positives: Float[Tensor, "E D"], negatives: Float[Tensor, "N D"], penalty: float
) -> tuple[Float[Tensor, " D"], float]:
    """Fit the plane w x + b that keeps positives above 1 and negatives below -1, and is as flat as it can be.

        minimise |w|^2 / 2 + (b / 10)^2 / 2 + penalty * (2 * sum over positives of h(w x + b)
                                                         + sum over negatives of h(-(w x + b)))

    with the hinge loss h(m) = max(0, 1 - m)^2, which a margin m of 1 and more costs nothing. Positives weigh double, as
    in the authors' code: they are so few that an SVM which misses them all would not pay much for it otherwise.

    Returns w and b. scikit-learn fits them on the processor; w goes back to where the examples are.
    """
    from sklearn.svm import LinearSVC  # here, since loading scikit-learn takes seconds

    # Solved in the primal, which takes the hinge squared: the same answer each time, without drawing lots.
    svm = LinearSVC(C=penalty, dual=False, class_weight={1: 2.0}, intercept_scaling=10.0)
    svm.fit(torch.cat([positives, negatives]).cpu().numpy(), np.repeat([1, 0], [len(positives), len(negatives)]))
    return torch.from_numpy(svm.coef_[0]).to(positives), float(svm.intercept_[0])


def fit_box_regression(
    features: Sequence[Features], regions: Sequence[Regions], penalty: float = 1000.0, min_iou: float = 0.6
) -> nn.Linear:
    """Stage 3: fit, for each class, the deltas from a proposal to its object, linear in the pooled features.

    Ridge regression (appendix C, equation 5): least squares with `penalty` times the squared weights added, which has
    a closed solution, w = (X'X + penalty I)^-1 X't.

    Args:
        penalty: lambda; the authors' 1000, for features scaled as theirs.
        min_iou: proposals above it, with an object of the class, are the examples. A proposal far from any object
            says nothing about where that object is.

    Returns:
        Pooled features (R, P) -> deltas (R, C * 4), to be read as (R, C, 4). A class without examples predicts 0.
    """
    C = regions[0].overlap.shape[1]
    scale = FEATURE_LENGTH / torch.cat([of_image.pooled.norm(dim=1) for of_image in features]).mean()
    P = features[0].pooled.shape[1]
    weight, bias = features[0].pooled.new_zeros(C, 4, P), features[0].pooled.new_zeros(C, 4)
    for c in range(C):
        x, t = [], []
        for computed, of_image in zip(features, regions, strict=True):
            rows = torch.nonzero(of_image.overlap[:, c] > min_iou).flatten()
            x.append(scale * computed.pooled[rows])
            t.append(boxes.encode_core(of_image.boxes[of_image.nearest[rows, c]], of_image.boxes[rows]))
        pooled, deltas = torch.cat(x), torch.cat(t)  # (E, P), (E, 4)
        if len(pooled) == 0:
            continue
        # The mean is taken off first, so that the penalty does not pull the bias towards 0.
        pooled_mean, bias[c] = pooled.mean(dim=0), deltas.mean(dim=0)
        centred = pooled - pooled_mean
        gram = centred.T @ centred + penalty * torch.eye(P, device=centred.device)  # (P, P)
        w = torch.linalg.solve(gram, centred.T @ (deltas - bias[c]))  # (P, 4)
        weight[c] = scale * w.T
        bias[c] -= pooled_mean @ w
    return fixed_linear(weight.flatten(0, 1), bias.flatten())


def fixed_linear(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"]) -> nn.Linear:
    """A layer with these weights, which no optimiser will change: x -> weight x + bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return layer


def detections(
    regions: Float[Tensor, "R 4"],
    scores: Float[Tensor, "R C"],
    deltas: Float[Tensor, "R B 4"] | None,
    image_size: tuple[int, int],
    *,
    score_threshold: float,
    nms_iou: float = 0.3,
    limit: int = 100,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Detections:
    """From scored regions to the answer, for R-CNN as for Fast and Faster R-CNN: correct the boxes, drop what scores
    low, suppress doubles class by class. Every class of every region is a candidate of its own.

    Args:
        scores: of each class, background left out; margins or probabilities. Candidates are above `score_threshold`.
        deltas: of each class (B = C), or one correction that all share (B = 1); None leaves regions as they are.
        image_size: (height, width); boxes are cut off there.
        nms_iou: 0.3 in R-CNN and Fast R-CNN (section 3); torchvision has 0.5.
        limit: at most so many detections, of all classes together.
        weights: what the deltas were multiplied by, see `boxes.encode`.

    Returns:
        `boxes` (D, 4) inside the image, `labels` (D,) from 1, `scores` (D,), highest score first.
    """
    R, C = scores.shape
    corrected = regions[:, None] if deltas is None else boxes.decode_core(deltas, regions, weights)  # (R, B, 4)
    # (R * C, 4), the same box for each class if B is 1
    corrected = boxes.clip_core(corrected.expand(R, C, 4).flatten(0, 1), image_size)
    labels = torch.arange(1, C + 1, device=scores.device).repeat(R)  # (R * C,)
    flat = scores.flatten()  # (R * C,)
    # Most candidates are background. Dropping them first makes suppression cheap.
    likely = torch.nonzero(flat > score_threshold).flatten()
    likely = likely[boxes.remove_small_core(corrected[likely], 0.01)]  # what was cut down to nothing at the border
    kept = boxes.nms_core(corrected[likely], flat[likely], nms_iou, labels[likely])
    best = likely[kept[:limit]]
    return {"boxes": corrected[best], "labels": labels[best], "scores": flat[best]}


class RCNN(nn.Module):
    """The whole detector, put together from its three stages.

    Attributes:
        network: fine-tuned, see `fine_tune`; with a `sppnet.PyramidNetwork` the detector is SPPNet.
        svms: hidden features -> margins, see `train_svms`.
        regression: pooled features -> deltas, see `fit_box_regression`; None does without.
    """

    def __init__(self, network: Any, svms: nn.Linear, regression: nn.Linear | None = None) -> None:
        super().__init__()
        self.network, self.svms, self.regression = network, svms, regression
        self.eval()

    @torch.no_grad()
    def forward(self, images: Images, proposals: Proposals) -> list[Detections]:
        """Detect objects, in torchvision's form: for each image `boxes`, `labels` and `scores` (margins here).

        Images are RGB, 0..1, of any sizes; proposals xyxy in pixels, for example from selective search, or none.

        Raises:
            ValueError: if images or proposals are bad, or not one for each image.
        """
        check_inputs(images, proposals=need_proposals("R-CNN", images, proposals))
        return [
            self.answer(describe_core(self.network, image, regions), regions, (image.shape[1], image.shape[2]))
            for image, regions in zip(images, proposals, strict=True)
        ]

    @torch.no_grad()
    def answer(
        self, features: Features, proposals: Float[Tensor, "R 4"], image_size: tuple[int, int], softmax: bool = False
    ) -> Detections:
        """Detect objects when the features are there already.

        With `softmax` the fine-tuned classifier's probabilities are the scores instead of the SVMs' margins.
        """
        if softmax:
            scores, threshold = self.network.classifier(features.hidden).softmax(dim=1)[:, 1:], 0.01
        else:
            scores, threshold = self.svms(features.hidden), -1.0
        deltas = None if self.regression is None else self.regression(features.pooled).reshape(*scores.shape, 4)
        return detections(proposals, scores, deltas, image_size, score_threshold=threshold)
