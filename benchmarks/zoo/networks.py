"""Networks of the zoo, small and with names that places can be told by."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
    dropout: float = 0,
) -> nn.Sequential:
    """MLP of layers `fc1`, `norm1`, `act1`, `drop1`, ..., and `head`."""
    net = nn.Sequential()
    for number, (before, after) in enumerate(pairwise(sizes[:-1]), start=1):
        net.add_module(f"fc{number}", nn.Linear(before, after))
        if norm is not None:
            net.add_module(f"norm{number}", norm(after))
        net.add_module(f"act{number}", activation())
        if dropout:
            net.add_module(f"drop{number}", nn.Dropout(dropout))
    net.add_module("head", nn.Linear(sizes[-2], sizes[-1]))
    return net


def kaiming(net: nn.Module, nonlinearity: str = "relu") -> nn.Module:
    """Draws the weights of all linear and convolution layers but the head by Kaiming's rule."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and name != "head":
            nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)  # type: ignore[arg-type]
    return net


def cnn(classes: int = 10, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Two convolutions and a hidden linear layer, `fc1` to `fc3`, for images of 1 x 8 x 8."""
    net = nn.Sequential()
    net.add_module("fc1", nn.Conv2d(1, 16, 3, padding=1))
    net.add_module("act1", activation())
    net.add_module("fc2", nn.Conv2d(16, 32, 3, padding=1))
    net.add_module("act2", activation())
    net.add_module("pool", nn.MaxPool2d(2))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc3", nn.Linear(32 * 16, 64))
    net.add_module("act3", activation())
    net.add_module("head", nn.Linear(64, classes))
    return net


def vgg() -> nn.Module:
    """VGG of four convolutions with BatchNorm, max-pooling and dropout."""
    net = nn.Sequential()
    for number, (before, after) in enumerate(pairwise([1, 16, 16, 32, 32]), start=1):
        net.add_module(
            f"conv{number}", nn.Conv2d(before, after, 3, padding=1, bias=False)
        )
        net.add_module(f"norm{number}", nn.BatchNorm2d(after))
        net.add_module(f"act{number}", nn.ReLU(inplace=True))
        if number % 2 == 0:
            net.add_module(f"pool{number}", nn.MaxPool2d(2))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc1", nn.Linear(128, 64))
    net.add_module("act5", nn.ReLU(inplace=True))
    net.add_module("drop", nn.Dropout(0.3))
    net.add_module("head", nn.Linear(64, 10))
    return net


class Residual(nn.Module):
    """Basic block of a ResNet; the last BatchNorm begins at zero.

    Args:
        width: Number of channels.
        gate: Adds a squeeze-and-excite gate.
        norm: False leaves out both BatchNorms.
    """

    def __init__(self, width: int, gate: bool = False, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=not norm)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=not norm)
        self.norm1 = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.gate = Gate(width) if gate else nn.Identity()
        if norm and not gate:
            nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.gate(self.norm2(self.conv2(h))))


class Gate(nn.Module):
    """Squeeze-and-excite: a sigmoid a channel, of the mean over all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // 4)
        self.relu = nn.ReLU()
        self.excite = nn.Linear(width // 4, width)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.excite(self.relu(self.squeeze(x.mean((2, 3)))))
        return x * self.sigmoid(scale)[:, :, None, None]


def resnet(gate: bool = False, norm: bool = True, blocks: int = 3) -> nn.Module:
    """ResNet for images of 1 x 8 x 8."""
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(1, 24, 3, padding=1, bias=False))
    net.add_module("stem_norm", nn.BatchNorm2d(24))
    net.add_module("stem_relu", nn.ReLU())
    for number in range(1, blocks + 1):
        net.add_module(f"block{number}", Residual(24, gate, norm))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(24, 10))
    return net


class ConvNext(nn.Module):
    """ConvNeXt block: depthwise convolution, LayerNorm, GELU, and a layer scale that begins near zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = self.scale * self.project(F.gelu(self.expand(h)))
        return x + h.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """Two ConvNeXt blocks for images of 1 x 8 x 8."""
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(1, 24, 2, 2))
    net.add_module("block1", ConvNext(24))
    net.add_module("block2", ConvNext(24))
    net.add_module("pool", nn.AdaptiveAvgPool2d(2))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(96, 10))
    return net


def unet() -> nn.Module:
    """Convolutions over pixels with two classes each as output."""
    net = nn.Sequential()
    widths = [1, 16, 16, 16]
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        net.add_module(f"fc{number}", nn.Conv2d(before, after, 3, padding=1))
        net.add_module(f"act{number}", nn.ReLU())
    net.add_module("head", nn.Conv2d(16, 2, 1))
    return net


class ResidualMLP(nn.Module):
    """Residual blocks of LayerNorm, linear layer, activation and linear layer.

    Args:
        inputs: Number of inputs.
        classes: Number of outputs.
        blocks: Number of blocks.
        activation: Class of the activations.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        blocks: int = 8,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, 48)
        self.norms = nn.ModuleList(nn.LayerNorm(48) for _ in range(blocks))
        self.blocks = nn.ModuleList(
            mlp([48, 96, 48], activation) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(48)
        self.head = nn.Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h = h + block(norm(h))
        return self.head(self.norm(h))
