"""The file that a training can go on from: written whole, read with suspicion, checked before a weight is touched.

A disk fills up, a copy breaks off, a bit flips, a file comes from a stranger. `torch.load` alone would load a flipped
bit as a weight and, on request, run what a file tells it to. So a checkpoint is compared with its checksums, read as
tensors and plain containers only, and its parts are looked at before anything is done with them.

It can promise the same weights only if it holds all that a training depends on: `generators_of` and `settings_of` find
what is easily forgotten. `frcnn_lessons.training` writes checkpoints and goes on from them. Lesson 11.
"""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader

from frcnn_lessons.files import user_path, written_whole

REMEDY = "restore it from a copy, or delete it and start anew"
DETECTOR_PARTS = {"description", "model"}  # all that is needed to detect, see `frcnn_lessons.detectors`
STATE_PARTS = {"plan", "epoch", "measured", "step", "optimiser", "schedule", "scaler", "generators", "history"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says what to do."""


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Put the weights of a checkpoint, or of a file that only has them, into a detector.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged or of another architecture; the model has not changed.
    """
    weights = read_checkpoint(path, {"model"})["model"]
    check_weights(Path(path), weights, model)
    model.load_state_dict(weights)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write the parts of a checkpoint, whole or not at all; of several processes the first one does.

    Raises:
        OSError: the disk is full, for instance; it names the file.
    """
    if distributed.is_initialized() and distributed.get_rank() > 0:
        return
    history = {
        part: {name: [_plain(value) for value in column] for name, column in columns.items()}
        for part, columns in content.get("history", {}).items()
    }
    # Through an open file: given a path, torch.save refuses hidden names without an ending.
    with written_whole(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save({**content, "history": history} if history else content, file)
        except (OSError, RuntimeError) as error:
            # torch's writer hides why a write failed, and an open file does not know its name.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise OSError(cause.errno, cause.strerror, str(path)) from error


def read_checkpoint(path: Path | str, parts: Set[str] = STATE_PARTS | DETECTOR_PARTS) -> dict[str, Any]:
    """Read a checkpoint of `train`: its `plan`, `epoch`, `step`, `model`, `history` and so on, tensors on the CPU.

    Nothing in the file is ever run: it is loaded with `weights_only=True`, which knows tensors and plain containers.

    Args:
        parts: which the file must hold; it may hold more.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, or no checkpoint.
    """
    path = user_path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the checkpoint file in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    data = path.read_bytes()
    try:
        # torch does not compare the checksums in the file, and would load a flipped bit as a weight.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("wrong checksum")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own text recommends weights_only=False, which would run the file's code
        raise CheckpointError(
            f"{path} holds something other than tensors and plain containers, which is not loaded; "
            "use a checkpoint that training.train wrote"
        ) from None
    except Exception as error:  # a damaged file can make the readers stumble in any way
        raise CheckpointError(f"{path} is damaged or no checkpoint; {REMEDY}") from error
    if not isinstance(content, dict) or not parts <= content.keys():
        raise CheckpointError(f"{path} is no checkpoint of this course; it must hold {', '.join(sorted(parts))}")
    fits: dict[str, Callable[[Any], bool]] = {
        "description": lambda value: isinstance(value, dict),
        "plan": lambda value: isinstance(value, dict),
        "epoch": lambda value: type(value) is int,
        "measured": lambda value: type(value) is bool,
        "model": lambda value: _is_dict_of(Tensor, value),
        "generators": lambda value: _is_dict_of(Tensor, value),
        "history": lambda value: _is_dict_of(dict, value) and all(_is_dict_of(list, one) for one in value.values()),
    }
    wrong = ", ".join(name for name in fits if name in content and not fits[name](content[name]))
    if wrong:
        raise CheckpointError(f"{path} is damaged: it holds something else as its {wrong}; {REMEDY}")
    return content


def check_fits(
    path: Path,
    content: Mapping[str, Any],
    model: nn.Module,
    plan: Mapping[str, Any],
    generators: Mapping[str, torch.Generator],
) -> None:
    """Refuse the checkpoint of another training before anything is changed by it.

    Args:
        path: what `content` was read from.
        model: the file must hold its tensors.
        plan: what must be the same in the file, `epochs` among it.
        generators: the file must hold their states.

    Raises:
        CheckpointError: names what differs, and says how.
    """
    check_weights(path, content["model"], model)
    differing = [
        f"{name} was {content['plan'].get(name)} and is {value}"
        for name, value in plan.items()
        if content["plan"].get(name) != value
    ]
    if differing:
        raise CheckpointError(f"{path} is of another training: {'; '.join(differing)}. Use its settings, or delete it")
    if not 0 <= content["epoch"] <= plan["epochs"]:
        done = f"{content['epoch']} of {plan['epochs']} epochs are done"
        raise CheckpointError(f"{path} is damaged: it says that {done}; {REMEDY}")
    if content["generators"].keys() != generators.keys():
        raise CheckpointError(
            f"{path} holds the random generators {sorted(content['generators'])}, but this training has "
            f"{sorted(generators)}; pass the same"
        )


def check_weights(path: Path, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse weights of another architecture before the first of them is copied."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in weights.items()}
    for name in [*own, *stored]:
        if own.get(name) != stored.get(name):
            raise CheckpointError(
                f"{path} is of another model: {name} is {stored.get(name, 'missing')} in the file and "
                f"{own.get(name, 'missing')} in this model; build the model as it was trained"
            )


def _is_dict_of(kind: type, value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, kind) for one in value.values())


def _plain(value: Any) -> Any:
    """Make Python's own number of one of numpy's (a score of `after_epoch`), which could not be read back."""
    return value.item() if isinstance(value, np.generic) else value


# --- what a training depends on -----------------------------------------------------------------------------------


def generators_of(model: nn.Module, loader: DataLoader) -> dict[str, torch.Generator]:
    """Find the generators that are where one expects them: `self.generator` of modules, DataLoader and sampler."""
    owners = {f"model.{name}": module for name, module in model.named_modules()}
    found = {
        name: getattr(owner, "generator", None)
        for name, owner in {**owners, "loader": loader, "sampler": loader.sampler}.items()
    }
    return {name: generator for name, generator in found.items() if isinstance(generator, torch.Generator)}


def check_global_generator(generators: Mapping[str, torch.Generator], before: Tensor) -> None:
    """Refuse to promise a resume when torch's global generator was used in the first step but is not covered.

    Args:
        generators: all that a checkpoint will hold.
        before: the global generator's state before the step.
    """
    covered = any(generator is torch.default_generator for generator in generators.values())
    if not covered and not torch.equal(before, torch.get_rng_state()):
        raise ValueError(
            "something draws from torch's global generator (dropout, torchvision's detectors, a DataLoader without "
            "its own), which the checkpoint would not hold: give it a generator, or pass "
            'generators={"torch": torch.default_generator}; then delete the checkpoint and start anew'
        )


@contextmanager
def states_kept(generators: Mapping[str, torch.Generator]) -> Iterator[None]:
    """Set generators back at the end to where they were, whatever was drawn from them in the block."""
    states = [(generator, generator.get_state()) for generator in generators.values()]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def settings_of(model: nn.Module) -> dict[str, Any]:
    """The choices of the modules that keep a dataclass of them in `self.settings`: {"head.box_weight": 1.0, ...}."""
    return {
        f"{name}.{field}".lstrip("."): value
        for name, module in model.named_modules()
        if is_dataclass(settings := getattr(module, "settings", None)) and not isinstance(settings, type)
        for field, value in asdict(settings).items()
    }
