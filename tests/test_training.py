"""What the training loop promises: above all that a training can be killed and nothing is lost but time."""

import copy
import itertools
import math
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from frcnn_lessons import training
from frcnn_lessons.checkpoints import read_checkpoint, write_checkpoint
from frcnn_lessons.datasets import Sample
from frcnn_lessons.schedule import Settings
from frcnn_lessons.training import predict, train
from helpers import tiny_training
from helpers.tiny_training import SETTINGS, Scenes, TinyDetector, collate, loader, same, weights_of

ONE_EPOCH = Settings(epochs=1, learning_rate=0.01)


# --- killed and resumed -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a thing of Unix")
@pytest.mark.parametrize(
    ("killed_at", "epochs_done", "goes_on_with"),
    [
        ("epoch 2 step 2", 1, "epoch 2 step 1"),  # it repeats the epoch, not the training
        ("validation", 1, "validation"),  # the steps before it are not lost
        ("epoch 2 score", 2, "validation"),
    ],
)
def test_a_training_killed_anywhere_ends_with_the_same_bits(tmp_path, capsys, killed_at, epochs_done, goes_on_with):
    # A process of its own, because what its memory still holds is just what must not be relied on.
    command = [sys.executable, tiny_training.__file__, tmp_path / "killed.pth", tmp_path / "killed", killed_at]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in killed.stdout:
        if line.strip() == killed_at:
            break
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    kept = read_checkpoint(tmp_path / "killed.pth")
    assert (kept["epoch"], kept["measured"]) == (epochs_done, goes_on_with != "validation")
    assert not (tmp_path / "killed").exists()

    tiny_training.main(tmp_path / "killed.pth", tmp_path / "killed")
    assert capsys.readouterr().out.split("\n")[0] == goes_on_with
    tiny_training.main(tmp_path / "whole.pth", tmp_path / "whole")
    a, b = (torch.load(tmp_path / name, weights_only=True) for name in ("whole", "killed"))
    assert same(a["model"], b["model"])
    assert a["history"] == b["history"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(7))
def test_a_training_that_dies_before_or_after_any_of_its_writes_ends_with_the_same_bits(
    tmp_path, monkeypatch, write, after
):
    # One at the start, and of each of three epochs one before the validation and one after the score.
    def run(path):
        def score(history):
            drawn = torch.rand((), generator=model.generator)  # the next epoch draws from it as well
            history.validation.setdefault("AP50", []).append(float(drawn))

        return train(model, data, SETTINGS, checkpoint=path, resume=True, validation=loader(1), after_epoch=score)

    model, data = TinyDetector(), loader()
    whole, expected = run(tmp_path / "whole.pth"), weights_of(model)
    assert len(whole.validation["AP50"]) == len(whole.validation["total"]) == 3

    written = []

    def dying(path, content):
        if len(written) < write or after:
            write_checkpoint(path, content)
        written.append(path)
        if len(written) == write + 1:
            raise KeyboardInterrupt

    model, data = TinyDetector(), loader()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "write_checkpoint", dying)
        run(tmp_path / "cut.pth")
    assert run(tmp_path / "cut.pth") == whole
    assert same(weights_of(model), expected)


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_a_training_interrupted_at_any_step_ends_with_the_same_bits(tmp_path, stop_at):
    # In one process, as in a notebook: the interrupted model is dirty, and its generators have moved on.
    def run(path, stop=None):
        def interrupt(history):
            if len(history.steps["total"]) == stop:
                raise KeyboardInterrupt

        return train(model, data, SETTINGS, checkpoint=path, resume=True, on_step=interrupt, validation=loader(1))

    model, data = TinyDetector(), loader()
    expected_history, expected = run(tmp_path / "whole"), weights_of(model)
    model, data = TinyDetector(), loader()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.pth", stop_at)
    assert run(tmp_path / "cut.pth") == expected_history
    assert same(weights_of(model), expected)


def test_resuming_a_finished_training_only_loads_it(tmp_path):
    checkpoint = tmp_path / "tiny.pth"
    train(TinyDetector(), loader(), SETTINGS, checkpoint=checkpoint)
    model = TinyDetector(seed=5)
    history = train(model, loader(), SETTINGS, checkpoint=checkpoint, resume=True)
    assert len(history.steps["total"]) == 3 * 3
    assert same(weights_of(model), read_checkpoint(checkpoint)["model"])


def test_a_checkpoint_is_not_overwritten_by_a_new_training(tmp_path):
    checkpoint = tmp_path / "tiny.pth"
    train(TinyDetector(), loader(), SETTINGS, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(FileExistsError, match="resume=True"):
        train(TinyDetector(), loader(), SETTINGS, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_that_could_not_repeat_the_training_is_refused(tmp_path):
    # Dropout draws from the global generator: silently, the resumed training would be another one.
    def dropping():
        model = TinyDetector()
        model.head = nn.Sequential(model.head, nn.Dropout(0.5))
        return model

    with pytest.raises(ValueError, match=r"torch\.default_generator"):
        train(dropping(), loader(), ONE_EPOCH, checkpoint=tmp_path / "a.pth")
    covered = {"torch": torch.default_generator}
    train(dropping(), loader(), ONE_EPOCH, checkpoint=tmp_path / "b.pth", generators=covered)
    without_its_own = DataLoader(Scenes(), batch_size=4, collate_fn=collate)
    with pytest.raises(ValueError, match=r"torch\.default_generator"):
        train(TinyDetector(), without_its_own, ONE_EPOCH, checkpoint=tmp_path / "c.pth")


def test_worker_processes_change_neither_the_order_nor_the_result():
    models = []
    for workers in (0, 2):
        models.append(TinyDetector())
        train(models[-1], loader(workers=workers), ONE_EPOCH)
    assert same(weights_of(models[0]), weights_of(models[1]))


def test_a_score_from_numpy_in_the_history_can_be_read_back(tmp_path):
    # torch saves numpy's numbers without a word, and refuses to load them: hours of training could not be resumed.
    def score(history):
        history.validation.setdefault("AP50", []).append(np.mean([0.25, 0.75]))

    train(TinyDetector(), loader(), ONE_EPOCH, checkpoint=tmp_path / "a.pth", after_epoch=score)
    assert read_checkpoint(tmp_path / "a.pth")["history"]["validation"] == {"AP50": [0.5]}


# --- not a number -------------------------------------------------------------------------------------------------


class Poisoned(TinyDetector):
    """Goes wrong on one scene: in the loss, or only in the gradient (the square root of 0)."""

    def __init__(self, value, everywhere=False):
        super().__init__()
        self.value, self.everywhere = value, everywhere

    def forward(self, images, targets=None):
        losses = super().forward(images, targets)
        if self.everywhere or any(target["image_id"] == "scene_3" for target in targets):
            if self.value == "gradient":
                losses["loss_box_reg"] = losses["loss_box_reg"] + (self.head.weight * 0).abs().sum().sqrt()
            else:
                losses["loss_box_reg"] = losses["loss_box_reg"] * self.value
        return losses


@pytest.mark.parametrize("value", [math.nan, math.inf, "gradient"])
def test_a_step_that_goes_wrong_names_image_and_boxes_and_leaves_the_model_alone(value):
    model, states = Poisoned(value), []

    def remember(_):
        states.append(weights_of(model))

    with pytest.raises(FloatingPointError) as caught:
        train(model, loader(), SETTINGS, on_step=remember)
    message = str(caught.value)
    assert ("the gradient is" if value == "gradient" else "loss_box_reg is") in message
    assert "scene_3 with boxes [[0.0, 0.0, 4.0, 2.0]]" in message
    assert f"epoch 1, step {len(states) + 1}" in message
    # The batch-norm statistics are in there too, although the forward pass has updated them.
    assert same(weights_of(model), states[-1] if states else weights_of(Poisoned(value)))


class PoisonedValidation(TinyDetector):
    """Goes wrong on one scene in validation: the loss is NaN, or the detector itself notices and raises."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def forward(self, images, targets=None):
        losses = super().forward(images, targets)
        if not self.norm.training and any(target["image_id"] == "scene_3" for target in targets):
            if self.error is not None:
                raise self.error
            losses["loss_box_reg"] = losses["loss_box_reg"] * math.nan
        return losses


@pytest.mark.parametrize("error", [None, FloatingPointError("deltas are NaN")])
def test_a_validation_that_goes_wrong_stops_and_names_image_and_boxes(tmp_path, error):
    # Kept as a number in the history, it would be seen hours later or never.
    model, states = PoisonedValidation(error), []
    with pytest.raises(FloatingPointError) as caught:
        train(
            model,
            loader(),
            SETTINGS,
            validation=loader(1),
            checkpoint=tmp_path / "a.pth",
            on_step=lambda _: states.append(weights_of(model)),
        )
    message = str(caught.value)
    assert ("deltas are NaN" if error else "loss_box_reg is nan") in message
    assert "in the validation after epoch 1, for the images" in message
    assert "scene_3 with boxes [[0.0, 0.0, 4.0, 2.0]]" in message
    assert "step was not made" not in message
    # What the message says of the weights is true.
    assert (
        "The weights are those after that epoch, also in a checkpoint, from which resume=True repeats only the "
        "validation." in message
    )
    assert same(weights_of(model), states[2])
    kept = read_checkpoint(tmp_path / "a.pth")
    assert (kept["epoch"], kept["measured"]) == (1, False)
    assert same(kept["model"], states[2])


@pytest.mark.parametrize("broken", ["validation", "score"])
def test_a_validation_that_failed_and_was_mended_costs_no_step(tmp_path, broken):
    # A damaged photograph of the validation set, found at the end of the first epoch.
    def run(path, data, on_step=None, score=lambda _: None):
        return train(
            model,
            loader(),
            SETTINGS,
            validation=data,
            checkpoint=path,
            resume=True,
            on_step=on_step,
            after_epoch=score,
        )

    class Damaged(Scenes):
        def __getitem__(self, index):
            if index == 5:
                raise OSError("scene_5.jpg is truncated")
            return super().__getitem__(index)

    def damaged(_=None):
        return Damaged()[5]

    model = TinyDetector()
    expected_history, expected = run(tmp_path / "whole.pth", loader(1)), weights_of(model)
    model = TinyDetector()
    with pytest.raises(OSError, match="scene_5"):
        if broken == "validation":
            run(tmp_path / "a.pth", DataLoader(Damaged(), 3, collate_fn=collate, generator=torch.Generator()))
        else:
            run(tmp_path / "a.pth", loader(1), score=damaged)

    steps, modes = [], []
    model = TinyDetector(seed=5).eval()  # as one that has just been looked at
    history = run(
        tmp_path / "a.pth",
        loader(1),
        on_step=lambda history: steps.append(len(history.steps["total"])),
        score=lambda _: modes.append(model.training),
    )
    assert steps == [4, 5, 6, 7, 8, 9], "the first epoch is not made again"
    assert modes == [True, True, True], "a score meets the model as it is after the steps of an epoch"
    assert history == expected_history
    assert same(weights_of(model), expected)


def test_an_open_validation_is_no_duty_for_a_training_without_one(tmp_path):
    with pytest.raises(FloatingPointError):
        train(PoisonedValidation(), loader(), SETTINGS, validation=loader(1), checkpoint=tmp_path / "a.pth")
    history = train(TinyDetector(), loader(), SETTINGS, checkpoint=tmp_path / "a.pth", resume=True)
    assert [len(history.train["total"]), history.validation] == [3, {}]


class Refusing(TinyDetector):
    """Refuses a batch with scene 3, after its batch norm has counted the batch in."""

    def forward(self, images, targets=None):
        losses = super().forward(images, targets)
        if any(target["image_id"] == "scene_3" for target in targets):
            raise ValueError("boxes of targets[1] must have x2 > x1")
        return losses


def test_a_batch_that_the_model_refuses_is_named_in_training_and_in_validation():
    # "targets[1]" alone is no use: the order of the images is random.
    in_pairs = DataLoader(Scenes(), batch_size=2, collate_fn=collate, generator=torch.Generator())
    without = DataLoader(torch.utils.data.Subset(Scenes(), [0, 1]), 2, collate_fn=collate, generator=torch.Generator())
    wanted = r"^boxes of targets\[1\] must have x2 > x1 \(images of this batch: scene_2, scene_3\)$"
    model, states = Refusing(), [weights_of(Refusing())]
    with pytest.raises(ValueError, match=wanted) as caught:
        train(model, in_pairs, ONE_EPOCH, on_step=lambda _: states.append(weights_of(model)))
    assert isinstance(caught.value.__cause__, ValueError)
    assert same(weights_of(model), states[-1]), "the batch norm's statistics too"
    with pytest.raises(ValueError, match=wanted):
        train(model, without, ONE_EPOCH, validation=in_pairs)


def test_a_batch_with_targets_of_any_kind_can_be_named():
    # What is refused may be just that a target is no dict, or has no name.
    class RefusingAll(TinyDetector):
        def forward(self, images, targets=None):
            raise ValueError(f"{len(images)} images need dicts, not {targets}")

    def nameless(samples):
        return [image for image, _ in samples], [None, {}]

    data = DataLoader(Scenes(), batch_size=2, collate_fn=nameless, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"\(images of this batch: number 0 of the batch, number 1 of the batch\)$"):
        train(RefusingAll(), data, ONE_EPOCH)


# --- one step by hand ---------------------------------------------------------------------------------------------


def test_one_step_is_the_one_computed_by_hand():
    def whole_data():
        return DataLoader(Scenes(), batch_size=8, collate_fn=collate, generator=torch.Generator())

    settings = Settings(epochs=1, learning_rate=0.1, momentum=0.0, weight_decay=0.5, schedule="constant")
    model, reference = TinyDetector(), TinyDetector()
    history = train(model, whole_data(), settings)
    losses = reference(*next(iter(whole_data())))
    (losses["loss_box_reg"] + losses["loss_classifier"]).backward()
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        # Weight decay pulls on biases too, as in SGD's definition.
        torch.testing.assert_close(p, q - 0.1 * (q.grad + 0.5 * q))
    expected = {name: [pytest.approx(value.item())] for name, value in losses.items()}
    assert {name: history.steps[name] for name in losses} == expected
    assert history.steps["total"] == [pytest.approx((losses["loss_box_reg"] + losses["loss_classifier"]).item())]
    norm = math.sqrt(sum(float(q.grad.pow(2).sum()) for q in reference.parameters()))
    assert history.steps["gradient_norm"] == [pytest.approx(norm)]


def test_clipping_bounds_how_far_a_step_goes():
    settings = Settings(
        epochs=1, learning_rate=1.0, momentum=0.0, weight_decay=0.0, schedule="constant", clip_norm=0.01
    )
    model = TinyDetector()
    before = [p.detach().clone() for p in model.parameters()]
    data = DataLoader(Scenes(), batch_size=8, collate_fn=collate, generator=torch.Generator())
    history = train(model, data, settings)
    moved = math.sqrt(sum((p - q).pow(2).sum().item() for p, q in zip(model.parameters(), before, strict=True)))
    assert moved == pytest.approx(0.01, rel=1e-3)
    assert history.steps["gradient_norm"][0] > 0.01, "the history keeps the length before clipping"


def test_frozen_parameters_do_not_change_by_a_bit():
    model = TinyDetector()
    model.norm.requires_grad_(False)
    weight, head = model.norm.weight.clone(), model.head.weight.clone()
    train(model, loader(), SETTINGS)
    assert torch.equal(model.norm.weight, weight)
    assert not torch.equal(model.head.weight, head)
    with pytest.raises(ValueError, match="frozen"):
        train(model.requires_grad_(False), loader(), SETTINGS)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "constant"}, [1.0] * 8),
        # Three quarters of eight steps are six.
        ({"schedule": "step"}, [1.0] * 6 + [0.1] * 2),
        ({"schedule": "step", "drop_at": (0.25, 0.5)}, [1.0] * 2 + [0.1] * 2 + [0.01] * 4),
        ({"schedule": "cosine"}, [1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]),
        # From a thousandth up in equal steps; the drop stays where it was.
        ({"schedule": "step", "warmup_steps": 4}, [0.001, 0.25075, 0.5005, 0.75025, 1.0, 1.0, 0.1, 0.1]),
        (
            {"schedule": "cosine", "warmup_steps": 2},
            [0.001, 0.5005] + [1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)],
        ),
    ],
)
def test_the_learning_rate_follows_the_schedule_worked_out_by_hand(settings, expected):
    history = train(
        TinyDetector(), loader(batch_size=4), Settings(epochs=4, learning_rate=1.0, clip_norm=0.001, **settings)
    )
    assert history.steps["learning_rate"] == pytest.approx(expected)


# --- epochs, validation, precision, prediction --------------------------------------------------------------------


def test_the_history_has_a_value_a_step_and_a_value_an_epoch():
    calls = []
    history = train(
        TinyDetector(),
        loader(),
        SETTINGS,
        validation=loader(1),
        on_step=lambda h: calls.append(len(h.steps["total"])),
        after_epoch=lambda h: h.validation.setdefault("AP50", []).append(0.5),
    )
    assert calls == list(range(1, 10))
    assert {len(column) for column in history.steps.values()} == {9}
    assert {len(column) for column in [*history.train.values(), *history.validation.values()]} == {3}
    assert set(history.train) == {"total", "loss_box_reg", "loss_classifier", "accuracy"}
    # Eight images in batches of 3, 3, 2: the last one weighs less.
    totals = history.steps["total"][:3]
    assert history.train["total"][0] == pytest.approx((3 * totals[0] + 3 * totals[1] + 2 * totals[2]) / 8)


def test_validation_changes_neither_weights_nor_statistics_nor_generators():
    with_validation, without = TinyDetector(), TinyDetector()
    train(with_validation, loader(), SETTINGS, validation=loader(1))
    train(without, loader(), SETTINGS)
    assert same(weights_of(with_validation), weights_of(without)), "batch norm and generators would tell"


def test_validation_losses_move_only_because_the_weights_do():
    # Its sampler draws; with a draw of its own each epoch, the curve would jitter on unchanged weights.
    ordered = DataLoader(Scenes(), batch_size=2, collate_fn=collate, generator=torch.Generator())
    standing = Settings(epochs=3, learning_rate=1e-30, schedule="constant")
    model = TinyDetector()
    model.norm.momentum = 0.0  # its statistics stand still as well
    history = train(model, loader(), standing, validation=ordered)
    assert len(set(history.validation["total"])) == 1


def test_the_global_generators_are_not_touched():
    model = TinyDetector()
    before = torch.get_rng_state()
    train(model, loader(), SETTINGS, validation=loader(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_on_a_cpu_and_keeps_float32_weights(precision):
    seen = []
    model = TinyDetector()
    model.head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch would say that the schedule ran ahead of the first steps, left out
        history = train(model, loader(), replace(SETTINGS, precision=precision), validation=loader(1))
    assert set(seen) == {getattr(torch, precision)}
    assert model.head.weight.dtype == torch.float32
    exact = train(TinyDetector(), loader(), SETTINGS)
    assert history.train["total"] == pytest.approx(exact.train["total"], rel=0.05)


def test_a_step_that_float16_leaves_out_is_none_of_the_schedule_either(tmp_path):
    settings = Settings(3, 0.5, schedule="constant", warmup_steps=4, clip_norm=1.0, precision="float16")

    def run(path, stop=None):
        def remember(history):
            weights.append(weights_of(model)["head.weight"])
            if len(history.steps["total"]) == stop:
                raise KeyboardInterrupt

        return train(model, loader(), settings, checkpoint=path, resume=True, on_step=remember)

    model = TinyDetector()
    weights = [weights_of(model)["head.weight"]]
    history, expected = run(tmp_path / "whole.pth"), weights_of(model)
    made = [not torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert made[0] is False, "the scale starts too large"
    # The rate of a step counts the steps made before it: a thousandth, then in four steps up to 0.5.
    rises = [0.5 * (0.001 + 0.999 * min(sum(made[:n]), 4) / 4) for n in range(len(made))]
    assert history.steps["learning_rate"] == pytest.approx(rises)

    model = TinyDetector()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.pth", 5)
    resumed = run(tmp_path / "cut.pth")
    assert [resumed.steps[name] for name in ("total", "learning_rate")] == [
        history.steps[name] for name in ("total", "learning_rate")
    ]
    assert same(weights_of(model), expected)


def test_training_lowers_the_loss():
    history = train(TinyDetector(), loader(), Settings(epochs=15, learning_rate=0.1, clip_norm=10.0))
    assert history.train["total"][-1] < 0.5 * history.train["total"][0]


class WithProposals(TinyDetector):
    """Takes proposals, in a place of its own."""

    def forward(self, images, proposals, targets=None):
        assert [len(p) for p in proposals] == [1] * len(images)
        return super().forward(images, targets)


def test_a_detector_that_takes_proposals_gets_them():
    def collate_three(samples):
        images, targets = collate(samples)
        return images, targets, [target["boxes"] for target in targets]

    data = DataLoader(Scenes(), batch_size=2, collate_fn=collate_three, generator=torch.Generator())
    model = WithProposals()
    train(model, data, ONE_EPOCH, validation=data)
    assert len(predict(model, data)[0]) == 8


@pytest.mark.parametrize(
    "collate_fn",
    [
        None,  # torch's own: stacks images of one size
        lambda samples: tuple(zip(*samples, strict=True)),  # what torchvision's examples do, of samples of six parts
        lambda samples: samples,
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_data_loader_made_otherwise_is_told_how_to_make_one(collate_fn, batch_size):
    class Samples(Scenes):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            one = torch.ones(1)
            return Sample(image, target["boxes"], one.long(), one.bool(), target["image_id"], (4, 4))

    plain = DataLoader(Samples(), batch_size, collate_fn=collate_fn)
    pairs = DataLoader(Scenes(), batch_size, collate_fn=collate_fn and (lambda samples: samples))
    for wrong in (plain, pairs):
        for attempt in (
            lambda loader: train(TinyDetector(), loader, ONE_EPOCH),
            lambda loader: train(TinyDetector(), tiny_training.loader(), ONE_EPOCH, validation=loader),
            lambda loader: predict(TinyDetector(), loader),
        ):
            with pytest.raises(ValueError, match=r"with datasets\.batches\(\), or pass collate_fn=collate$"):
                attempt(wrong)


def test_predictions_come_image_by_image_with_their_targets_and_the_model_as_it_was():
    model = TinyDetector()
    model.norm.eval()  # a part that somebody put into evaluation stays there
    before = weights_of(model)
    data = DataLoader(Scenes(), batch_size=3, collate_fn=collate)
    predictions, targets = predict(model, data)
    assert [target["image_id"] for target in targets] == [f"scene_{i}" for i in range(8)]
    assert len(predictions) == 8
    assert model.training
    assert not model.norm.training
    assert same(weights_of(model), before)
    alone = copy.deepcopy(model).eval()([Scenes()[4][0]])[0]["boxes"]
    torch.testing.assert_close(predictions[4]["boxes"], alone)


def test_no_data_is_refused_with_a_reason():
    empty = DataLoader(Scenes(), batch_size=9, drop_last=True, collate_fn=collate)
    with pytest.raises(ValueError, match="no batches"):
        train(TinyDetector(), empty, ONE_EPOCH)
    with pytest.raises(ValueError, match="no batches"):
        train(TinyDetector(), loader(), ONE_EPOCH, validation=empty)
    with pytest.raises(ValueError, match="checkpoint="):
        train(TinyDetector(), loader(), ONE_EPOCH, resume=True)
