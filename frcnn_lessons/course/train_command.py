"""`frcnn-lessons train`: from a folder of annotated photographs to a detector, with what the data and a recipe say.

    own_data.open_data -> Description (anchors from the boxes) -> build_detector -> training.train -> best.pth

Everything that a run leaves is in one folder, see `runs`. Fast R-CNN and Faster R-CNN, torchvision's too, are trained
epoch by epoch and can be stopped anywhere. Four-step training keeps the state of each step. R-CNN and SPPNet learn in
stages; resuming repeats them from the same lots, and only their proposals are kept.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
import psutil
import torch
from torch import Tensor, distributed, nn
from torchvision.transforms import v2
from tqdm.auto import tqdm

from frcnn_lessons import recipes
from frcnn_lessons.batch import Target
from frcnn_lessons.checkpoints import load_weights
from frcnn_lessons.course import runs
from frcnn_lessons.course.runs import Leg, RunError
from frcnn_lessons.datasets import ResizeShortSide, batches, collate
from frcnn_lessons.datasets.own_data import OwnData
from frcnn_lessons.datasets.reading import AnnotatedImages
from frcnn_lessons.datasets.transforms import Augment, resized_size
from frcnn_lessons.detectors import (
    NEED_PROPOSALS,
    WITH_SVMS,
    BackboneName,
    Description,
    DetectorName,
    build_detector,
    choose_anchors,
    find_proposals,
    save_detector,
)
from frcnn_lessons.distributed import Parallel, rank, shared
from frcnn_lessons.files import data_folder, written_whole
from frcnn_lessons.four_step import four_step
from frcnn_lessons.metrics import evaluate_voc
from frcnn_lessons.rcnn import describe, fine_tune, fit_box_regression, make_regions, train_svms
from frcnn_lessons.recipes import Recipe
from frcnn_lessons.schedule import Settings
from frcnn_lessons.settings import Count, Positive, Whole, check_settings
from frcnn_lessons.sppnet import fine_tune as fine_tune_pyramid
from frcnn_lessons.training import History, predict, train

RECIPES: dict[str, Recipe] = {"own": recipes.OWN_DATA, "voc": recipes.VOC, "tagging": recipes.TAGGING}

# Stages that keep their ImageNet weights: conv1 and conv2 of VGG16 (Fast R-CNN, 4.5), the stem and the first group of
# ResNet-50 (torchvision's users), up to the third of EfficientNet-Lite0 (found by trying).
FROZEN_STAGES = {"vgg16": 2, "resnet50": 2, "efficientnet_lite0": 3, "mini": 0}


BY_EPOCHS = ("faster", "fast", "torchvision")
VARIED = ("faster", "torchvision")


@dataclass(frozen=True)
class Options:
    """What was asked for, with the recipe's values where nothing was; the names are those of the command's options."""

    recipe: Literal["own", "voc", "tagging"]
    detector: DetectorName
    backbone: BackboneName
    epochs: Count
    short_side: Count
    long_side: Count
    batch_size: Count
    learning_rate: Positive
    augment: bool
    pretrained: bool
    seed: Whole

    def __post_init__(self) -> None:
        """Refuse what is out of range or does not go together, by the names of the command's options."""
        if self.augment and self.detector not in VARIED:
            raise RunError(
                f"--augment goes with --detector {' or '.join(VARIED)}: {self.detector} needs the proposals of an "
                "image before it is varied"
            )
        try:
            check_settings(self)
        except ValueError as error:
            name, _, rest = str(error).partition(" ")
            raise RunError(f"--{name.replace('_', '-')} {rest}") from None


@dataclass(frozen=True)
class Setting:
    """Where a run takes place, which may differ from one part of it to the next."""

    folder: Path
    device: torch.device
    workers: int
    say: Callable[[str], object]


def complete(given: dict[str, Any], before: dict[str, Any] | None) -> Options:
    """Fill in the options that were not given (None): from the run that goes on, else from the recipe.

    Args:
        before: the options of that run, see `runs.asked_before`.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if before is not None:
        try:
            return Options(**{**before, **given})
        except TypeError:
            raise RunError("run.json was written by another version of the course; name another --out") from None
    name = given.get("recipe", "own")
    if name not in RECIPES:
        raise RunError(f"--recipe must be one of {', '.join(RECIPES)}; got {name!r}")
    recipe = RECIPES[name]
    values: dict[str, Any] = {"recipe": "own", "pretrained": True, "seed": 0}
    values |= {name: getattr(recipe, name) for name in ("detector", "backbone", "short_side", "batch_size", "augment")}
    values["epochs"] = recipe.training.epochs
    values |= given
    if values["backbone"] == "mini":
        values["pretrained"] = False  # there are no weights of it
    values.setdefault("long_side", round(values["short_side"] * recipe.long_side / recipe.short_side))
    values.setdefault("learning_rate", scaled_rate(recipe, values["batch_size"]))
    return Options(**values)


def scaled_rate(recipe: Recipe, batch_size: int) -> float:
    """The recipe's learning rate for another batch size: so many times as high for SGD as there are more images a step
    (Goyal et al. 2017, 2.1), the square root of that for AdamW, whose steps do not grow with the gradient.
    """
    more = batch_size / recipe.batch_size
    return recipe.training.learning_rate * (more if recipe.training.optimiser == "sgd" else more**0.5)


def begin(
    path: Path,
    reading: runs.Reading,
    options: Options,
    before: dict[str, Any] | None,
    setting: Setting,
) -> None:
    """Open the data, see that a training can begin or go on, and run it.

    Args:
        path, reading: of the data, see `own_data.open_data`.
        before: what `runs.asked_before` gave.

    Raises:
        RunError: see `runs` and `check_classes`.
    """
    data = runs.open_checked(path, reading, setting.say)
    for name in check_classes(data, options.detector):
        setting.say(f"no training image holds an object of the class {name}: the detector will not find any")
    # How photographs are turned shows in the summary only where it changes their size.
    known = runs.summary(data.splits, data.classes) | {"exif": reading.exif}
    by_epochs = options.detector in BY_EPOCHS
    if before is not None:
        runs.check_same(setting.folder, before, asdict(options), known, longer=by_epochs)
    leg = runs.next_leg(setting.folder, options.epochs) if by_epochs else None
    done = leg is None if by_epochs else (setting.folder / "best.pth").exists()
    if distributed.is_initialized():
        _check_processes(options)
        distributed.barrier()  # until all have looked at the folder
    if rank() == 0:
        runs.tidy(setting.folder)
        runs.remember(setting.folder, asdict(options), known)
    if done:
        setting.say(f"{setting.folder} is finished{'; more epochs: --epochs' if by_epochs else ''}")
    else:
        run(data, options, setting, leg, path.name)


def _check_processes(options: Options) -> None:
    """Refuse what several processes cannot share."""
    if options.detector not in BY_EPOCHS:
        raise RunError(f"{options.detector} is trained by one process: start it without torchrun")
    if options.batch_size < (count := distributed.get_world_size()):
        raise RunError(f"--batch-size {options.batch_size} is less than one image for each of {count} processes")


def describe_detector(options: Options, data: OwnData) -> Description:
    """The detector for these options and data."""
    recipe = RECIPES[options.recipe]
    rpn = recipe.rpn
    if recipe.anchors_from_data:
        sizes, ratios = choose_anchors(resized_boxes(data.splits["train"], options.short_side, options.long_side))
        rpn = replace(rpn, sizes=sizes, ratios=ratios)
    else:  # made for the recipe's images: larger ones need larger anchors
        rpn = replace(rpn, sizes=tuple(size * options.short_side / recipe.short_side for size in rpn.sizes))
    return Description(
        options.detector,
        options.backbone,
        data.classes,
        options.short_side,
        options.long_side,
        frozen_stages=FROZEN_STAGES[options.backbone] if options.pretrained else 0,
        frozen_norm=options.pretrained,
        rpn=rpn,
        head=recipe.head,
    )


def resized_boxes(images: AnnotatedImages, short_side: int, long_side: int) -> Tensor:
    """All boxes of a data set (M, 4), in pixels of its resized images."""
    boxes = [torch.zeros(0, 4)]
    for i in range(len(images)):
        known = images.annotation(i)
        height, width = known["size"]
        new_height, new_width = resized_size(height, width, short_side, long_side)
        x, y = new_width / width, new_height / height
        boxes.append(known["boxes"] * torch.tensor([x, y, x, y]))
    return torch.cat(boxes)


def check_classes(data: OwnData, detector: str) -> list[str]:
    """The classes of which the training images hold no object.

    Raises:
        RunError: for R-CNN and SPPNet, which fit a classifier to the objects of each class.
    """
    images = data.splits["train"]
    labels = {label for i in range(len(images)) for label in images.annotation(i)["labels"].tolist()}
    without = [name for label, name in enumerate(data.classes, start=1) if label not in labels]
    if without and detector in WITH_SVMS:
        raise RunError(
            f"no training image holds an object of the class {', '.join(without)}, and R-CNN and SPPNet need some of "
            "each; leave it out, or use --detector faster"
        )
    return without


def run(data: OwnData, options: Options, setting: Setting, leg: Leg | None, source: str) -> None:
    """Train, or go on training, in a folder whose run.json is written.

    Args:
        leg: the epochs to train; None for a detector that is not trained epoch by epoch.
        source: the name of the data, for people.
    """
    mpl.use("agg")
    description = describe_detector(options, data)
    if options.detector not in NEED_PROPOSALS:
        sizes, ratios = (
            ", ".join(f"{one:g}" for one in row) for row in (description.rpn.sizes, description.rpn.ratios)
        )
        setting.say(f"anchors: {sizes} pixels, height / width {ratios}")
    for images in data.splits.values():
        images.transform = ResizeShortSide(options.short_side, options.long_side)
    about = {"data": source, "training_images": len(data.splits["train"])}
    if leg is not None:
        _epochs(data, description, options, setting, leg, about)
    elif options.detector in WITH_SVMS:
        _stages(data, description, options, setting, about)
    else:
        _four_steps(data, description, options, setting, about)


def _epochs(
    data: OwnData, description: Description, options: Options, setting: Setting, leg: Leg, about: dict[str, Any]
) -> None:
    """Train epoch by epoch: Fast R-CNN, Faster R-CNN, and torchvision's."""
    folder, seed = setting.folder, options.seed + leg.before
    torch.manual_seed(seed)  # the larger backbones draw their first weights, and torchvision its regions, from there
    draw, order = (torch.Generator().manual_seed(seed + part) for part in (1, 2))
    model: Any = build_detector(description, draw, options.pretrained and leg.before == 0)
    if leg.before:
        load_weights(model, folder / f"Epoch.{leg.before}.pth")
    model.description["about"] = about

    train_boxes, val_boxes = (_proposals(data.splits[part], description.detector) for part in ("train", "val"))
    generators = _global_generators(setting.device)
    if options.augment:
        generators["augment"] = torch.Generator().manual_seed(seed + 3)
        learned = data.splits["train"]
        learned.transform = v2.Compose([Augment(generators["augment"]), learned.transform])
    loader = batches(
        data.splits["train"], options.batch_size, train_boxes, generator=order, flip=0.5, workers=setting.workers
    )
    val = batches(data.splits["val"], options.batch_size, val_boxes, workers=setting.workers)
    earlier = runs.history_until(folder, leg.before, len(loader))

    def after_epoch(history: History) -> None:
        ap50 = evaluate_voc(*predict(model, val, setting.device)).mean_ap
        history.validation.setdefault("AP50", []).append(ap50)
        if rank() > 0:
            return  # the first process alone writes
        whole = _joined(earlier, history)
        epoch, scores = len(whole["train"]["total"]), whole["validation"]["AP50"]
        about.update(epochs=epoch, ap50=ap50)
        save_detector(folder / f"Epoch.{epoch}.pth", model)
        # Where nothing can be scored AP50 is NaN or 0 each time, and the last one is kept.
        best = not any(score is not None and score > ap50 for score in scores[:-1])
        if best:
            save_detector(folder / "best.pth", model)
        _write_history(setting, whole)
        for path in folder.glob("training.*.pth"):
            if path != leg.state:
                path.unlink()  # of a leg that is finished: Epoch.N.pth has its weights
        losses = f"loss {whole['train']['total'][-1]:.3f}, on val {whole['validation']['total'][-1]:.3f}"
        setting.say(f"epoch {epoch}: {losses}, AP50 on val {ap50:.3f}{' (the best so far)' if best else ''}")

    learner = model
    if distributed.is_initialized():
        learner, loader = Parallel(model.to(setting.device)), shared(loader)
    train(
        learner,
        loader,
        _settings(options, leg.total - leg.before, len(loader)),
        validation=val,
        device=setting.device,
        checkpoint=leg.state,
        resume=True,
        generators=generators,
        after_epoch=after_epoch,
    )


def _global_generators(device: torch.device) -> dict[str, torch.Generator]:
    """Those that torchvision's detector draws its regions from, so that checkpoints hold their states."""
    found = {"torch": torch.default_generator}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.default_generators[device.index or 0]
    return found


def _settings(options: Options, epochs: int, steps_an_epoch: int) -> Settings:
    """The recipe's, for so many epochs; a short training has a short warm-up."""
    training = RECIPES[options.recipe].training
    warmup = min(training.warmup_steps, epochs * steps_an_epoch // 10)
    return replace(training, epochs=epochs, learning_rate=options.learning_rate, warmup_steps=warmup)


def _proposals(images: AnnotatedImages, detector: str) -> list[Tensor] | None:
    """Selective search on every image, kept under `data/` for the next time; None where it is not needed."""
    if detector not in NEED_PROPOSALS:
        return None
    cache = data_folder() / "proposals"
    return [find_proposals(images[i].image, cache) for i in tqdm(range(len(images)), desc="proposals", unit="image")]


def _joined(earlier: dict[str, Any], history: History) -> dict[str, Any]:
    """The history of all legs."""
    return {
        part: {name: earlier[part].get(name, []) + column for name, column in columns.items()}
        for part, columns in asdict(history).items()
    }


def _write_history(setting: Setting, history: dict[str, Any], name: str = "") -> None:
    """Write `history.json` and, where the packages of the lessons are installed, `losses.png`."""
    from matplotlib import pyplot as plt

    runs.write_json(setting.folder / f"history{name}.json", history)
    try:
        from frcnn_lessons.plots import loss_curves
    except ModuleNotFoundError as error:
        setting.say(f"losses{name}.png is not drawn, as {error.name} is not installed; history{name}.json is written")
        return
    figure = loss_curves(history["steps"])
    with written_whole(setting.folder / f"losses{name}.png") as temporary:
        figure.savefig(temporary, dpi=100, bbox_inches="tight")
    plt.close(figure)


# --- what is not trained in one go --------------------------------------------------------------------------------


def _four_steps(
    data: OwnData, description: Description, options: Options, setting: Setting, about: dict[str, Any]
) -> None:
    """Four trainings of `epochs` epochs each."""
    torch.manual_seed(options.seed)
    draw, order = (torch.Generator().manual_seed(options.seed + part) for part in (1, 2))
    model: Any = build_detector(description, draw, options.pretrained)
    first: Any = build_detector(description, draw, options.pretrained)
    loader = batches(data.splits["train"], options.batch_size, generator=order, flip=0.5, workers=setting.workers)
    val = batches(data.splits["val"], options.batch_size, workers=setting.workers)

    def after_stage(stage: int, _: nn.Module, history: History) -> None:
        _write_history(setting, asdict(history), f".step_{stage}")
        setting.say(f"step {stage} of 4: loss {history.train['total'][-1]:.3f}")

    four_step(
        model,
        first.backbone,
        loader,
        [_settings(options, options.epochs, len(loader))] * 4,
        checkpoints=setting.folder / "steps",
        resume=True,
        after_stage=after_stage,
        device=setting.device,
        generators=_global_generators(setting.device),
    )
    _finish(model, predict(model, val, setting.device), setting, about | {"epochs": options.epochs})


def _stages(data: OwnData, description: Description, options: Options, setting: Setting, about: dict[str, Any]) -> None:
    """R-CNN and SPPNet: fine-tuning, one SVM a class, box regression, on regions that all lie in memory.

    An epoch of R-CNN is a batch of windows for each eight images, one of SPPNet a batch of regions for each image.
    """
    torch.manual_seed(options.seed)
    draw = torch.Generator().manual_seed(options.seed + 1)
    model: Any = build_detector(description, draw, options.pretrained).to(setting.device)
    found, val_boxes = (cast(list[Tensor], _proposals(data.splits[p], description.detector)) for p in ("train", "val"))
    _check_memory(model, found)

    samples = [data.splits["train"][i] for i in range(len(data.splits["train"]))]
    images, targets = collate(samples)
    images = [image.to(setting.device) for image in images]
    regions = [
        make_regions(proposals.to(setting.device), _on(setting.device, cast(Target, target)), len(data.classes))
        for proposals, target in zip(found, targets, strict=True)
    ]
    r_cnn = description.detector == "rcnn"
    steps = max(1, options.epochs * len(images) // (8 if r_cnn else 1))
    losses = (fine_tune if r_cnn else fine_tune_pyramid)(
        model.network, images, regions, steps, options.learning_rate, generator=draw
    )
    _write_history(setting, {"steps": {"total": losses}})
    setting.say(f"fine-tuned: loss {losses[-1]:.3f}; now the SVMs and the boxes")
    features = [describe(model.network, image, r.boxes) for image, r in zip(images, regions, strict=True)]
    model.svms = train_svms(features, regions, generator=draw).layer
    model.regression = fit_box_regression(features, regions)
    val = batches(data.splits["val"], 1, val_boxes)
    _finish(model, predict(model, val, setting.device), setting, about | {"epochs": options.epochs})


def _finish(model: Any, found: Any, setting: Setting, about: dict[str, Any]) -> None:
    ap50 = evaluate_voc(*found).mean_ap
    model.description["about"] = about | {"ap50": ap50}
    save_detector(setting.folder / "best.pth", model)
    setting.say(f"AP50 on val {ap50:.3f}")


def _on(device: torch.device, target: Target) -> Target:
    return cast(
        Target, {key: value.to(device) if isinstance(value, Tensor) else value for key, value in target.items()}
    )


def _check_memory(model: Any, found: list[Tensor]) -> None:
    """Refuse before hours of work what could not be kept: the features of all regions, once more while they are fit."""
    per_region = model.regression.in_features + model.svms.in_features
    needed, free = 8 * per_region * sum(map(len, found)), psutil.virtual_memory().available
    if needed > free:
        raise RunError(
            f"this detector keeps the features of all regions in memory, some {needed / 1e9:.0f} GB, and "
            f"{free / 1e9:.0f} GB are free; train it on fewer images, or use --detector fast"
        )
