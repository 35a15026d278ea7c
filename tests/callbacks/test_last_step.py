"""The last step of a fit is due, wherever its length is known before."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fits import (
    ByHand,
    Numbers,
    Regression,
    fit,
    loader,
    tanh_net,
)
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from callbacks import UpdateRatio

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def observed_steps(
    make: Any, data: Any = None, *callbacks: Any, **arguments: Any
) -> list[int]:
    """Returns the steps that an instrument with few due steps has in its history."""
    instrument = UpdateRatio(every_n_steps=7, dense_start=False, figures=False)
    fit(make, [instrument, *callbacks], data=data, **arguments)
    return instrument.history["update_ratio/net.0.weight"].steps


def regression() -> LightningModule:
    return Regression(tanh_net())


class Alternating(ByHand):
    """Steps two optimizers in every batch, which `max_steps` counts both."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.net[place].parameters(), lr=0.1)  # type: ignore[index]
            for place in (0, 2)
        ]


class WithoutLength(IterableDataset[Any]):
    """Rows of a stream."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(40):
            yield torch.randn(4), torch.randn(1)


def test_by_steps() -> None:
    assert observed_steps(regression, max_steps=12) == [0, 7, 11]


def test_by_epochs() -> None:
    assert observed_steps(regression, max_steps=-1, max_epochs=2) == [0, 7, 9]


def test_whichever_ends_first() -> None:
    assert observed_steps(regression, max_steps=12, max_epochs=2) == [0, 7, 9]


def test_a_part_of_an_epoch() -> None:
    arguments = {"max_steps": -1, "max_epochs": 4, "limit_train_batches": 3}
    assert observed_steps(regression, **arguments) == [0, 7, 11]


def test_with_accumulation() -> None:
    """The last window of an epoch of five batches is short."""
    arguments = {"max_steps": -1, "max_epochs": 3, "accumulate_grad_batches": 2}
    assert observed_steps(regression, **arguments) == [0, 7, 8]


def test_by_hand() -> None:
    steps = observed_steps(lambda: ByHand(tanh_net()), max_steps=12)
    assert steps == [0, 7, 11]


def test_by_hand_in_epochs() -> None:
    make = lambda: ByHand(tanh_net())  # noqa: E731
    assert observed_steps(make, max_steps=-1, max_epochs=2) == [0, 7, 9]


def test_by_hand_with_two_optimizers() -> None:
    assert observed_steps(lambda: Alternating(tanh_net()), max_steps=24) == [0, 7, 11]


def test_a_stream_without_length() -> None:
    data = DataLoader(WithoutLength(), batch_size=8)
    assert observed_steps(regression, data, max_steps=-1, max_epochs=2) == [0, 7]
    assert observed_steps(regression, data, max_steps=9) == [0, 7, 8]


def test_an_accumulation_that_changes() -> None:
    """Lightning cannot tell the length of such a fit."""
    changing = GradientAccumulationScheduler({0: 1, 1: 2})
    assert observed_steps(regression, None, changing, max_steps=8)[:2] == [0, 7]


def test_a_fit_that_ends_before() -> None:
    """The last due step is in every log."""
    stopping = EarlyStopping("loss", patience=1, check_on_train_epoch_end=True)

    class Constant(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", 1.0)
            return loss

    steps = observed_steps(
        lambda: Constant(tanh_net()), None, stopping, max_steps=-1, max_epochs=9
    )
    assert steps == [0, 7]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_due_step_that_is_the_last_is_one_row(steps: int) -> None:
    logger = Numbers()
    fit(regression, [UpdateRatio(every_n_steps=2)], logger=logger, max_steps=steps)
    assert [step for step, _ in logger.rows] == list(range(steps))


def test_each_fit_has_a_last_step_of_its_own() -> None:
    instrument = UpdateRatio(every_n_steps=7, dense_start=False, figures=False)
    for length in (3, 5):
        fit(regression, [instrument], data=loader(), max_steps=length)
        assert instrument.latest_step == length - 1
