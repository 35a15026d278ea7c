"""Tests of NaN and infinities, warned of once at the place where they began, and of a full disk."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import (
    Recorder,
    Regression,
    every_step,
    expect_messages,
    fit,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from callbacks import ActivationHistogram

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def nonfinite_warning(step: int, place: str, count: int) -> str:
    """Pattern of the one warning of NaN or Inf in a fit."""
    return (
        rf"^Training diagnostics: NaN or Inf in step {step}, first in the {place} \({count} of its values\)\. "
        r"Training goes on\.$"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_in_the_forward_pass_of_a_layer(value: float) -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            x[0, 0] = value
            return x

    net = nn.Sequential(
        nn.Linear(4, 8),
        nn.LeakyReLU(),
        Breaks(),
        nn.LeakyReLU(),
        nn.Linear(8, 8),
        nn.LeakyReLU(),
    )
    recorder = Recorder()
    with runtime_warnings() as messages:
        fit(
            lambda: Regression(net), [*every_step(figures=False), recorder], max_steps=1
        )
    record = recorder.records["ActivationHistogram"][0]
    assert record["nonfinite/net.3"] == 1
    assert record["nonfinite/net.5"] == 8
    assert not record.get("nonfinite/net.1")
    assert record["activation/net.3"].moments.count == 63
    nonfinite = [message for message in messages if "NaN" in message]
    expect_messages(nonfinite, nonfinite_warning(0, r"output of net\.3", 1))
    # LeakyReLU has no saturation series, which SaturationMap warns of.
    expect_messages(
        [message for message in messages if message not in nonfinite],
        "^SaturationMap .*LeakyReLU.*never",
    )


def test_in_a_function() -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.first(x))
            return self.second(
                torch.sigmoid(h / torch.tensor([0.0, 1.0, 1.0, 1.0]) * 0)
            )

    with runtime_warnings() as messages:
        records_of(lambda: Regression(Breaks()), max_steps=1)
    expect_messages(messages, nonfinite_warning(0, r"output of net\.sigmoid", 8))


def test_in_the_loss() -> None:
    class Breaks(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) + (
                math.nan if batch_idx == 2 else 0
            )

    with runtime_warnings() as messages:
        records_of(lambda: Breaks(tanh_net()))
    assert len(messages) == 1
    assert (
        "NaN or Inf in step 2" in messages[0] or "NaN or Inf in step 3" in messages[0]
    )


def test_in_a_gradient() -> None:
    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            gradient = gradient.clone()
            gradient[0, 0] = math.nan
            return gradient

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = tanh_net()[:4], nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(Breaks.apply(self.body(x)))  # type: ignore[arg-type]

    with runtime_warnings() as messages:
        record = records_of(lambda: Regression(Net()), max_steps=1)[0]
    # The layer whose gradient it is, not those before.
    expect_messages(
        messages, nonfinite_warning(0, r"gradient of the output of net\.body\.3", 1)
    )
    assert record["nonfinite/net.body.1"] > 0


def test_in_a_parameter() -> None:
    def broken() -> LightningModule:
        module = Regression(tanh_net())
        with torch.no_grad():
            module.net[2].weight[1, 1] = math.nan  # type: ignore[index]
        return module

    with runtime_warnings() as messages:
        records = records_of(broken, max_steps=2)
    expect_messages(
        messages, nonfinite_warning(0, r"parameter net\.2\.weight", 1)
    )  # once for all instruments
    assert records[0]["nonfinite/net.2.weight"] >= 1
    assert all(
        math.isfinite(value)
        for record in records.values()
        for value in numbers(record).values()
    )


def test_in_an_update() -> None:
    class BreaksUpdate(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:  # type: ignore[override]
            loss = super().step(closure)
            with torch.no_grad():
                self.param_groups[0]["params"][0][0, 0] = math.inf
            return loss

    with runtime_warnings() as messages:
        records_of(
            lambda: Regression(tanh_net(), lambda p: BreaksUpdate(p, lr=0.1)),
            max_steps=1,
        )
    expect_messages(messages, nonfinite_warning(0, r"update of net\.0\.weight", 1))


def test_in_a_parameter_that_no_series_is_for() -> None:
    """Gradients of all parameters are measured, for the norm, so that a NaN in a bias is noticed, too."""

    class Breaks(Regression):
        def on_after_backward(self) -> None:
            self.net[2].bias.grad[0] = math.nan  # type: ignore[index]

    with runtime_warnings() as messages:
        record = records_of(lambda: Breaks(tanh_net()), max_steps=1)[0]
    expect_messages(messages, nonfinite_warning(0, r"gradient of net\.2\.bias", 1))
    assert record["nonfinite/net.2.bias"] == 1


def test_once_a_fit_and_again_in_the_next() -> None:
    class Breaks(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step([batch[0] * math.nan, batch[1]], batch_idx)

    instruments = every_step(figures=False)
    for _ in range(2):
        with runtime_warnings() as messages:
            fit(lambda: Breaks(tanh_net()), instruments)
        expect_messages(messages, nonfinite_warning(0, r"output of net\.1", 64))


def test_a_count_is_written_from_the_first_time_that_it_is_not_zero() -> None:
    class Breaks(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            factor = math.nan if batch_idx == 1 else 1.0
            self.net[1](batch[0] * factor)  # type: ignore[index]
            return super().training_step(batch, batch_idx)

    with runtime_warnings():
        records = records_of(lambda: Breaks(tanh_net()))
    assert [records[step].get("nonfinite/net.1") for step in range(5)] == [
        None,
        32.0,
        0.0,
        0.0,
        0.0,
    ]


def test_a_full_disk_under_the_event_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, event: Any) -> None:
        if event.HasField("summary"):
            raise OSError("No space left on device")

    monkeypatch.setattr(
        "tensorboard.summary.writer.event_file_writer.EventFileWriter.add_event", full
    )
    instrument, logger = (
        ActivationHistogram(every_n_steps=1),
        TensorBoardLogger(tmp_path, default_hp_metric=False),
    )
    with runtime_warnings() as messages:
        fit(lambda: Regression(tanh_net()), [instrument], logger=logger)
    assert [message.split(".")[0] for message in messages] == [
        "TensorBoardLogger gets no more numbers of diagnostics"
    ]
    assert instrument.latest_step == 4
