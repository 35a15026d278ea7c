"""Networks to be observed: two small ones of the lecture, a ResNet and a GPT."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from makemore_lightning import MLP


class Workload(LightningModule):
    """A network, a loss, and batches without end."""

    def __init__(
        self, net: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.net, self.batch = net, batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.net(x).flatten(0, -2), y.flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([self.batch()] * 1000, batch_size=None)  # type: ignore[arg-type]


class Residual(nn.Module):
    """A ResNet's basic block."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.conv2, self.norm2 = (
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        same = stride == 1 and before == after
        self.skip = (
            nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        h += self.skip(x)
        return self.relu2(h)


def resnet18() -> nn.Module:
    """18 layers, 11 M parameters, for images of 32 x 32."""
    blocks: list[nn.Module] = [
        nn.Conv2d(3, 64, 3, 1, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
    ]
    width = 64
    for stage in range(4):
        for block in range(2):
            blocks.append(
                Residual(width, 64 * 2**stage, 2 if stage and not block else 1)
            )
            width = 64 * 2**stage
    return nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)
    )


class GPTBlock(nn.Module):
    """Attention and an MLP, each behind a norm and beside a residual path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out, self.heads = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
            heads,
        )
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            h.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for h in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """10 M parameters over bytes."""

    def __init__(self, width: int = 384, layers: int = 6, length: int = 128) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(GPTBlock(width, 6) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(
            self.norm(
                self.blocks(self.tokens(ids) + self.places.weight[: ids.shape[1]])
            )
        )


def ids(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape)


DEEP: dict[str, Any] = {
    "hidden_sizes": [100] * 5,
    "batchnorm": True,
    "head_batchnorm": True,
}
WORKLOADS: dict[str, Callable[[], Workload]] = {
    "mlp": lambda: Workload(MLP(27, 3), lambda: (ids(27, 32, 3), ids(27, 32))),
    "deep_batchnorm": lambda: Workload(
        MLP(27, 3, **DEEP), lambda: (ids(27, 32, 3), ids(27, 32))
    ),
    "resnet18": lambda: Workload(
        resnet18(), lambda: (torch.randn(64, 3, 32, 32), ids(10, 64))
    ),
    "gpt10m": lambda: Workload(GPT(), lambda: (ids(256, 8, 128), ids(256, 8, 128))),
}
