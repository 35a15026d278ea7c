"""Sequence networks of the unseen trainings."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from .sequence_networks import GPT


class RMSNorm(nn.Module):
    """Division by the root of the mean square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return x * scale * self.weight


def rotate(x: Tensor) -> Tensor:
    """Rotates pairs of channels by an angle that grows with the position (RoPE)."""
    length, width = x.shape[-2:]
    rates = 100.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    even, odd = x[..., 0::2], x[..., 1::2]
    first = even * angles.cos() - odd * angles.sin()
    second = even * angles.sin() + odd * angles.cos()
    return torch.stack([first, second], -1).flatten(-2)


class LlamaBlock(nn.Module):
    """RMSNorm before attention with rotary positions, and before a SwiGLU."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 2 * width, bias=False)
        self.expand = nn.Linear(width, 2 * width, bias=False)
        self.contract = nn.Linear(2 * width, width, bias=False)

    def attend(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        shape = (rows, length, 3, self.heads, width // self.heads)
        query, key, value = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            rotate(query), rotate(key), value, is_causal=True
        )
        return self.project(mixed.transpose(1, 2).reshape(rows, length, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        h = self.norm2(x)
        return x + self.contract(F.silu(self.gate(h)) * self.expand(h))


class Llama(nn.Module):
    """Language model of characters with blocks of Llama."""

    def __init__(self, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(27, width)
        self.blocks = nn.Sequential(*(LlamaBlock(width) for _ in range(layers)))
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, 27, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(ids))))


class CheckpointedGPT(GPT):
    """GPT that computes the activations of its blocks again in the backward pass."""

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(self.norm(x))


class Translator(nn.Module):
    """PyTorch's encoder-decoder transformer, with its norms behind the sums."""

    def __init__(self, symbols: int = 8, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(symbols, width)
        self.positions = nn.Embedding(5, width)
        self.transformer = nn.Transformer(width, 4, 1, 1, 64, 0.0, batch_first=True)
        self.head = nn.Linear(width, symbols)

    def embed(self, ids: Tensor) -> Tensor:
        return self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        length = target.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        decoded = self.transformer(
            self.embed(source), self.embed(target), tgt_mask=future
        )
        return self.head(decoded)


class Tagger(nn.Module):
    """Bidirectional LSTM with an output at each letter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(27, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 32, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(64, 4)

    def forward(self, ids: Tensor) -> Tensor:
        outputs, _ = self.lstm(self.embedding(ids))
        return self.head(self.drop(outputs))


class PackedGRU(nn.Module):
    """GRU over names of unequal lengths, whose last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(27, 16, padding_idx=0)
        self.gru = nn.GRU(16, 32, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return self.head(last[-1])


class Speech(nn.Module):
    """Convolution and bidirectional GRU over frames, with log-probabilities of sounds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 32, 3, padding=1)
        self.gru = nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 6)

    def forward(self, frames: Tensor) -> Tensor:
        h = F.relu(self.conv(frames.transpose(1, 2))).transpose(1, 2)
        outputs, _ = self.gru(h)
        return self.head(outputs).log_softmax(-1)


class TextCNN(nn.Module):
    """Convolutions of three widths over letters, their maxima over time, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(27, 16)
        self.convs = nn.ModuleList(nn.Conv1d(16, 32, width) for width in (2, 3, 4))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(96, 2)

    def forward(self, ids: Tensor) -> Tensor:
        letters = self.embedding(ids).transpose(1, 2)
        maxima: list[Any] = [F.relu(conv(letters)).amax(2) for conv in self.convs]
        return self.head(self.drop(torch.cat(maxima, 1)))


class ColumnTransformer(nn.Module):
    """FT-Transformer: a token for each column of a table, and one for the class."""

    def __init__(self, columns: int = 13, width: int = 24) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.shift = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.cls = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        layer: Any = nn.TransformerEncoderLayer(
            width, 4, 48, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.scale + self.shift
        first = self.cls.expand(len(x), -1, -1)
        return self.head(self.encoder(torch.cat([first, tokens], 1))[:, 0])
