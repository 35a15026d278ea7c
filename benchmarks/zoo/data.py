"""Data of the zoo: tables that scikit-learn ships, names, and synthetic data."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

NAMES = Path(__file__).parents[2] / "data" / "names.txt"
LETTERS = ".abcdefghijklmnopqrstuvwxyz"


class Batches:
    """Batches without end, each of rows that are drawn at random.

    Args:
        *tensors: Columns, such as inputs and targets, of as many rows each.
        size: Rows of a batch.
        seed: Seed of the rows.
    """

    def __init__(self, *tensors: Tensor, size: int = 64, seed: int = 0) -> None:
        self.tensors, self.size = tensors, size
        self.seed = seed if seed else torch.initial_seed()

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.tensors[0])
        while True:
            rows = torch.randint(count, (self.size,), generator=generator)
            yield tuple(tensor[rows] for tensor in self.tensors)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images of handwritten digits, 1797 x 64, pixels standardized as a whole, and their classes."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(classes)


def digit_images() -> tuple[Tensor, Tensor]:
    """Digits as images of 1 x 8 x 8."""
    x, y = digits()
    return x.view(-1, 1, 8, 8), y


def digit_pixels() -> Tensor:
    """Digits with pixels from 0 to 1, for autoencoders."""
    x, _ = digits()
    return (x - x.min()) / (x.max() - x.min())


@cache
def table(name: str) -> tuple[Tensor, Tensor]:
    """Table of scikit-learn with standardized columns: breast_cancer, diabetes or wine."""
    from sklearn import datasets

    rows, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    x, y = torch.tensor(rows, dtype=torch.float32), torch.tensor(targets)
    if y.is_floating_point():
        y = ((y - y.mean()) / y.std()).float()
    return (x - x.mean(0)) / x.std(0), y


@cache
def names(count: int = 3000) -> list[str]:
    """First names from the file of the project."""
    lines = NAMES.read_text().splitlines()
    plain = [line for line in lines if set(line) <= set(LETTERS)]
    return plain[:: max(1, len(plain) // count)]


@cache
def character_rows(length: int = 12) -> tuple[Tensor, Tensor]:
    """Names as rows of ids with the next characters as targets."""
    rows = []
    for name in names():
        text = f".{name}."[: length + 1].ljust(length + 1, ".")
        rows.append([LETTERS.index(letter) for letter in text])
    ids = torch.tensor(rows)
    return ids[:, :-1], ids[:, 1:]


@cache
def waves(length: int = 24) -> tuple[Tensor, Tensor]:
    """Noisy sines of four frequencies, `(N, length, 1)`, and the number of the frequency."""
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(4, (2000,), generator=generator)
    phase = torch.rand(2000, 1, generator=generator) * 6.28
    time = torch.arange(length).view(1, -1)
    rate = 0.25 * (classes + 1).view(-1, 1)
    noise = 0.3 * torch.randn(2000, length, generator=generator)
    return (torch.sin(rate * time + phase) * 1.4 + noise).unsqueeze(-1), classes


@cache
def spirals() -> tuple[Tensor, Tensor]:
    """Three interleaved spirals in the plane."""
    generator = torch.Generator().manual_seed(2)
    classes = torch.randint(3, (1500,), generator=generator)
    radius = torch.rand(1500, generator=generator)
    angle = 4 * radius + classes * 2.09 + 0.15 * torch.randn(1500, generator=generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return (points - points.mean(0)) / points.std(0), classes


@cache
def discs() -> tuple[Tensor, Tensor]:
    """Noisy images `(N, 1, 12, 12)` with a bright disc, and the class of each pixel."""
    generator = torch.Generator().manual_seed(3)
    centers = 2 + 8 * torch.rand(800, 2, 1, 1, generator=generator)
    radius = 1.5 + 2 * torch.rand(800, 1, 1, generator=generator)
    line = torch.arange(12.0)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    inside = (grid - centers).pow(2).sum(1).sqrt() < radius
    noise = 0.7 * torch.randn(800, 12, 12, generator=generator)
    images = (inside.float() * 2 + noise).unsqueeze(1)
    return (images - images.mean()) / images.std(), inside.long()


@cache
def rare_words() -> tuple[Tensor, Tensor]:
    """Texts of 10 words out of 500, most of them rare, and one of two topics."""
    generator = torch.Generator().manual_seed(4)
    weights = 1 / torch.arange(1.0, 501.0)
    words = torch.multinomial(weights, 30000, True, generator=generator)
    words = words.view(3000, 10)
    topics = (words % 2 == 0).sum(1) > 5
    return words, topics.long()


@cache
def wiggle() -> tuple[Tensor, Tensor]:
    """Smooth function of four numbers."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(3000, 4, generator=generator)
    y = torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] - 0.5 * x[:, 3]
    return x, (y - y.mean()) / y.std()
