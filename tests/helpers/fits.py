"""Small fits of small models, and the records of the instruments that observe them."""

import contextlib
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
import torch.optim.optimizer as registry
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import _get_current_function_mode_stack
from torch.utils.data import DataLoader, TensorDataset

from callbacks import (
    ActivationHistogram,
    GradStats,
    HealthCheck,
    Histogram,
    NumberRange,
    SaturationMap,
    UpdateRatio,
)

FOUR = (ActivationHistogram, GradStats, UpdateRatio, SaturationMap)
"""Instruments whose numbers are compared with a plain loop."""

ALL = (*FOUR, NumberRange, HealthCheck)
ARGUMENTS: dict[type[Callback], set[str]] = {
    ActivationHistogram: {"layers"},
    GradStats: {"layers", "params"},
    UpdateRatio: {"params"},
    SaturationMap: {"layers"},
    NumberRange: {"layers", "params"},
    HealthCheck: {"layers", "params"},
}
"""Pattern arguments that each instrument has a use for."""

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SEED = 11
"""Seed of every fit."""

Configure = Callable[[Sequence[nn.Parameter]], Optimizer]
Record = dict[str, Any]


def sgd(params: Sequence[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(params, lr=0.1)


class Regression(LightningModule):
    """Fits a network to random targets; the first tensor that the network returns is the prediction."""

    def __init__(self, net: nn.Module, optimizer: Configure = sgd) -> None:
        super().__init__()
        self.net, self.make_optimizer = net, optimizer

    def forward(self, x: Tensor) -> Tensor:
        output = self.net(x)
        return output[0] if isinstance(output, tuple) else output

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return squared_error(self(x), y)

    def configure_optimizers(self) -> Optimizer:
        return self.make_optimizer(list(self.parameters()))


def squared_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Returns the loss of `Regression`."""
    return (prediction.flatten(1).mean(1, keepdim=True) - y).square().mean()


class ByHand(Regression):
    """Steps its optimizer in `training_step`, in manual optimization."""

    def __init__(self, net: nn.Module, optimizer: Configure = sgd) -> None:
        super().__init__(net, optimizer)
        self.automatic_optimization = False

    def loss(self, batch: list[Tensor]) -> Tensor:
        return super().training_step(batch, 0)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


def tanh_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)
    )


def saturated_net() -> nn.Sequential:
    """Returns a `tanh_net` whose first weights are far too large."""
    net = tanh_net()
    with torch.no_grad():
        net[0].weight *= 100  # type: ignore[operator]
    return net


def loader(
    shape: tuple[int, ...] = (4,), rows: int = 40, batch: int = 8
) -> DataLoader[Any]:
    """Returns random rows and targets; the same in every test."""
    generator = torch.Generator().manual_seed(7)
    data = TensorDataset(
        torch.randn(rows, *shape, generator=generator),
        torch.randn(rows, 1, generator=generator),
    )
    return DataLoader(data, batch_size=batch)


def fit(
    make: Callable[[], LightningModule],
    callbacks: Sequence[Callback] = (),
    *,
    data: DataLoader[Any] | None = None,
    val: DataLoader[Any] | None = None,
    **options: Any,
) -> tuple[Trainer, LightningModule]:
    """Fits a model from a seed; five steps unless `options` of the Trainer ask for others."""
    seed_everything(SEED, verbose=False)
    module = make()
    trainer = Trainer(callbacks=list(callbacks), **{**QUIET, "max_steps": 5, **options})
    trainer.fit(module, loader() if data is None else data, val)
    return trainer, module


def every_step(kinds: Sequence[Any] = FOUR, **options: Any) -> list[Any]:
    """Returns instruments, due at every step; `layers` and `params` go to those that have a use for them."""
    instruments: list[Any] = []
    for kind in kinds:
        unused = {"layers", "params"} - ARGUMENTS[kind]
        arguments = {
            name: value for name, value in options.items() if name not in unused
        }
        instruments.append(kind(**{"every_n_steps": 1, **arguments}))
    return instruments


class Recorder(Callback):
    """Keeps the records of a Trainer's instruments, by class name and step."""

    def __init__(self) -> None:
        self.records: dict[str, dict[int, Record]] = {}

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        for instrument in trainer.callbacks:  # type: ignore[attr-defined]
            if (
                isinstance(instrument, ALL)
                and instrument.latest_step is not None
                and instrument.latest is not None
            ):
                steps = self.records.setdefault(type(instrument).__name__, {})
                steps.setdefault(instrument.latest_step, dict(instrument.latest))


def records_of(
    make: Callable[[], LightningModule], layers: list[str] | None = None, **options: Any
) -> dict[int, Record]:
    """Fits with all instruments and returns their records together, by step."""
    recorder = Recorder()
    fit(make, [*every_step(figures=False, layers=layers), recorder], **options)
    together: dict[int, Record] = {}
    for steps in recorder.records.values():
        for step, record in steps.items():
            together.setdefault(step, {}).update(record)
    return together


def numbers(record: Mapping[str, Any], *plots: str) -> dict[str, float]:
    """Returns the scalars of a record, of some plots alone if any are named."""
    return {
        tag: value
        for tag, value in record.items()
        if isinstance(value, float) and (not plots or tag.split("/")[0] in plots)
    }


def expect_close(
    record: Mapping[str, float],
    expected: Mapping[str, float],
    rel: float = 1e-5,
    absolute: float = 1e-7,
) -> None:
    """Checks that two records have the same tags and, within a tolerance, the same numbers."""
    assert record == {
        tag: pytest.approx(value, rel=rel, abs=absolute)
        for tag, value in expected.items()
    }


def as_lists(value: Any) -> Any:
    """Returns a record, or records by any key, with histograms as lists, so that all of it can be compared."""
    if isinstance(value, dict):
        return {key: as_lists(member) for key, member in value.items()}
    return (
        [value.moments, value.bins.tolist(), value.counts.tolist()]
        if isinstance(value, Histogram)
        else value
    )


def state_of(trainer: Trainer, module: LightningModule) -> str:
    """Returns a digest of the weights, the optimizers' states and the random state."""
    buffer = io.BytesIO()
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    torch.save([module.state_dict(), optimizers, torch.get_rng_state()], buffer)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def expect_no_hooks(module: nn.Module) -> None:
    """Checks that no hook is left on a model, on its parameters, or on all optimizers."""
    for layer in module.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks
    for param in module.parameters():
        assert not param._backward_hooks
    assert not registry._global_optimizer_pre_hooks
    assert not registry._global_optimizer_post_hooks
    assert not _get_current_function_mode_stack()


class Numbers(Logger):
    """Logger that takes numbers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "numbers"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self.rows.append((step, metrics))

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        pass


@contextlib.contextmanager
def runtime_warnings() -> Iterator[list[str]]:
    """Collects the warnings of the instruments."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += [
        str(warning.message)
        for warning in caught
        if warning.category is RuntimeWarning
        and "_dynamo" not in warning.filename  # warns of Python 3.13.0
    ]


def expect_messages(messages: Sequence[str], *patterns: str) -> None:
    """Checks that there is one message for each pattern, in any order, and no other."""
    matches = [
        [index for index, message in enumerate(messages) if re.search(pattern, message)]
        for pattern in patterns
    ]
    assert len(messages) == len(patterns), messages
    assert sorted(index for indices in matches for index in indices) == list(
        range(len(messages))
    ), messages
