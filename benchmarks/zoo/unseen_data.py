"""Data of the unseen trainings: tables, points, ratings, graphs and images."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor


class Repeated:
    """The same batch without end.

    Args:
        *tensors: Columns of the batch.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        while True:
            yield self.tensors


def learned(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Returns four rows of five, which a training learns."""
    rows = shuffled(len(tensors[0]))
    rows = rows[: len(rows) * 4 // 5]
    return tuple(tensor[rows] for tensor in tensors)


def validated(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Returns the rows that a training does not learn."""
    rows = shuffled(len(tensors[0]))
    rows = rows[len(rows) * 4 // 5 :]
    return tuple(tensor[rows] for tensor in tensors)


def shuffled(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(6))


def standardized(x: Tensor) -> Tensor:
    """Columns with mean 0 and standard deviation 1."""
    return ((x - x.mean(0)) / x.std(0)).float()


@cache
def unscaled(name: str) -> tuple[Tensor, Tensor]:
    """Table of scikit-learn as shipped: columns and targets in their units."""
    from sklearn import datasets

    rows, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    y = torch.tensor(targets)
    return torch.tensor(rows).float(), y.float() if y.is_floating_point() else y


@cache
def moons() -> tuple[Tensor, Tensor]:
    """Two interleaved half circles."""
    from sklearn.datasets import make_moons

    points, classes = make_moons(1500, noise=0.1, random_state=0)
    return standardized(torch.tensor(points)), torch.tensor(classes)


@cache
def friedman() -> tuple[Tensor, Tensor]:
    """Friedman's first function of ten columns, of which five matter."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(2500, noise=0.5, random_state=0)
    return standardized(torch.tensor(x)), standardized(torch.tensor(y))


@cache
def topics() -> tuple[Tensor, Tensor]:
    """Word counts of documents and which of five topics each has, two on average."""
    from sklearn.datasets import make_multilabel_classification

    documents: Any = make_multilabel_classification(2000, random_state=0)
    x, y = map(torch.tensor, documents)
    return standardized(x), y.float()


@cache
def counts() -> tuple[Tensor, Tensor]:
    """Poisson counts whose rate depends on four columns."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(3000, 4, generator=generator)
    rate = torch.exp(1 + 0.8 * torch.sin(2 * x[:, 0]) + 0.4 * x[:, 1])
    return x, torch.poisson(rate, generator=generator)


@cache
def uneven_noise() -> tuple[Tensor, Tensor]:
    """Function of two columns whose noise grows with the second."""
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(3000, 2, generator=generator)
    noise = torch.randn(3000, generator=generator)
    return x, torch.sin(2 * x[:, 0]) + 0.2 * torch.exp(0.7 * x[:, 1]) * noise


@cache
def sales() -> tuple[Tensor, Tensor, Tensor]:
    """Three columns of categories, four of numbers, and a target."""
    generator = torch.Generator().manual_seed(9)
    effects = torch.randn(3, 20, generator=generator)
    categories = torch.randint(20, (4000, 3), generator=generator)
    numbers = torch.randn(4000, 4, generator=generator)
    effect = effects.gather(1, categories.T).sum(0)
    target = effect + numbers[:, 0] * numbers[:, 1] + numbers[:, 2]
    return categories, numbers, standardized(target)


@cache
def ratings() -> tuple[Tensor, Tensor]:
    """Ratings of 60 items by 80 users, from four hidden traits of each."""
    generator = torch.Generator().manual_seed(10)
    users, items = torch.randn(2, 80, 4, generator=generator)
    pairs = torch.stack(
        [torch.randint(count, (6000,), generator=generator) for count in (80, 60)], 1
    )
    scores = (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1)
    noise = 0.3 * torch.randn(6000, generator=generator)
    return pairs, standardized(scores + noise)


@cache
def communities() -> tuple[Tensor, Tensor, Tensor]:
    """Features of 240 nodes, the normalized adjacency, and which of four communities a node is in."""
    generator = torch.Generator().manual_seed(11)
    classes = torch.arange(240) % 4
    close = classes[:, None] == classes[None, :]
    chance = torch.where(close, 0.10, 0.01)
    edges = torch.rand(240, 240, generator=generator).triu(1) > 1 - chance
    adjacency = (edges | edges.T).float() + torch.eye(240)
    scale = adjacency.sum(1).rsqrt()
    features = torch.randn(240, 16, generator=generator)
    features[torch.arange(240), classes] += 1.0
    return features, scale[:, None] * adjacency * scale[None, :], classes


@cache
def point_sets() -> tuple[Tensor, Tensor]:
    """Sets of 12 points in space, and the range of the set along the first axis."""
    generator = torch.Generator().manual_seed(12)
    points = torch.randn(3000, 12, 3, generator=generator)
    height = points[:, :, 0].amax(1) - points[:, :, 0].amin(1)
    return points, standardized(height)


@cache
def picture(size: int = 32) -> tuple[Tensor, Tensor]:
    """Positions of pixels in [-1, 1], and the brightness of a picture of waves and a disc."""
    line = torch.linspace(-1, 1, size)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).view(-1, 2)
    x, y = grid.unbind(1)
    disc = (grid - 0.3).square().sum(1) < 0.2
    waves = torch.sin(9 * x) * torch.cos(7 * y)
    return grid, (0.5 + 0.25 * waves + 0.25 * disc).unsqueeze(1)


@cache
def triplets() -> tuple[Tensor, Tensor, Tensor]:
    """Two digits of a class, and a digit of another."""
    from .data import digits

    generator = torch.Generator().manual_seed(13)
    x, y = learned(*digits())
    anchors, others = torch.randint(len(x), (2, 12000), generator=generator)
    positives = torch.stack([alike(each, generator, y) for each in anchors])
    differ = y[anchors] != y[others]
    return x[anchors[differ]], x[positives[differ]], x[others[differ]]


def alike(row: Tensor, generator: torch.Generator, classes: Tensor) -> Tensor:
    rows = (classes == classes[row]).nonzero().squeeze(1)
    return rows[torch.randint(len(rows), (), generator=generator)]
