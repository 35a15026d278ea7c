"""Tests of SaturationMap: its numbers against a plain loop, and its maps."""

from typing import Any

import numpy as np
import pytest
import torch
from fits import (
    Regression,
    expect_close,
    fit,
    loader,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from reference import steps_by_hand
from torch import Tensor, nn

from callbacks import SaturationMap
from callbacks.report.plots import MapPlot
from callbacks.saturation_map import MOST_MAPS

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
PLOTS = ("saturation", "dead_units")


class KeepsMeasurements(SaturationMap):
    """Keeps the measurements of its last record, for plots."""

    def record(self, measurements: Any) -> Any:
        self.measurements = measurements
        return super().record(measurements)

    def maps(self) -> dict[str, MapPlot]:
        plots = self.plots(self.measurements)
        assert all(isinstance(plot, MapPlot) for plot in plots.values())
        return plots  # type: ignore[return-value]


def conv_net() -> nn.Sequential:
    layers = (
        nn.Conv2d(3, 5, 3),
        nn.ReLU(),
        nn.Conv2d(5, 6, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 9, 1),
    )
    return nn.Sequential(nn.Unflatten(1, (3, 6, 6)), *layers)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
@pytest.mark.parametrize(
    ("micro_batches", "options"),
    [(1, {}), (5, {"accumulate_grad_batches": 5}), (1, {"precision": "64-true"})],
    ids=str,
)
def test_against_a_plain_loop(
    micro_batches: int, options: dict[str, Any], threshold: float
) -> None:
    expected = steps_by_hand(
        tanh_net, 4, micro_batches=micro_batches, threshold=threshold
    )
    instrument = SaturationMap(every_n_steps=1, threshold=threshold)
    for step, reference in enumerate(expected):
        fit(lambda: Regression(tanh_net()), [instrument], max_steps=step + 1, **options)
        assert instrument.latest is not None
        expect_close(numbers(instrument.latest), numbers(reference, *PLOTS), rel=1e-6)
    assert any(reference["saturation/net.3"] > 0 for reference in expected)


def test_channels_are_the_units_of_a_convolution() -> None:
    data = loader((3 * 6 * 6,))
    expected = steps_by_hand(conv_net, 3, data=data)
    records = records_of(lambda: Regression(conv_net()), max_steps=3, data=data)
    for step, reference in enumerate(expected):
        expect_close(
            numbers(records[step], *PLOTS), numbers(reference, *PLOTS), rel=1e-6
        )


def test_a_map_of_examples_and_units() -> None:
    class Fixed(nn.Module):
        """Returns two examples of three units, at two positions each."""

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tensor(
                [[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]
            )
            return h + 0 * x.mean()

    instrument = KeepsMeasurements(every_n_steps=1, layers=["net.1"])
    fit(
        lambda: Regression(nn.Sequential(nn.Linear(4, 4), Fixed())),
        [instrument],
        data=loader(rows=2),
        max_steps=1,
    )
    (plot,) = instrument.maps().values()
    assert plot.shades.dtype == np.uint8
    assert plot.shades.tolist() == [[255, 0, 0], [255, 0, 0]]  # the second position
    assert plot.places == (2,)
    assert plot.dead is not None
    assert plot.dead.tolist() == [True, False, False]
    assert plot.title.splitlines() == [
        "net.1 at step 0",
        "42% saturated (white), 1 of 3 units dead (orange)",
    ]
    assert instrument.latest == {"saturation/net.1": 5 / 12, "dead_units/net.1": 1 / 3}


class Shifted(nn.Module):
    """An activation of inputs that are moved, so that a fraction of its outputs is saturated."""

    def __init__(self, activation: nn.Module, *shifts: float) -> None:
        super().__init__()
        self.shifts, self.act = torch.tensor(shifts), activation

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * self.act(x + self.shifts)


def maps_of(*layers: nn.Module) -> KeepsMeasurements:
    instrument = KeepsMeasurements(every_n_steps=1)
    net = nn.Sequential(nn.Linear(4, 8), *layers, nn.Linear(8, 1))
    fit(lambda: Regression(net), [instrument], max_steps=1)
    return instrument


def test_the_most_saturated_layers_are_drawn() -> None:
    shifts = [0.0, 3.0, -0.5, 2.0, -1.0, 1.0, -2.0, 0.5, -0.2, 0.2, 5.0, 1.5]
    instrument = maps_of(*(Shifted(nn.Tanh(), shift) for shift in shifts))
    assert instrument.latest is not None
    fractions = {
        f"net.{index + 1}.act": instrument.latest[f"saturation/net.{index + 1}.act"]
        for index in range(12)
    }
    by_fraction = sorted(fractions, key=lambda name: -fractions[name])  # type: ignore[operator]
    assert list(instrument.maps()) == [
        f"saturation_map/{name}" for name in by_fraction[:MOST_MAPS]
    ]
    assert len(instrument.maps()) == 8 < len(fractions)


def test_of_relu_the_layers_with_dead_units_are_drawn_first() -> None:
    """A layer of which more values are zero is no worse, as long as all units live."""
    alive = Shifted(nn.ReLU(), *[0.0] * 8)
    dead = Shifted(nn.ReLU(), *[-50.0] * 2, *[2.0] * 6)
    instrument = maps_of(alive, Shifted(nn.Tanh(), 0.0), dead)
    assert instrument.latest is not None
    zeros = [instrument.latest[f"saturation/net.{index}.act"] for index in (1, 3)]
    assert zeros[0] > zeros[1]  # type: ignore[operator]
    tags = list(instrument.maps())
    assert tags[0] == "saturation_map/net.3.act"
    plot = instrument.maps()[tags[0]]
    first, second = plot.title.splitlines()
    assert first == "3.act at step 0"  # all names begin with "net"
    assert "zeros (white; half is normal), 2 of 8 units dead (orange)" in second
    assert plot.dead is not None
    assert plot.dead.tolist() == [True] * 2 + [False] * 6


def test_no_map_without_pictures() -> None:
    instrument = KeepsMeasurements(every_n_steps=1, figures=False)
    fit(lambda: Regression(tanh_net()), [instrument], max_steps=1)
    assert instrument.maps() == {}
    assert set(instrument.latest or {}) == {
        f"{plot}/net.{layer}" for plot in PLOTS for layer in (1, 3)
    }


def test_activations_that_never_saturate_have_no_series() -> None:
    net = nn.Sequential(
        nn.Linear(4, 8),
        nn.LeakyReLU(),
        nn.Linear(8, 8),
        nn.Tanh(),
        nn.PReLU(),
        nn.RReLU(),
        nn.ReLU(),
    )
    instrument = SaturationMap(every_n_steps=1)
    with runtime_warnings() as messages:
        fit(lambda: Regression(net), [instrument])
    assert messages == []
    assert set(instrument.latest or {}) == {
        f"{plot}/net.{layer}" for plot in PLOTS for layer in (3, 6)
    }


def test_gelu_is_judged_by_its_input() -> None:
    class FixedInput(nn.Module):
        """Returns inputs of which the first is far in GELU's flat end; the second has nearly the same output."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[-5.0, -1e-6, 1.0, 3.0]]) + 0 * x.mean()

    instrument = SaturationMap(every_n_steps=1)
    net = nn.Sequential(nn.Linear(4, 4), FixedInput(), nn.GELU())
    fit(lambda: Regression(net), [instrument], max_steps=1)
    assert instrument.latest == {"saturation/net.2": 0.25, "dead_units/net.2": 0.25}


def test_two_thresholds_at_a_time() -> None:
    low, high = (
        SaturationMap(every_n_steps=1, threshold=0.3),
        SaturationMap(every_n_steps=1, threshold=0.6),
    )
    fit(lambda: Regression(tanh_net()), [low, high], max_steps=1)
    for instrument, threshold in ((low, 0.3), (high, 0.6)):
        reference = steps_by_hand(tanh_net, 1, threshold=threshold)[0]
        assert instrument.latest is not None
        expect_close(numbers(instrument.latest), numbers(reference, *PLOTS), rel=1e-6)


@pytest.mark.parametrize(("unit_dim", "units"), [(None, 5), (1, 5), (2, 6), (-1, 6)])
def test_unit_dim(unit_dim: int | None, units: int) -> None:
    instrument = KeepsMeasurements(every_n_steps=1, unit_dim=unit_dim)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(180, 1),
    )
    fit(lambda: Regression(net), [instrument], data=loader((64,)), max_steps=1)
    (saturation,) = instrument.measurements.of(instrument.requests[0]).values()
    assert saturation.units == units
