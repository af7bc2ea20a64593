"""Faster R-CNN trained in four steps that alternate between its halves, as its authors first did it.

    step  learns          from                                      stays as it is
    1     RPN, backbone 1                                            -
    2     head, backbone 2    the proposals of step 1                RPN, backbone 1
    3     RPN                 the feature map of backbone 2          backbone 2
    4     head                the proposals of step 3                RPN, backbone 2

The head needs proposals to learn from, and the RPN a feature map that does not move under it while the head learns. So
each half is trained while the other is fixed. After step 2 there are two backbones, one for each half; steps 3 and 4
bring both halves to the second one, which may not change any more, or the head would no longer understand it. Then
backbone 1 is thrown away.

Joint training (`frcnn_lessons.faster_rcnn`) does the same in one go, and is what nearly everybody uses today.

Source: Ren et al., "Faster R-CNN", 2015 (arXiv:1506.01497): section 3.2, "4-Step Alternating Training". Lesson 11.
Letters: N images, K channels of a map of h x w cells, P proposals.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from frcnn_lessons.backbones import Backbone
from frcnn_lessons.batch import Detections, Images, Losses, Targets, admit
from frcnn_lessons.fast_rcnn import RoIHead
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.files import user_path
from frcnn_lessons.rpn import RPN
from frcnn_lessons.training import History, Settings, train


class ProposalNetwork(nn.Module):
    """A backbone and an RPN (used, not copied), without a head: what learns in steps 1 and 3."""

    def __init__(self, backbone: Backbone, rpn: RPN) -> None:
        super().__init__()
        self.backbone, self.rpn = backbone, rpn

    def forward(self, images: Images, targets: Targets | None = None) -> Losses | list[dict[str, Tensor]]:
        """Learn to propose, or propose. Images are RGB, 0..1, of any sizes; targets, needed in training only, hold the
        `boxes` of each image and, if any are, `difficult`.

        Returns:
            In training `loss_objectness` and `loss_rpn_box_reg`; in evaluation for each image `boxes` (P, 4) and
            `scores` (P,), best first.
        """
        batch = admit(images, self.backbone, targets=targets, training=self.training)
        features = self.backbone.features(batch.pixels)  # (N, K, h, w)
        rpn = self.rpn(features, batch.targets, batch.sizes)
        if batch.targets is not None:
            return rpn.losses
        proposals, scores = self.rpn.propose(rpn, batch.sizes)
        return [{"boxes": of_image, "scores": s} for of_image, s in zip(proposals, scores, strict=True)]

    def freeze(self) -> "ProposalNetwork":
        """Let nothing in it change from now on, not even the means in its batch norm. Returns this network."""
        self.backbone.freeze(stages=len(self.backbone.stages))
        self.rpn.requires_grad_(False)
        return self


class DetectionNetwork(nn.Module):
    """A backbone and a head on the proposals of a finished network: what learns in steps 2 and 4.

    This is Fast R-CNN with another source of proposals. They are made anew from every batch rather than once for all,
    so that they fit however an image was flipped.

    Args (all three are used, not copied):
        proposer: should be frozen.
        backbone: the head's; that of the proposer itself in step 4, and then the map is computed only once.
    """

    def __init__(self, proposer: ProposalNetwork, backbone: Backbone, head: RoIHead) -> None:
        super().__init__()
        self.proposer, self.backbone, self.head = proposer, backbone, head

    def forward(self, images: Images, targets: Targets | None = None) -> Losses | list[Detections]:
        """Learn to detect, or detect; arguments and detections as those of `FasterRCNN`.

        In training the losses are `loss_classifier` and `loss_box_reg`; the proposer makes as many proposals as its
        settings say for training.
        """
        batch = admit(images, self.backbone, targets=targets, classes=self.head.classes, training=self.training)
        with torch.no_grad():
            features = self.proposer.backbone.features(batch.pixels)
            proposals, _ = self.proposer.rpn.propose(self.proposer.rpn(features), batch.sizes)
        if self.backbone is not self.proposer.backbone:
            features = self.backbone.features(batch.pixels)
        if batch.targets is not None:
            return self.head.losses_core(features, proposals, batch.targets)
        return self.head.detect(features, proposals, batch.sizes)


def four_step(
    model: FasterRCNN,
    first_backbone: Backbone,
    loader: DataLoader,
    settings: Sequence[Settings],
    *,
    checkpoints: Path | str | None = None,
    resume: bool = False,
    on_batch: Callable[[int, History], None] | None = None,
    after_stage: Callable[[int, nn.Module, History], None] | None = None,
    **train_options: Any,
) -> list[History]:
    """Train a Faster R-CNN in four alternating steps, each with the loop of `training.train`; return their histories.

    "Step" is the paper's word for the four and the loop's for one batch; in the arguments the four are stages.

    Args:
        model: trained in place; when it is done, its backbone and RPN are frozen. Its backbone is the second one.
        first_backbone: the one of step 1, of the same kind and pretrained alike; not needed any more after step 2.
        loader: batches `(images, targets)`; all four steps go on drawing from it.
        checkpoints: a folder for `step_1.pt` to `step_4.pt`; made if it is not there.
        resume: go on from what is in it: finished steps are only loaded, the step that was cut off is taken up as
            `training.train` does it, and the final weights are the same to the last bit as without a break. Call it
            with everything as it was the first time, `model` and `first_backbone` made anew.
        on_batch: called after each batch with the number of the stage, 1 to 4, and the history of that stage so far.
        after_stage: called after each stage (a loaded one, too) with its number, what learned in it (`ProposalNetwork`
            in 1 and 3, `DetectionNetwork` in 2 and 4) and its history: the place to measure.
        train_options: handed to `training.train` in each of the four: `device`, `generators`, `validation`.

    Raises:
        ValueError: not four settings, or the backbones' maps are not of the same kind.
        FileExistsError: `checkpoints` holds a step already and `resume` is False.
        Exception: what `training.train` raises.
    """
    if len(settings) != 4:
        raise ValueError(f"settings must list four, one for each step; got {len(settings)}")
    kinds = [(backbone.stride, backbone.channels) for backbone in (first_backbone, model.backbone)]
    if first_backbone is model.backbone or kinds[0] != kinds[1]:
        raise ValueError(
            "backbones must be two, with the same stride and channels, as the RPN moves from the first to the second; "
            f"got {'one twice' if first_backbone is model.backbone else kinds}"
        )
    folder = None if checkpoints is None else user_path(checkpoints)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(folder.glob("step_?.pt"))
        if there and not resume:
            raise FileExistsError(f"{there[0]} exists already; pass resume=True to go on, or delete it")

    histories: list[History] = []

    def learn(network: nn.Module) -> None:
        stage = len(histories) + 1
        path, on_step = folder and folder / f"step_{stage}.pt", on_batch and partial(on_batch, stage)
        history = train(
            network, loader, settings[stage - 1], checkpoint=path, resume=resume, on_step=on_step, **train_options
        )
        histories.append(history)
        if after_stage is not None:
            after_stage(stage, network, history)

    proposer = ProposalNetwork(first_backbone, model.rpn)
    learn(proposer)  # step 1
    learn(DetectionNetwork(proposer.freeze(), model.backbone, model.head))  # step 2

    model.backbone.freeze(stages=len(model.backbone.stages))
    model.rpn.requires_grad_(True)  # it goes on from where step 1 left it, on a map that it has not seen
    proposer = ProposalNetwork(model.backbone, model.rpn)
    learn(proposer)  # step 3
    learn(DetectionNetwork(proposer.freeze(), model.backbone, model.head))  # step 4
    return histories
