"""SPPNet: R-CNN with one piece exchanged. The CNN runs once an image, and regions are cut out of what it computed.

    image -> backbone -> feature map --.
    (3, H, W)            (1, K, h, w)   >- spatial pyramid pooling -> hidden -> SVMs, box regression: as in R-CNN
    regions (R, 4) --------------------'   (R, P), P = K * 21         (R, D)

The other stages are R-CNN's own, and go in the same order:

    regions = [rcnn.make_regions(...) for each image]      svms = rcnn.train_svms(features, regions).layer
    losses = sppnet.fine_tune(network, images, regions)    regression = rcnn.fit_box_regression(features, regions)
    features = [rcnn.describe(...) for each image]         model = SPPNet(network, svms, regression)

What lies below the pyramid is not trained: the regions of a batch come from many images, and each would need its whole
image forward and back (Fast R-CNN, section 2.3, explains it and takes many regions from few images instead).

Source: He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", 2014
(arXiv:1406.4729): sections 2.2 (the pyramid) and 4 (detection). Lesson 06.
Letters: as in `rcnn`; K channels of a map of h x w cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import trange

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import check_images
from frcnn_lessons.rcnn import RCNN, Regions, draw_batch, head_layers
from frcnn_lessons.roi_fast import spatial_pyramid_pool


class PyramidNetwork(nn.Module):
    """A CNN that looks at an image once, whatever the number of its regions.

    Args:
        classes, width: C, background not counted, and D.
        levels: a region is pooled to n x n bins for each n of them. The paper's detector has (6, 3, 2, 1); small
            vehicles have not so many cells.
        enlarged: the CNN sees the image so many times as large. 2 halves the cells, as the image sees them, at four
            times the cost. The paper has five sizes of the image and takes for each region the one that brings it
            nearest to 224 x 224 (section 4.1).
        generator: where the initial weights of the head are drawn from; torch's own when not given.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        levels: Sequence[int] = (4, 2, 1),
        enlarged: float = 1.0,
        width: int = 256,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        inputs = backbone.channels * sum(n * n for n in levels)
        self.hidden, self.classifier = head_layers(inputs, width, classes, 0.01, generator)
        self.levels, self.enlarged = tuple(levels), enlarged

    def forward(self, pooled: Float[Tensor, "R P"]) -> Float[Tensor, "R L"]:
        """Class scores (logits) of regions from their pooled features, L = C + 1 of them, background first."""
        return self.classifier(self.hidden(pooled))

    def pool_regions(self, image: Float[Tensor, "3 H W"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R P"]:
        """Pyramid features of all regions from one pass of the CNN over the image."""
        larger = F.interpolate(image[None], scale_factor=self.enlarged, mode="bilinear")
        features = self.backbone.features(larger)  # (1, K, h, w)
        return spatial_pyramid_pool(features, [regions], self.levels, self.enlarged / self.backbone.stride)


def fine_tune(
    network: PyramidNetwork,
    images: Sequence[Float[Tensor, "3 _ _"]],
    regions: Sequence[Regions],
    steps: int,
    learning_rate: float = 0.001,
    positives: int = 32,
    negatives: int = 96,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Train the head of the network to classify regions with softmax (section 4.1).

    Arguments, result and refusals are those of `rcnn.fine_tune`, but for `learning_rate`, see `fine_tune_head`.
    """
    check_images(images)
    network.eval()  # or the statistics of batch norm would change below the pyramid
    with torch.no_grad():
        pooled = [network.pool_regions(i, of_image.boxes) for i, of_image in zip(images, regions, strict=True)]
    labels = torch.cat([of_image.fine_tuning_labels() for of_image in regions])  # (sum of R,)
    return fine_tune_head(network, torch.cat(pooled), labels, steps, learning_rate, positives, negatives, generator)


def fine_tune_head(
    network: PyramidNetwork,
    pooled: Float[Tensor, "R P"],
    labels: Int[Tensor, " R"],
    steps: int,
    learning_rate: float = 0.001,
    positives: int = 32,
    negatives: int = 96,
    generator: torch.Generator | None = None,
) -> list[float]:
    """`fine_tune` when the pooled features are there already: they never change, so this is a network on a table.

    Features and labels (0 for background) are those of all regions of all images; `learning_rate` falls to 0 along
    half a cosine. Returns the loss of every step.
    """
    optimiser = torch.optim.AdamW([*network.hidden.parameters(), *network.classifier.parameters()], learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    for _ in trange(steps, desc="fine-tuning", unit="batch"):
        rows = draw_batch(labels, positives, negatives, generator)
        loss = F.cross_entropy(network(pooled[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


class SPPNet(RCNN):
    """The whole detector: R-CNN on a `PyramidNetwork`, `model(images, proposals)` as there."""
