"""What a checkpoint promises: a file that is damaged, foreign or dangerous is refused, and nothing has changed then."""

import pickle
import traceback
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from frcnn_lessons.checkpoints import CheckpointError, load_weights, read_checkpoint
from frcnn_lessons.fast_rcnn import HeadSettings
from frcnn_lessons.training import train
from helpers.tiny_training import SETTINGS, Scenes, TinyDetector, collate, loader, same, weights_of


@pytest.fixture
def checkpoint(tmp_path):
    """A finished training's file."""
    path = tmp_path / "tiny.pth"
    train(TinyDetector(), loader(), SETTINGS, checkpoint=path)
    return path


def refused(path, model=None, settings=SETTINGS, data=None):
    """Resume from a file that must be refused; give the message. Nothing may have changed in the model."""
    model, data = model or TinyDetector(seed=5), data or loader()
    before, order = weights_of(model), data.generator.get_state()
    with pytest.raises(CheckpointError) as caught:
        train(model, data, settings, checkpoint=path, resume=True)
    assert same(weights_of(model), before)
    assert torch.equal(data.generator.get_state(), order)
    assert torch.equal(model.generator.get_state(), TinyDetector(seed=5).generator.get_state())
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(checkpoint, share):
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: int(len(data) * share)])
    assert "damaged" in refused(checkpoint)


def test_a_flipped_bit_is_refused_or_harmless(checkpoint):
    # torch.load alone does not notice one in a weight. Some bytes of the file (padding, dates) mean nothing.
    data = checkpoint.read_bytes()
    good = read_checkpoint(checkpoint)
    noticed = 0
    for position in torch.randint(len(data), (150,), generator=torch.Generator().manual_seed(0)).tolist():
        damaged = bytearray(data)
        damaged[position] ^= 16
        checkpoint.write_bytes(damaged)
        try:
            content = read_checkpoint(checkpoint)
        except CheckpointError:
            noticed += 1
        else:
            assert same(content["model"], good["model"])
            assert content["history"] == good["history"]
    assert noticed > 30


def test_a_flipped_bit_in_a_weight_is_refused(checkpoint):
    raw = read_checkpoint(checkpoint)["model"]["head.weight"].numpy().tobytes()
    data = bytearray(checkpoint.read_bytes())
    data[data.index(raw) + 5] ^= 1
    checkpoint.write_bytes(data)
    assert "damaged" in refused(checkpoint)


class Malicious:
    """Runs a command of the attacker's when it is unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, how):
    path, witness = tmp_path / "evil.pth", tmp_path / "ran"
    if how == "torch":
        torch.save({"model": Malicious(witness)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(witness)))
    assert ("other than tensors" if how == "torch" else "damaged or no checkpoint") in refused(path)
    assert not witness.exists()


@pytest.mark.parametrize("content", [Malicious(Path("ran")), nn.Linear(1, 1)], ids=["malicious", "whole model"])
def test_nobody_is_told_to_load_such_a_file_after_all(tmp_path, content):
    # torch's own message recommends weights_only=False: whoever follows it runs what is in the file.
    torch.save(content, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError) as caught:
        load_weights(TinyDetector(), tmp_path / "whole.pth")
    said = "".join(traceback.format_exception(caught.value))
    assert "whole.pth holds something other than tensors and plain containers, which is not loaded; use" in said
    assert "weights_only=False" not in said
    assert "\x1b" not in said


def test_a_checkpoint_of_another_model_is_refused_by_name_and_shape(checkpoint):
    assert "head.weight is (4, 3) in the file and (5, 3) in this model" in refused(checkpoint, TinyDetector(5, width=5))
    more = TinyDetector(seed=5)
    more.extra = nn.Linear(1, 1)
    assert "extra.weight is missing in the file" in refused(checkpoint, more)
    with pytest.raises(CheckpointError, match=r"head\.weight"):
        load_weights(TinyDetector(width=5), checkpoint)


def test_a_checkpoint_of_other_settings_is_refused_with_the_difference(checkpoint):
    assert "learning_rate was 0.01 and is 0.5" in refused(checkpoint, settings=replace(SETTINGS, learning_rate=0.5))
    shorter = DataLoader(Scenes(), batch_size=8, collate_fn=collate, generator=torch.Generator())
    assert "steps an epoch was 3 and is 1" in refused(checkpoint, data=shorter)
    frozen = TinyDetector(seed=5)
    frozen.norm.requires_grad_(False)
    assert "trained parameters" in refused(checkpoint, frozen)


def test_a_checkpoint_of_a_head_with_other_choices_is_refused_with_the_difference(tmp_path):
    # lambda is in no tensor: the weights alone would fit.
    model, path = TinyDetector(), tmp_path / "tiny.pth"
    model.head.settings = HeadSettings()
    train(model, loader(), SETTINGS, checkpoint=path)
    other = TinyDetector(seed=5)
    other.head.settings = HeadSettings(box_weight=10.0)
    assert "head.box_weight was 1.0 and is 10.0" in refused(path, other)


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save(TinyDetector().state_dict(), tmp_path / "weights.pth")
    assert "no checkpoint of this course" in refused(tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a", "b")
    assert "no checkpoint" in refused(tmp_path / "zip.pth")
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pth")


def test_content_that_does_not_fit_changes_nothing(checkpoint):
    # Found only when it is put to use, after the architecture was checked: the model must not be loaded by then.
    good = read_checkpoint(checkpoint)
    for key, value in {"optimiser": {}, "schedule": 3, "history": {"no": 1}, "generators": {}}.items():
        torch.save({**good, key: value}, checkpoint)
        refused(checkpoint)
    states = {name: torch.zeros(3, dtype=torch.uint8) for name in good["generators"]}
    torch.save({**good, "generators": states}, checkpoint)
    refused(checkpoint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("plan", []),
        ("model", [1]),
        ("model", {"k": 1}),
        ("generators", []),
        ("generators", {"loader": 1}),
        ("epoch", "a"),
        ("epoch", True),
        ("measured", 1),
        ("history", {"steps": None, "train": {}, "validation": {}}),
        ("history", {"steps": {"total": 1.0}, "train": {}, "validation": {}}),
    ],
)
def test_contents_of_another_kind_are_named(checkpoint, key, value):
    # Noticed only when it is used, such content would stop the training with the weights loaded and the rest not.
    torch.save({**read_checkpoint(checkpoint), key: value}, checkpoint)
    assert f"holds something else as its {key}; restore it" in refused(checkpoint)
    with pytest.raises(CheckpointError, match=key):
        load_weights(TinyDetector(), checkpoint)


@pytest.mark.parametrize("epoch", [-3, 4, 99])
def test_a_number_of_epochs_that_cannot_be_is_refused(checkpoint, epoch):
    # -3 would train three epochs too many, 99 would count as finished.
    torch.save({**read_checkpoint(checkpoint), "epoch": epoch}, checkpoint)
    assert f"{epoch} of 3 epochs are done" in refused(checkpoint)


def test_a_folder_is_no_checkpoint_and_is_called_a_folder(tmp_path):
    (tmp_path / "folder.pt").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.pt")
    with pytest.raises(FileExistsError) as caught:  # without `resume`: nobody is told to delete a folder
        train(TinyDetector(), loader(), SETTINGS, checkpoint=tmp_path / "folder.pt")
    assert "delete" not in str(caught.value)


def test_weights_can_be_loaded_for_use(checkpoint):
    model = TinyDetector(seed=5)
    load_weights(model, checkpoint)
    assert same(weights_of(model), read_checkpoint(checkpoint)["model"])
