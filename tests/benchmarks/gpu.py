"""On a GPU: Faster R-CNN with VGG16 at a short side of 600, ours beside torchvision's, in float32 and in bfloat16.

The paper's configuration with random weights: 20 classes, 9 anchors a place, 2,000 and 300 proposals, 2 images a step.
Both have the same weights and settings and are timed in turns; nothing is trained (a learning rate of 0).

    python tests/benchmarks/gpu.py
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from faster_rcnn import detection, pair, training_step
from timing import seconds

from frcnn_lessons.backbones import vgg16
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.rpn import RPNSettings

SIZES = [(600, 800), (600, 900)]  # height, width


def scenes(device: str) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Noise with four objects each: what a step costs does not depend on what is seen."""
    draw = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=draw).to(device) for size in SIZES]
    boxes = torch.tensor([[50.0, 60, 300, 400], [400, 100, 700, 500], [100, 300, 260, 560], [500, 20, 600, 200]])
    target = {
        "boxes": boxes.to(device),
        "labels": torch.tensor([1, 7, 12, 20]).to(device),
        "difficult": torch.zeros(4, dtype=torch.bool, device=device),
    }
    return images, [target, target]


def paper_pair(device: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The detector of the paper's section 3.3, and torchvision's with the same weights."""
    draw = torch.Generator().manual_seed(0)
    rpn = RPNSettings(allow_crossing=True)  # as torchvision does
    head = HeadSettings(pool_size=(7, 7), hidden=4096, background_iou=(0.0, 0.5), score_threshold=0.05)
    ours = FasterRCNN(vgg16().freeze(2), 20, rpn, head, draw)
    mine, theirs = pair(ours)
    return mine.to(device), theirs.to(device)


def main() -> int:
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return 0
    print(torch.cuda.get_device_name(0), "torch", torch.__version__)
    images, targets = scenes("cuda")
    ours, theirs = paper_pair("cuda")
    optimisers = [torch.optim.SGD(model.parameters(), 0.0) for model in (ours, theirs)]
    print(f"{'work':34}{'ours':>10}{'torchvision':>13}{'ratio':>8}")
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            rows: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
                (
                    "a training step, 2 images",
                    *(
                        partial(training_step, model, optimiser, (images, targets))
                        for model, optimiser in zip((ours, theirs), optimisers, strict=True)
                    ),
                ),
                ("detection in 1 image", *(partial(detection, model, images[:1]) for model in (ours, theirs))),
            ]
            for work, mine, other in rows:
                rounds = [(seconds(mine, 0.2), seconds(other, 0.2)) for _ in range(8)]
                a, b = (min(times) for times in zip(*rounds, strict=True))
                print(f"{work + ', ' + name:34}{1000 * a:8.1f} ms{1000 * b:10.1f} ms{a / b:8.2f}", flush=True)
    print(f"most memory held: {torch.cuda.max_memory_allocated() / 2**30:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
