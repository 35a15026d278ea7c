"""Sequences of the unseen trainings: frames, tokens to reverse, names with tags, signals."""

from functools import cache

import torch
from torch import Tensor

from .data import LETTERS, names

VOWELS = set("aeiouy")
LENGTH = 12


@cache
def padded_names() -> tuple[Tensor, Tensor]:
    """Letters of names as ids, filled up with 0, and the lengths of the names."""
    texts = [name[:LENGTH] for name in names()]
    ids = torch.zeros(len(texts), LENGTH, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor([LETTERS.index(each) for each in text])
    return ids, torch.tensor([len(text) for text in texts])


def vowel_mask() -> Tensor:
    """True at the ids of the vowels."""
    return torch.tensor([letter in VOWELS for letter in LETTERS])


@cache
def last_letters() -> tuple[Tensor, Tensor, Tensor]:
    """Names, their lengths, and 1 for a name that ends with a vowel."""
    ids, lengths = padded_names()
    last = ids.gather(1, lengths[:, None] - 1).squeeze(1)
    return ids, lengths, vowel_mask()[last].long()


@cache
def double_letters() -> tuple[Tensor, Tensor]:
    """Names, and 1 for a name with the same letter twice in a row, as many as without."""
    ids, _ = padded_names()
    double = ((ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] > 0)).any(1)
    count = int(double.sum())
    without = (~double).nonzero().squeeze(1)[:count]
    rows = torch.cat([double.nonzero().squeeze(1), without])
    return ids[rows], double[rows].long()


@cache
def neighbors() -> tuple[Tensor, Tensor]:
    """Names, and the kinds of both neighbors of each letter; -100 behind the name."""
    ids, _ = padded_names()
    vowels = vowel_mask()[ids].long()
    before = vowels.roll(1, 1)
    before[:, 0] = 0
    behind = vowels.roll(-1, 1)
    behind[:, -1] = 0
    return ids, (2 * before + behind).masked_fill(ids == 0, -100)


@cache
def reversals(length: int = 5, symbols: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, their reversal behind a first token, and the reversal."""
    generator = torch.Generator().manual_seed(14)
    tokens = torch.randint(1, symbols, (6000, length), generator=generator)
    targets = tokens.flip(1)
    first = torch.zeros(len(tokens), 1, dtype=torch.long)
    return tokens, torch.cat([first, targets[:, :-1]], 1), targets


@cache
def speech(length: int = 24) -> tuple[Tensor, Tensor]:
    """Noisy frames of four sounds, each of which lasts four to six frames, and the sounds."""
    generator = torch.Generator().manual_seed(15)
    sounds = torch.randint(1, 6, (2000, 4), generator=generator)
    durations = torch.randint(4, 7, (2000, 4), generator=generator)
    ends = durations.cumsum(1)
    time = torch.arange(length).view(1, -1, 1)
    index = (time >= ends[:, None, :]).sum(2)
    padded = torch.cat([sounds, torch.zeros(2000, 1, dtype=torch.long)], 1)
    prototypes = torch.randn(6, 8, generator=generator)
    frames = prototypes[padded.gather(1, index)]
    return frames + 0.3 * torch.randn(frames.shape, generator=generator), sounds


@cache
def signals(length: int = 32) -> tuple[Tensor, Tensor]:
    """Sums of two sines of random frequencies, `(N, 24, 1)`, and how they go on for 8 steps."""
    generator = torch.Generator().manual_seed(16)
    rate = 0.2 + 0.5 * torch.rand(4000, 2, 1, generator=generator)
    phase = 6.28 * torch.rand(4000, 2, 1, generator=generator)
    series = torch.sin(rate * torch.arange(length) + phase).sum(1)
    series = series + 0.05 * torch.randn(series.shape, generator=generator)
    return series[:, :24, None], series[:, 24:]
