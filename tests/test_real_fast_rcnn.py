"""Fast R-CNN on real photographs: what lesson 07 does on drawn streets also works on PASCAL VOC 2007."""

import warnings

import pytest
import torch

from frcnn_lessons import backbones
from frcnn_lessons.datasets import ResizeShortSide, VOCDataset, batches
from frcnn_lessons.fast_rcnn import FastRCNN, HeadSettings
from frcnn_lessons.metrics import evaluate_voc
from frcnn_lessons.selective_search import proposals
from frcnn_lessons.training import Settings, predict, train

CLASSES = ("bus", "car", "cat", "train")

# As in lesson 07, but for the shape of the pooled map: these objects are not all wider than high.
HEAD = HeadSettings(
    pool_size=(5, 5), align=True, hidden=192, foreground_iou=0.4, background_iou=(0.0, 0.4), nms_iou=0.4
)
SCHEDULE = Settings(
    epochs=2,
    learning_rate=5e-4,
    optimiser="adamw",
    weight_decay=1e-4,
    schedule="cosine",
    warmup_steps=20,
    clip_norm=5.0,
)


def photographs(folder, image_set, count):
    """The first images of a set, small, with their proposals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it counts the objects of other classes that are left out
        dataset = VOCDataset(folder, image_set, CLASSES, unknown="drop", transform=ResizeShortSide(224, 336))
    samples = [dataset[i] for i in range(count)]
    return samples, [proposals(sample.image) for sample in samples]


@pytest.mark.slow
def test_fast_rcnn_learns_from_photographs(shared_folder):
    folder = shared_folder / "data" / "VOCdevkit-2007-subset"
    if not folder.is_dir():
        pytest.skip("needs the VOC 2007 subset of ../shared, which is not part of the course")
    samples, found = photographs(folder, "trainval", 240)
    test_samples, test_found = photographs(folder, "test", 80)
    test = batches(test_samples, 1, test_found)
    backbone = backbones.efficientnet_lite0().freeze(stages=4, batch_norm=True)
    model = FastRCNN(backbone, len(CLASSES), HEAD, torch.Generator().manual_seed(0))

    untrained = evaluate_voc(*predict(model, test)).mean_ap
    loader = batches(samples, 2, found, generator=torch.Generator().manual_seed(1), flip=0.5)
    history = train(model, loader, SCHEDULE)
    trained = evaluate_voc(*predict(model, test)).mean_ap

    assert history.train["total"][-1] < 0.75 * history.train["total"][0]
    assert trained > untrained + 0.3, f"AP50 {untrained:.3f} untrained, {trained:.3f} trained"
