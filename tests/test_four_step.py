"""Four-step training: what learns, what stays, and that a break anywhere changes nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.four_step import DetectionNetwork, ProposalNetwork, four_step
from frcnn_lessons.metrics import evaluate_voc, proposal_recall
from frcnn_lessons.training import Settings, predict
from helpers import tiny_scenes
from helpers.draws import generator
from helpers.tiny_scenes import RPN_SMALL, scene, tiny_backbone

HEAD_SMALL = replace(tiny_scenes.HEAD_SMALL, batch_norm=True, nms_iou=0.5)
SHORT = Settings(2, 0.01, "adamw", schedule="cosine", warmup_steps=1, clip_norm=5.0)

pytestmark = pytest.mark.usefixtures("one_thread")


def loader(seed: int = 0) -> DataLoader:
    """One image of `scene` a batch."""
    images, targets = scene()
    samples = list(zip(images, targets, strict=True))
    return DataLoader(
        samples,
        shuffle=True,
        collate_fn=lambda batch: tuple(map(list, zip(*batch, strict=True))),
        generator=generator(seed),
    )


def new_model() -> FasterRCNN:
    return FasterRCNN(tiny_backbone(2), 2, RPN_SMALL, HEAD_SMALL, generator())


def run(settings=SHORT, **options):
    """The whole training, everything made anew from the same seeds."""
    model = new_model()
    histories = four_step(model, tiny_backbone(1), loader(), [settings] * 4, **options)
    return model, histories


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_in_each_step_what_learns_changes_and_nothing_else_does_by_a_bit():
    after: dict[int, dict[str, dict[str, torch.Tensor]]] = {}

    def remember(number, network, _):
        proposer = network if isinstance(network, ProposalNetwork) else network.proposer
        parts = {"rpn": proposer.rpn, "proposer's backbone": proposer.backbone, "backbone": network.backbone}
        if isinstance(network, DetectionNetwork):
            parts["head"] = network.head
        after[number] = {name: state(part) for name, part in parts.items()}

    model, _ = run(after_stage=remember)
    # Weights, and the means and variances of batch norm: all that is in a state dict.
    assert same(after[1]["rpn"], after[2]["rpn"])
    assert same(after[1]["backbone"], after[2]["proposer's backbone"])
    assert not same(after[1]["backbone"], after[2]["backbone"]), "the detector has a backbone of its own"
    assert same(after[2]["backbone"], after[3]["backbone"])
    assert not same(after[2]["rpn"], after[3]["rpn"])
    assert same(after[3]["rpn"], after[4]["rpn"])
    assert same(after[3]["backbone"], after[4]["backbone"])
    assert not same(after[2]["head"], after[4]["head"])
    # And what comes back is what the last step left.
    assert same(after[4]["backbone"], model.backbone.state_dict())
    assert same(after[4]["rpn"], model.rpn.state_dict())
    assert same(after[4]["head"], model.head.state_dict())


def test_both_backbones_learn_in_their_own_step():
    first_backbone, model = tiny_backbone(1), new_model()
    backbones = first_backbone, model.backbone
    before = [state(backbone) for backbone in backbones]
    changed = []

    def look(*_):
        changed.append([not same(old, new.state_dict()) for old, new in zip(before, backbones, strict=True)])

    four_step(model, first_backbone, loader(), [SHORT] * 4, after_stage=look)
    assert changed == [[True, False], [True, True], [True, True], [True, True]]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_training_broken_off_in_any_step_goes_on_to_the_same_bits(number, tmp_path):
    # Step 3 is the interesting one: what is frozen, what was trained twice and all generators must come back.
    expected, histories = run(checkpoints=tmp_path / "whole")

    class PowerCut(Exception):
        pass

    def cut(stage, history):
        if stage == number and len(history.steps["total"]) == 3:  # in the second epoch
            raise PowerCut

    broken = tmp_path / "broken"
    with pytest.raises(PowerCut):
        run(checkpoints=broken, on_batch=cut)
    assert sorted(path.name for path in broken.iterdir()) == [f"step_{k}.pt" for k in range(1, number + 1)]
    resumed, again = run(checkpoints=broken, resume=True)
    assert same(expected.state_dict(), resumed.state_dict())
    assert [history.steps for history in again] == [history.steps for history in histories]
    assert [len(history.steps["total"]) for history in again] == [4] * 4


def test_finished_steps_are_only_loaded_and_never_trained_over(tmp_path):
    expected, _ = run(checkpoints=tmp_path)
    with pytest.raises(FileExistsError, match=r"step_1\.pt exists already"):
        run(checkpoints=tmp_path)
    stepped = []
    again, _ = run(checkpoints=tmp_path, resume=True, on_batch=lambda *_: stepped.append(1))
    assert stepped == []
    assert same(expected.state_dict(), again.state_dict())


@pytest.mark.slow
def test_the_four_steps_make_a_detector():
    reports = {}

    def measure(number, network, _):
        predictions, targets = predict(network, loader())
        if isinstance(network, ProposalNetwork):
            reports[number] = proposal_recall([found["boxes"] for found in predictions], targets, [30])[0]
        else:
            reports[number] = evaluate_voc(predictions, targets).mean_ap

    settings = Settings(40, 0.005, "adamw", schedule="cosine", warmup_steps=5, clip_norm=5.0)
    model, _ = run(settings, after_stage=measure)
    assert reports == {1: 1.0, 2: pytest.approx(1.0, abs=0.3), 3: 1.0, 4: 1.0}
    assert evaluate_voc(*predict(model, loader())).mean_ap == 1.0, "steps 3 and 4 have brought the halves together"


def test_a_shared_map_is_computed_only_once():
    model = FasterRCNN(tiny_backbone(), 2, RPN_SMALL, HEAD_SMALL, generator())
    calls = []
    model.backbone.stages.register_forward_hook(lambda *_: calls.append(1))
    network = DetectionNetwork(ProposalNetwork(model.backbone, model.rpn), model.backbone, model.head)
    images, targets = next(iter(loader()))
    losses = network(images, targets)
    assert len(calls) == 1
    assert losses.keys() == {"loss_classifier", "loss_box_reg"}
    # In evaluation it is the joint detector, to the bit.
    network.eval(), model.eval()
    for a, b in zip(network(images), model(images), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_wrong_arguments_are_refused_before_anything_is_trained():
    model = new_model()
    before = state(model)
    with pytest.raises(ValueError, match="four, one for each step; got 1"):
        four_step(model, tiny_backbone(1), loader(), [SHORT])
    with pytest.raises(ValueError, match="one twice"):
        four_step(model, model.backbone, loader(), [SHORT] * 4)
    with pytest.raises(ValueError, match=r"\[\(4, 8\), \(4, 16\)\]"):
        four_step(model, tiny_backbone(1, channels=8), loader(), [SHORT] * 4)
    assert same(state(model), before)


def test_what_the_loop_takes_is_handed_on_to_each_of_the_four():
    _, histories = run(validation=loader(), generators={"torch": torch.default_generator})
    assert [set(history.validation) - {"total", "accuracy"} for history in histories] == [
        {"loss_objectness", "loss_rpn_box_reg"},
        {"loss_classifier", "loss_box_reg"},
    ] * 2


def test_a_target_for_each_image_is_asked_for():
    model = FasterRCNN(tiny_backbone(), 2, RPN_SMALL, HEAD_SMALL)
    proposer = ProposalNetwork(model.backbone, model.rpn)
    for network in (proposer, DetectionNetwork(proposer, model.backbone, model.head)):
        with pytest.raises(ValueError, match="each of the 1 images"):
            network([torch.zeros(3, 32, 32)], [])
