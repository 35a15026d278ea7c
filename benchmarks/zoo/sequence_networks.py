"""Sequence networks of the zoo: a GPT, recurrent networks, a transformer encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Block of a GPT: LayerNorm before attention and before the MLP; GELU as a function."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        shape = (rows, length, 3, self.heads, width // self.heads)
        query, key, value = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.project(mixed.transpose(1, 2).reshape(rows, length, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class GPT(nn.Module):
    """Language model of characters whose head shares the weights of the embedding."""

    def __init__(
        self, width: int = 32, length: int = 12, layers: int = 2, tied: bool = True
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(27, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 27, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Recurrent(nn.Module):
    """Recurrent network whose last output is classified."""

    def __init__(self, kind: str = "LSTM", layers: int = 1) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(1, 48, layers, batch_first=True)
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.rnn(x)
        return self.head(outputs[:, -1])


class CharacterRecurrent(nn.Module):
    """Recurrent language model of characters."""

    def __init__(self, kind: str = "GRU") -> None:
        super().__init__()
        self.embedding = nn.Embedding(27, 16)
        self.rnn = getattr(nn, kind)(16, 64, batch_first=True)
        self.head = nn.Linear(64, 27)

    def forward(self, ids: Tensor) -> Tensor:
        outputs, _ = self.rnn(self.embedding(ids))
        return self.head(outputs)


class Encoder(nn.Module):
    """Classifier of series, in patches of four, by PyTorch's own transformer encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 32)
        self.positions = nn.Parameter(0.02 * torch.randn(6, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x.reshape(len(x), 6, 4)) + self.positions
        return self.head(self.encoder(patches).mean(1))


class BagOfWords(nn.Module):
    """Mean of embeddings, most of whose rows are rarely used, before an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 16)
        self.fc1 = nn.Linear(16, 32)
        self.act1 = nn.ReLU()
        self.head = nn.Linear(32, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.act1(self.fc1(self.embedding(words).mean(1))))


class Temporal(nn.Module):
    """Dilated convolutions over time with residual connections."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 24, 3, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv1d(24, 24, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)
        )
        self.act = nn.SiLU()
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x.transpose(1, 2))
        for conv in self.convs:
            h = h + self.act(conv(h))
        return self.head(h.mean(2))


def sequence_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over all positions."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
