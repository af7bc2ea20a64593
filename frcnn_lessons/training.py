"""One loop for every detector that is trained in one go, and it can be stopped at any moment.

    batch -> model -> losses -> their sum -> gradient -> (clipped) -> step -> next learning rate
      ^                                                                          |
      `--------- steps of an epoch; after each epoch a checkpoint, then validation

R-CNN learns in stages, each by a method of its own; four-step training runs this loop four times.

A detector has torchvision's interface: in training it takes `images` and `targets`, and `proposals` if it does not
make its own, and returns a dict of losses. Their sum is trained; an entry named "accuracy" is recorded only.

A training that was killed goes on from the start of the epoch it was in, or of its validation, with everything as it
was then: weights, momentum, learning rate and *every random generator*. So what is repeated is repeated exactly, and
on a CPU the final weights are the same to the last bit. That needs all generators to be known. Found without being
told are those that a module of the model keeps as `self.generator` (samplers do) and those of the DataLoader and its
sampler; any other, such as the one of a random flip, is passed as `generators={"flip": flip.generator}`. Dropout and
torchvision's own detectors draw from torch's global generator: pass `{"torch": torch.default_generator}`.

Settings, optimiser and learning rate, with their sources, are in `frcnn_lessons.schedule`. Lesson 07.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate
from tqdm.auto import tqdm

from frcnn_lessons.checkpoints import (
    CheckpointError,
    check_fits,
    check_global_generator,
    generators_of,
    read_checkpoint,
    settings_of,
    states_kept,
    write_checkpoint,
)
from frcnn_lessons.files import user_path
from frcnn_lessons.schedule import Settings, make_optimiser, make_schedule

WRONG_BATCHES = (
    "batches must be (images, targets) or (images, targets, proposals), with one of each for every image; make the "
    "DataLoader with datasets.batches(), or pass collate_fn=collate"
)
AFTER_EPOCH = (
    "The weights are those after that epoch, also in a checkpoint, from which resume=True repeats only the validation"
)
NO_LOSS = "accuracy"  # the one entry of a detector's dict that is not summed

Columns = dict[str, list[float]]
Generators = Mapping[str, torch.Generator]


@dataclass
class History:
    """What happened, as columns to plot: `plt.plot(history.steps["total"])`.

    Attributes:
        steps: a value a step: "total", each loss by its name (and "accuracy" if the detector reports it),
            "learning_rate" of the step and "gradient_norm" before clipping.
        train, validation: a value an epoch: "total" and the losses, mean over images. `validation` is empty without
            validation data.
    """

    steps: Columns = field(default_factory=dict)
    train: Columns = field(default_factory=dict)
    validation: Columns = field(default_factory=dict)


def train(
    model: nn.Module,
    loader: DataLoader,
    settings: Settings,
    *,
    validation: DataLoader | None = None,
    device: torch.device | str = "cpu",
    checkpoint: Path | str | None = None,
    resume: bool = False,
    generators: Generators | None = None,
    on_step: Callable[[History], None] | None = None,
    after_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train a detector, or go on training it.

    Args:
        model: trained in place and moved to `device`. Parameters with `requires_grad` False stay as they are. A part
            that must stay in evaluation overrides `train`, as `Backbone` does.
        loader: batches `(images, targets)`, as `datasets.collate` makes them, or `(images, targets, proposals)`.
        validation: batches of the same kind. After each epoch their losses are computed, with batch norm and dropout
            in evaluation; weights, statistics and generators do not change.
        checkpoint: a file that always holds the state after the last epoch whose steps are all done. It is written
            before the validation, which may fail, and again when `after_epoch` is done, each time as a whole, so that
            a kill at any moment leaves a good one.
        resume: go on from `checkpoint`, with validation and `after_epoch` if they were not done; start from the
            beginning if there is no such file. A training that is complete already only loads its weights and history.
        generators: random generators that are not found by themselves, see the top of this module.
        on_step, after_epoch: called with the history so far, for a live plot or a score. What `after_epoch` adds to
            the history, such as `history.validation.setdefault("AP50", []).append(...)`, is kept in the checkpoint.

    Returns:
        The history, that of the epochs before a kill included.

    Raises:
        FileExistsError: `checkpoint` exists and `resume` is False.
        CheckpointError: `checkpoint` is damaged or of another training; nothing has changed.
        FloatingPointError: a loss or gradient is NaN or infinite; the message names images and boxes. The model is as
            it was before that step, or, if it was in validation, as after the epoch. `checkpoint` stays as it is.
        ValueError: nothing to train, no data or no such batches; the model refuses a batch, whose images the message
            names; the losses' names change; or there is a `checkpoint` and something draws random numbers that it
            could not repeat.
    """
    device = torch.device(device)
    for one in [loader] if validation is None else [loader, validation]:
        _check_collate(one)
    if len(loader) == 0:
        raise ValueError("the DataLoader has no batches: the data set is empty, or smaller than a batch with drop_last")
    if checkpoint is None and resume:
        raise ValueError("resume needs the checkpoint to go on from: pass checkpoint=")
    if checkpoint is not None and loader.persistent_workers:
        raise ValueError("persistent workers keep random states that no checkpoint sees: use persistent_workers=False")
    path = None if checkpoint is None else user_path(checkpoint)
    found = path is not None and path.exists()
    if found and not resume:
        raise FileExistsError(f"{path} exists already; pass resume=True to go on with it, or use another name")

    model.to(device)
    training = _Training(model, loader, settings, device, generators or {})
    if path is not None and found:
        training.load(path)
    else:
        training.save(path)
    history = training.history

    def measure() -> None:
        """Do what follows the steps of an epoch. A training that was stopped in it begins with it."""
        model.train()
        if validation is not None:
            _append(history.validation, training.validate(validation))
        if after_epoch is not None:
            after_epoch(history)
        training.measured = True
        training.save(path)

    total_steps = settings.epochs * len(loader)
    with tqdm(total=total_steps, initial=training.epoch * len(loader), desc="training", unit="step") as bar:
        if not training.measured:
            measure()
        while training.epoch < settings.epochs:
            model.train()
            rows: list[dict[str, float]] = []
            counts = []
            before = torch.get_rng_state()
            for batch in loader:
                row = training.step(_moved(batch, device), f"epoch {training.epoch + 1}, step {len(rows) + 1}")
                if path is not None and not rows:
                    check_global_generator(training.generators, before)
                rows.append(row)
                counts.append(len(batch[0]))
                _append(history.steps, row)
                bar.set_postfix(loss=f"{row['total']:.3f}", refresh=False)
                bar.update()
                if on_step is not None:
                    on_step(history)
            means = _means(rows, counts)
            del means["learning_rate"], means["gradient_norm"]
            _append(history.train, means)
            training.epoch += 1
            training.measured = validation is None and after_epoch is None
            training.save(path)
            if not training.measured:
                measure()
    return history


class _Training:
    """All that changes during a training, so that it can be saved and restored as one."""

    def __init__(
        self, model: nn.Module, loader: DataLoader, settings: Settings, device: torch.device, generators: Generators
    ) -> None:
        self.model, self.settings, self.device = model, settings, device
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.trained:
            raise ValueError("every parameter of the model is frozen (requires_grad is False): nothing to train")
        self.optimiser = make_optimiser(list(self.trained.values()), settings)
        self.schedule = make_schedule(self.optimiser, settings, settings.epochs * len(loader))
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        self.generators = {**generators_of(model, loader), **generators}
        # What must be the same in a checkpoint for this training to be the one to go on with.
        sizes = {"steps an epoch": len(loader), "trained parameters": list(self.trained)}
        self.plan = {**asdict(settings), **settings_of(model), **sizes}
        # Epochs whose steps are done; whether validation and `after_epoch` of the last of them are done as well.
        self.epoch, self.measured = 0, True
        self.history = History()

    def step(self, batch: Sequence[Any], where: str) -> dict[str, float]:
        """Learn from one batch; give what the history keeps of it."""
        # A batch norm has counted the batch in before the loss is known.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            total, values = self._losses(*batch)
            self.optimiser.zero_grad()
            self.scaler.scale(total).backward()
            self.scaler.unscale_(self.optimiser)
            gradients = [p.grad for p in self.trained.values() if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
            # In float16 an overflow is no error: the scaler leaves the step out and scales less.
            if not self.scaler.is_enabled() and not norm.isfinite():
                raise FloatingPointError(f"the gradient is {float(norm)}")
        except (FloatingPointError, ValueError) as error:
            for buffer, old in buffers:
                buffer.copy_(old)
            raise _blame(error, where, batch, "The step was not made") from error
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.trained.values(), self.settings.clip_norm, norm)
        rate, scale = self.optimiser.param_groups[0]["lr"], self.scaler.get_scale()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # a smaller one says that the step was left out
            self.schedule.step()
        return {**values, "learning_rate": rate, "gradient_norm": float(norm)}

    @torch.no_grad()
    def validate(self, loader: DataLoader) -> dict[str, float]:
        """Compute the mean losses over the images of a DataLoader and change nothing.

        Detectors compute losses in training mode only. So that is where the model is, but batch norm and dropout are
        in evaluation, and the generators start from the same seed each time, so that the curve moves only because
        the weights do; afterwards they go on from where they were.
        """
        rows, counts = [], []
        generators = {**self.generators, **generators_of(self.model, loader)}
        with _modes_kept(self.model), states_kept(generators):
            self.model.train()
            for module in self.model.modules():
                if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
                    module.eval()
            for generator in generators.values():
                generator.manual_seed(0)
            for batch in loader:
                moved = _moved(batch, self.device)
                try:
                    rows.append(self._losses(*moved)[1])
                except (FloatingPointError, ValueError) as error:
                    raise _blame(error, f"the validation after epoch {self.epoch}", batch, AFTER_EPOCH) from error
                counts.append(len(batch[0]))
        if not rows:
            raise ValueError("the validation DataLoader has no batches: pass validation=None to do without")
        return _means(rows, counts)

    def _losses(self, images: Any, targets: Any, *proposals: Any) -> tuple[Tensor, dict[str, float]]:
        """Compute the losses of a batch: their sum, and all of them as the history keeps them."""
        precision = self.settings.precision
        dtype = None if precision == "float32" else getattr(torch, precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            losses = self.model(images, targets=targets, **_named(proposals))
        total = torch.stack([value.float() for name, value in losses.items() if name != NO_LOSS]).sum()
        values = {name: float(value.detach()) for name, value in {**losses, "total": total}.items()}
        for name, value in values.items():
            if name != NO_LOSS and not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value}")
        return total, values

    def save(self, path: Path | None) -> None:
        """Write everything, whole or not at all, if there is a place for it."""
        if path is None:
            return
        content = {
            "description": getattr(self.model, "description", {}),  # how to build it, see `detectors`
            "plan": self.plan,
            "epoch": self.epoch,
            "measured": self.measured,
            "step": self.epoch * self.plan["steps an epoch"],
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "history": asdict(self.history),
        }
        write_checkpoint(path, content)

    def load(self, path: Path) -> None:
        """Go back to what `save` wrote, or raise CheckpointError and change nothing but this object."""
        content = read_checkpoint(path)
        check_fits(path, content, self.model, self.plan, self.generators)
        try:
            for name, generator in self.generators.items():
                torch.Generator(generator.device).set_state(content["generators"][name])  # does it fit? on a spare one
            self.optimiser.load_state_dict(content["optimiser"])
            self.schedule.load_state_dict(content["schedule"])
            self.scaler.load_state_dict(content["scaler"])
            self.history = History(**content["history"])
        except Exception as error:
            raise CheckpointError(f"{path} does not fit this training ({error}); delete it and start anew") from error
        # Nothing can fail from here on.
        for name, generator in self.generators.items():
            generator.set_state(content["generators"][name])
        self.model.load_state_dict(content["model"])
        self.epoch, self.measured = content["epoch"], content["measured"]


@torch.no_grad()
def predict(
    model: nn.Module, loader: DataLoader, device: torch.device | str = "cpu"
) -> tuple[list[dict[str, Tensor]], list[dict[str, Any]]]:
    """Run a detector over all images: what `metrics.evaluate_voc(*predict(model, loader))` wants.

    The model is moved to `device`; it is in evaluation meanwhile, and afterwards as it was. Batches are as for `train`;
    others are a ValueError.

    Returns:
        predictions: for each image `boxes`, `labels` and `scores`, on the CPU.
        targets: for each image, as the DataLoader gave them.
    """
    _check_collate(loader)
    model.to(device)
    predictions, targets = [], []
    with _modes_kept(model):
        model.eval()
        for batch in tqdm(loader, desc="detecting", unit="batch"):
            images, _, *proposals = _moved(batch, torch.device(device))
            found = model(images, **_named(proposals))
            predictions += [{name: value.cpu() for name, value in one.items()} for one in found]
            targets += batch[1]
    return predictions, targets


def _named(proposals: Sequence[Any]) -> dict[str, Any]:  # as detectors do not agree on the place of this argument
    return {"proposals": proposals[0]} if proposals else {}


def _blame(error: FloatingPointError | ValueError, where: str, batch: Sequence[Any], outcome: str) -> Exception:
    """Make the error anew, saying for which images: a refused batch, or numbers that went wrong."""
    names = [
        str(target["image_id"]) if isinstance(target, Mapping) and "image_id" in target else f"number {i} of the batch"
        for i, target in enumerate(batch[1])
    ]
    if isinstance(error, ValueError):
        return ValueError(f"{error} (images of this batch: {', '.join(names)})")
    images = [f"{name} with boxes {target['boxes'].tolist()}" for name, target in zip(names, batch[1], strict=True)]
    return FloatingPointError(
        f"{error} in {where}, for the images {'; '.join(images)}. {outcome}. "
        "Look for boxes without area or outside the image, or lower the learning rate"
    )


def _check_collate(loader: DataLoader) -> None:
    """Refuse torch's own way to make a batch before it is tried: with luck, all images of one size, it works."""
    if loader.collate_fn is default_collate:
        raise ValueError(WRONG_BATCHES)


def _moved(batch: Any, device: torch.device) -> Any:
    """Move a batch to a device; refuse what another `collate_fn` may have made of the samples."""
    plain = type(batch) in (tuple, list) and len(batch) in (2, 3) and type(batch[1]) in (tuple, list)
    if not plain or any(isinstance(target, Tensor) for target in batch[1]):
        raise ValueError(WRONG_BATCHES)
    return _to(batch, device)


def _to(item: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, however deep they lie."""
    if isinstance(item, Tensor):
        return item.to(device)
    if isinstance(item, Mapping):
        return {key: _to(value, device) for key, value in item.items()}
    if isinstance(item, list):
        return [_to(value, device) for value in item]
    return tuple(_to(value, device) for value in item) if type(item) is tuple else item


def _append(columns: Columns, row: Mapping[str, float]) -> None:
    for name, value in row.items():
        columns.setdefault(name, []).append(value)


def _means(rows: Sequence[Mapping[str, float]], counts: Sequence[int]) -> dict[str, float]:
    """Mean over images; the last batch may have fewer."""
    for row in rows:
        if row.keys() != rows[0].keys():
            raise ValueError(f"a detector must report the same losses each time, not {list(rows[0])} and {list(row)}")
    weighted = list(zip(rows, counts, strict=True))
    return {name: sum(row[name] * count for row, count in weighted) / sum(counts) for name in rows[0]}


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
