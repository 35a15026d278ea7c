"""Tests of ActivationHistogram: its numbers against a plain loop, and the legend of its plot."""

from typing import Any

import pytest
import torch
from fits import (
    Regression,
    expect_close,
    expect_messages,
    fit,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from numpy_statistics import expect_histogram
from reference import steps_by_hand
from torch import Tensor, nn

from callbacks import ActivationHistogram
from callbacks.report.number_text import percent
from callbacks.report.plots import DensityPlot

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


class KeepsMeasurements(ActivationHistogram):
    """Keeps the measurements of its last record, for a plot."""

    def record(self, measurements: Any) -> Any:
        self.measurements = measurements
        return super().record(measurements)

    def plot(self) -> DensityPlot:
        (plot,) = self.plots(self.measurements).values()
        assert isinstance(plot, DensityPlot)
        return plot


@pytest.mark.parametrize(
    ("micro_batches", "options"),
    [(1, {}), (5, {"accumulate_grad_batches": 5}), (1, {"precision": "64-true"})],
    ids=str,
)
def test_against_a_plain_loop(micro_batches: int, options: dict[str, Any]) -> None:
    expected = steps_by_hand(tanh_net, 4, micro_batches=micro_batches)
    records = records_of(lambda: Regression(tanh_net()), max_steps=4, **options)
    plots = ("activation_mean", "activation_std")
    for step, reference in enumerate(expected):
        expect_close(
            numbers(records[step], *plots), numbers(reference, *plots), rel=2e-5
        )


def test_the_histogram_is_that_of_the_outputs() -> None:
    outputs: list[Tensor] = []

    class Keeps(nn.Tanh):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            outputs.append(super().forward(input).detach())
            return super().forward(input)

    instrument = ActivationHistogram(every_n_steps=1)
    fit(
        lambda: Regression(nn.Sequential(nn.Linear(4, 8), Keeps(), nn.Linear(8, 1))),
        [instrument],
        max_steps=1,
    )
    assert instrument.latest is not None
    expect_histogram(instrument.latest["activation/net.1"], outputs[0])  # type: ignore[arg-type]


def test_layers_in_the_order_of_their_first_call() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first, self.head = nn.Tanh(), nn.Sigmoid(), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.last(self.first(x)))

    instrument = KeepsMeasurements(every_n_steps=1)
    fit(lambda: Regression(Backwards()), [instrument], max_steps=1)
    assert instrument.latest is not None
    order = [tag for tag in instrument.latest if tag.startswith("activation/")]
    assert order == ["activation/net.first", "activation/net.last"]
    assert [curve.name for curve in instrument.plot().curves] == [
        "net.first",
        "net.last",
    ]


def test_legend() -> None:
    """The saturated fraction of activations; not of other layers, and not of activations that never saturate.

    ReLU's zeros are not called saturated.
    """
    instrument = KeepsMeasurements(every_n_steps=1, layers=["*"], threshold=0.5)
    activations = (nn.Tanh(), nn.LeakyReLU(), nn.ReLU())
    net = nn.Sequential(nn.Linear(4, 8), *activations, nn.Linear(8, 1))
    fit(lambda: Regression(net), [instrument], max_steps=2)
    plot = instrument.plot()
    cells = {curve.name: curve.cells for curve in plot.curves}
    assert (plot.title, plot.axis) == ("activations at step 1", "activation")
    assert [list(cells[f"net.{index}"]) for index in range(5)] == [
        ["mean", "std"],
        ["mean", "std", "sat"],
        ["mean", "std"],
        ["mean", "std", "zeros"],
        ["mean", "std"],
    ]
    zeros = next(curve for curve in plot.curves if curve.name == "net.3").histogram
    assert cells["net.3"]["zeros"] == percent(zeros.zeros / zeros.moments.count)


def test_the_saturated_fraction_is_not_a_number_of_this_instrument() -> None:
    instrument = ActivationHistogram(every_n_steps=1)
    fit(lambda: Regression(tanh_net()), [instrument], max_steps=1)
    assert not [tag for tag in instrument.latest or {} if "saturation" in tag]


def test_without_pictures_saturation_is_not_measured() -> None:
    assert len(ActivationHistogram(figures=False).requests) == 1
    assert len(ActivationHistogram().requests) == 2


def test_a_layer_without_finite_values_is_in_the_legend() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.nan

    instrument = KeepsMeasurements(every_n_steps=1, layers=["net.0", "net.1"])
    with runtime_warnings() as messages:
        fit(
            lambda: Regression(
                nn.Sequential(nn.Linear(4, 4), Breaks(), nn.Linear(4, 1))
            ),
            [instrument],
            max_steps=1,
        )
    expect_messages(
        messages,
        r"NaN or Inf in step 0, first in the output of net\.1 \(32 of its values\)",
    )
    curves = instrument.plot().curves
    assert [curve.name for curve in curves] == ["net.0", "net.1"]
    assert curves[1].cells == {"mean": "none", "std": "none"}
    assert instrument.latest is not None
    assert instrument.latest["nonfinite/net.1"] == 32
    assert not {"activation_mean/net.1", "activation_std/net.1"} & set(
        instrument.latest
    )
