"""Networks of the unseen trainings for images: MobileNet, ViT, Mixer, U-Net."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Inverted(nn.Module):
    """MobileNetV2's block: expand, depthwise, and a linear projection.

    Args:
        before: Channels of the input.
        after: Channels of the output.
        stride: Stride of the depthwise convolution.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        wide = 3 * before
        self.expand = nn.Conv2d(before, wide, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide)
        self.act1 = nn.ReLU6(inplace=True)
        self.depthwise = nn.Conv2d(
            wide, wide, 3, stride, padding=1, groups=wide, bias=False
        )
        self.norm2 = nn.BatchNorm2d(wide)
        self.act2 = nn.ReLU6(inplace=True)
        self.project = nn.Conv2d(wide, after, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(after)
        self.skips = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        h = self.act1(self.norm1(self.expand(x)))
        h = self.act2(self.norm2(self.depthwise(h)))
        h = self.norm3(self.project(h))
        return x + h if self.skips else h


def mobilenet() -> nn.Module:
    """MobileNetV2 with three blocks for images of 1 x 8 x 8."""
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(1, 12, 3, padding=1, bias=False))
    net.add_module("stem_norm", nn.BatchNorm2d(12))
    net.add_module("stem_act", nn.ReLU6(inplace=True))
    net.add_module("block1", Inverted(12, 12, 1))
    net.add_module("block2", Inverted(12, 20, 2))
    net.add_module("block3", Inverted(20, 20, 1))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("drop", nn.Dropout(0.1))
    net.add_module("head", nn.Linear(20, 10))
    return net


def groupnorm_cnn() -> nn.Module:
    """Three convolutions with GroupNorm for images of 1 x 8 x 8."""
    net = nn.Sequential()
    for number, (before, after) in enumerate([(1, 16), (16, 32), (32, 32)], start=1):
        conv = nn.Conv2d(before, after, 3, 1 + (number == 2), 1, bias=False)
        net.add_module(f"conv{number}", conv)
        net.add_module(f"norm{number}", nn.GroupNorm(4, after))
        net.add_module(f"act{number}", nn.ReLU())
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(32, 10))
    return net


class ViT(nn.Module):
    """Vision transformer with patches of 2 x 2 and a class token."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(17, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        for each in (self.cls, self.head.weight):
            nn.init.trunc_normal_(each, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = self.cls.expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], 1) + self.positions
        return self.head(self.norm(self.encoder(tokens))[:, 0])


class MixerBlock(nn.Module):
    """Mixer block whose branches are left out at random in training (stochastic depth)."""

    def __init__(self, tokens: int, width: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_tokens = perceptron(tokens, 2 * tokens)
        self.over_channels = perceptron(width, 2 * width)

    def skip(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch
        keeps = torch.rand(len(branch), 1, 1) >= self.drop
        return branch * keeps / (1 - self.drop)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.over_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.skip(mixed)
        return x + self.skip(self.over_channels(self.norm2(x)))


def perceptron(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Mixer(nn.Module):
    """MLP-Mixer with patches of 2 x 2."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        drops = (0.05, 0.1, 0.2)
        self.blocks = nn.Sequential(*(MixerBlock(16, width, drop) for drop in drops))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def stage(before: int, after: int) -> nn.Module:
    """Convolution, InstanceNorm and LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.InstanceNorm2d(after, affine=True),
        nn.LeakyReLU(0.1),
    )


class UNet(nn.Module):
    """U-Net of two scales whose output is added to its input."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = stage(1, width)
        self.bottom = stage(width, 2 * width)
        self.up = stage(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.down(images)
        coarse = self.bottom(F.max_pool2d(fine, 2))
        coarse = F.interpolate(coarse, scale_factor=2.0)
        return images + self.head(self.up(torch.cat([fine, coarse], 1)))
