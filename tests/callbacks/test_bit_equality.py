"""Tests that training is the same with and without the instruments, to the last bit, and that memory is freed."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fits import ALL, Regression, every_step, fit, state_of, tanh_net
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from callbacks.measure.placement import simulated_device

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def with_dropout_and_batchnorm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Linear(8, 8),
        nn.Tanh(),
        nn.Linear(8, 1),
    )


class Residual(nn.Module):
    """Adds in place to what hooks have observed; calls one layer and one activation twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.activation, self.head = (
            nn.Linear(4, 4),
            nn.ReLU(inplace=True),
            nn.Linear(4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            h = self.layer(x)
            h += x
            x = self.activation(h)
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = (
            nn.LSTM(1, 5, num_layers=2, dropout=0.2, batch_first=True),
            nn.Linear(5, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.lstm(x.unsqueeze(-1))
        return self.head(outputs[:, -1])


class Functional(nn.Module):
    """Calls activation functions, in place among them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Linear(4, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(F.relu(self.first(x), inplace=True), 0.2, self.training)
        return self.head(F.gelu(self.second(x)).sigmoid_())


MODELS = [tanh_net, with_dropout_and_batchnorm, Residual, Recurrent, Functional]
EVERY_MODEL = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=0.01)


def states(make: Callable[[], nn.Module], **options: Any) -> tuple[str, str]:
    """Returns the digest after a fit with all instruments, and after one without."""

    def model() -> LightningModule:
        return Regression(make(), adam)

    instruments = every_step(layers=["*"], params=["*"], figures=False)
    return state_of(*fit(model, instruments, max_steps=7, **options)), state_of(
        *fit(model, max_steps=7, **options)
    )


@EVERY_MODEL
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.01},
        {"precision": "bf16-mixed"},
    ],
    ids=str,
)
def test_training_is_bit_equal(
    make: Callable[[], nn.Module], options: dict[str, Any]
) -> None:
    observed, bare = states(make, **options)
    assert observed == bare


@EVERY_MODEL
def test_training_is_bit_equal_on_the_path_of_an_accelerator(
    make: Callable[[], nn.Module],
) -> None:
    with simulated_device():
        observed, bare = states(make)
    assert observed == bare


def test_with_pictures(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    observed = state_of(
        *fit(lambda: Regression(tanh_net()), every_step(), logger=logger)
    )
    (events,) = tmp_path.rglob("events*")
    assert b"saturation_map" in events.read_bytes()
    assert observed == state_of(*fit(lambda: Regression(tanh_net())))


def test_the_digest_changes_with_a_random_number() -> None:
    class Draws(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            torch.rand(1)

    def model() -> LightningModule:
        return Regression(with_dropout_and_batchnorm(), adam)

    assert state_of(*fit(model, [Draws()])) != state_of(*fit(model))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_no_activation_is_kept_alive(kind: Any) -> None:
    layers = {} if kind.__name__ == "UpdateRatio" else {"layers": ["*"]}

    def alive(*instruments: Callback) -> int:
        result = fit(lambda: Regression(tanh_net()), instruments, max_steps=20)
        gc.collect()
        tensors = [
            thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)
        ]
        count = sum(tensor.numel() in (64, 8) for tensor in tensors)
        del result
        return count

    assert alive(kind(every_n_steps=1, figures=False, **layers)) <= alive() + 8


def test_copies_of_parameters_are_released_with_their_step() -> None:
    """Two copies of 100 000 values could not be overlooked."""
    net = nn.Sequential(nn.Linear(4, 25_000), nn.Tanh(), nn.Linear(25_000, 1))
    alive: list[int] = []

    class Counts(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            tensors = [
                thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)
            ]
            alive.append(
                sum(
                    tensor.numel() >= 100_000
                    for tensor in tensors
                    if not tensor.is_meta
                )
            )

    fit(lambda: Regression(net), [Counts()], max_steps=3)
    bare = max(alive)
    alive.clear()
    instruments = every_step(figures=False)
    fit(lambda: Regression(net), [*instruments, Counts()], max_steps=3)
    assert max(alive) <= bare
