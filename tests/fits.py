"""Small real fits, for the tests of the instruments."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

ALL = (ActivationHistogram, GradStats, UpdateRatio, SaturationMap)
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

Configure = Callable[[Sequence[nn.Parameter]], Optimizer]


def sgd(params: Sequence[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(params, lr=0.1)


class Regression(LightningModule):
    """Fits a network to random targets; whatever the network returns first is what it predicts."""

    def __init__(self, net: nn.Module, optimizer: Configure = sgd) -> None:
        super().__init__()
        self.net, self.make_optimizer = net, optimizer

    def forward(self, x: Tensor) -> Tensor:
        found = self.net(x)
        return found[0] if isinstance(found, tuple) else found

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return (self(x).flatten(1).mean(1, keepdim=True) - y).square().mean()

    def configure_optimizers(self) -> Optimizer:
        return self.make_optimizer(list(self.parameters()))


def tanh_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def loader(shape: tuple[int, ...] = (4,), rows: int = 40, batch: int = 8) -> DataLoader[Any]:
    """Random rows and targets; the same in every test."""
    generator = torch.Generator().manual_seed(7)
    data = TensorDataset(torch.randn(rows, *shape, generator=generator), torch.randn(rows, 1, generator=generator))
    return DataLoader(data, batch_size=batch)


def fit(
    make: Callable[[], LightningModule],
    callbacks: Sequence[Callback] = (),
    *,
    data: DataLoader[Any] | None = None,
    val: DataLoader[Any] | None = None,
    **options: Any,
) -> tuple[Trainer, LightningModule]:
    """Fits a model from a seed; five steps unless told otherwise."""
    seed_everything(11, verbose=False)
    module = make()
    trainer = Trainer(callbacks=list(callbacks), **{**QUIET, "max_steps": 5, **options})
    trainer.fit(module, loader() if data is None else data, val)
    return trainer, module


def every_step(**options: Any) -> list[Callback]:
    """All instruments, at every step."""
    return [instrument(every_n_steps=1, **options) for instrument in ALL]


class Recorder(Callback):
    """Keeps what the instruments of a Trainer said at each of their steps."""

    def __init__(self) -> None:
        self.said: dict[str, dict[int, dict[str, Any]]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for instrument in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(instrument, ALL) and instrument.latest_step is not None and instrument.latest is not None:
                steps = self.said.setdefault(type(instrument).__name__, {})
                steps.setdefault(instrument.latest_step, dict(instrument.latest))


class Numbers(Logger):
    """A logger that takes numbers alone."""

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
    """Collects what the instruments warn of."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    said += [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
