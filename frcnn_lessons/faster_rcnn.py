"""Faster R-CNN: the network proposes regions to itself, and one feature map serves both halves.

    images -> backbone -> feature map -+-> RPN -> proposals (P, 4) -.
    (N, 3, H, W)          (N, K, h, w) |                            v
                                       `--------------------> RoI pooling -> head -> classes, boxes

Fast R-CNN waits for selective search; here the regions cost one more convolution on a map that is there already. Both
halves are trained at once: the four losses are added up, and both send gradients into the backbone. One thing is left
out. The proposals are results of the network too, so the head's loss also depends on the RPN's weights *through the
coordinates*; that path is cut ("approximate joint training", section 3.2): proposals are handled as if they had come
from outside.

`torchvision_twin` has torchvision's own Faster R-CNN with the same weights, which gives the same answers.

Source: Ren et al., "Faster R-CNN", 2015 (arXiv:1506.01497): sections 3.2 (training) and 3.3 (numbers). Lesson 10.
Letters: N images, C classes, K channels of a map of h x w cells, P proposals, M ground-truth boxes, D detections.
"""

from torch import Generator, nn

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import Detections, Images, Losses, Targets, admit
from frcnn_lessons.fast_rcnn import HeadSettings, RoIHead
from frcnn_lessons.rpn import RPN, RPNSettings

# The head of Fast R-CNN but for three numbers. The paper trains on one image a step, so all 128 regions are from it
# (Fast R-CNN, 2.3: 64 from each of two); and the RPN's proposals crowd around objects, so background that touches
# none is rare enough to be kept: the authors' code set the lower bound from 0.1 to 0 and has 0.3 in testing.
HEAD = HeadSettings(regions=128, background_iou=(0.0, 0.5))


class FasterRCNN(nn.Module):
    """Backbone, region proposal network and head, with torchvision's interface.

    Attributes:
        backbone: image -> feature map.
        rpn: feature map -> proposals, see `rpn.RPN`.
        head: feature map and proposals -> detections, see `fast_rcnn.RoIHead`.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        rpn_settings: RPNSettings | None = None,
        head_settings: HeadSettings | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Put an RPN and a head with random weights on a backbone.

        Args:
            classes: C, background not counted.
            rpn_settings: `RPNSettings()` if not given.
            head_settings: `HEAD` if not given.
            generator: where the weights, and later the anchors and regions of each step, are drawn from; torch's own
                if not given.
        """
        super().__init__()
        self.backbone = backbone
        self.rpn = RPN(backbone.channels, backbone.stride, rpn_settings, generator)
        self.head = RoIHead(backbone.channels, backbone.stride, classes, head_settings or HEAD, generator)

    def forward(self, images: Images, targets: Targets | None = None) -> Losses | list[Detections]:
        """Learn from images, or detect objects in them.

        Args:
            images: RGB, 0..1, of any sizes.
            targets: of each image, `boxes` (M, 4) and `labels` (M,) from 1 to C, and, if any are, `difficult` (M,); M
                may be 0. Needed in training only.

        Returns:
            In training the losses `loss_objectness`, `loss_rpn_box_reg`, `loss_classifier` and `loss_box_reg`, to be
            added up (an `accuracy`, if the settings ask for it, is not). In evaluation for each image `boxes` (D, 4),
            `labels` (D,) and `scores` (D,), highest score first.

        Raises:
            ValueError: if images or, in training, targets are missing, not one for each image, or bad.
        """
        batch = admit(images, self.backbone, targets, classes=self.head.classes, training=self.training)
        features = self.backbone.features(batch.pixels)  # (N, K, h, w)
        rpn = self.rpn(features, batch.targets, batch.sizes)
        proposals, _ = self.rpn.propose(rpn, batch.sizes)  # (P, 4) of each image; no gradient flows through them
        if batch.targets is not None:
            return rpn.losses | self.head.losses_core(features, proposals, batch.targets)
        return self.head.detect(features, proposals, batch.sizes)
