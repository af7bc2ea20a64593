"""The file that a training can go on from: written whole, read with suspicion, checked before a weight is touched.

A disk fills up, a copy breaks off, a bit flips, a file comes from a stranger. `torch.load` alone would load a flipped
bit as a weight and, on request, run what a file tells it to. So a checkpoint is compared with its checksums, read as
tensors and plain containers only, and its parts are looked at before anything is done with them.

What is in it is up to `frcnn_lessons.training`, which writes one an epoch.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frcnn_lessons.files import written_whole

REMEDY = "restore it from a copy, or delete it and start anew"
PARTS = {"plan", "epoch", "step", "model", "optimiser", "schedule", "scaler", "generators", "history"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says what to do."""


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Put the weights of a checkpoint into a detector.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged or of another architecture; the model has not changed.
    """
    weights = read_checkpoint(path)["model"]
    check_fits(model, weights, Path(path))
    model.load_state_dict(weights)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write the parts of a checkpoint, whole or not at all."""
    # Through an open file: given a path, torch.save refuses hidden names without an ending.
    with written_whole(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint of `train`: its `plan`, `epoch`, `step`, `model`, `history` and so on, tensors on the CPU.

    Nothing in the file is ever run: it is loaded with `weights_only=True`, which knows tensors and plain containers.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, or no checkpoint.
    """
    path = Path(path)
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
    if not isinstance(content, dict) or content.keys() != PARTS:
        raise CheckpointError(f"{path} is no checkpoint of this course; it must hold {', '.join(sorted(PARTS))}")
    history = content["history"]
    right = {
        "plan": isinstance(content["plan"], dict),
        "epoch": type(content["epoch"]) is int,
        "model": _is_dict_of(Tensor, content["model"]),
        "generators": _is_dict_of(Tensor, content["generators"]),
        "history": _is_dict_of(dict, history) and all(_is_dict_of(list, columns) for columns in history.values()),
    }
    if not all(right.values()):
        wrong = ", ".join(name for name in right if not right[name])
        raise CheckpointError(f"{path} is damaged: it holds something else as its {wrong}; {REMEDY}")
    return content


def check_fits(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights of another architecture before the first of them is copied.

    Raises:
        CheckpointError: names the first tensor that differs, and both shapes.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in weights.items()}
    for name in [*own, *stored]:
        if own.get(name) != stored.get(name):
            raise CheckpointError(
                f"{path} is of another model: {name} is {stored.get(name, 'missing')} in the file and "
                f"{own.get(name, 'missing')} in this model; build the model as it was trained"
            )


def check_plan(plan: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint of a training that was set up otherwise.

    Args:
        plan: what must be the same for this training to be the one to go on with, `epochs` among it.
        content: what was read from `path`.

    Raises:
        CheckpointError: names each difference; or more epochs are done than there are.
    """
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


def _is_dict_of(kind: type, value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, kind) for one in value.values())
