"""Tests of measurements, instruments and observations that raise: training goes on."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import (
    ALL,
    Regression,
    every_step,
    expect_messages,
    expect_no_hooks,
    fit,
    runtime_warnings,
    state_of,
    tanh_net,
)
from lightning.pytorch.loggers import TensorBoardLogger
from tags import TAGS
from torch import Tensor, nn

from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


class ReturnsPair(nn.Module):
    """Returns its input, and a tensor without values, which cannot be measured."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.empty(3, 3, device="meta")


class WithPair(nn.Module):
    """Has one layer with an output that cannot be measured."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pair, self.head = tanh_net()[:4], ReturnsPair(), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pair(self.body(x))[0])


CHOSEN = ["net.body.1", "net.pair"]


class TestAMeasurementThatRaises:
    """Loses its own series, with one warning; all others, the other instruments and the training go on."""

    @pytest.mark.parametrize(
        ("kind", "statistic"),
        [(ActivationHistogram, "histogram"), (SaturationMap, "saturation")],
    )
    def test_warns_once_and_goes_on(self, kind: Any, statistic: str) -> None:
        bare = state_of(*fit(lambda: Regression(WithPair())))
        instrument = kind(every_n_steps=1, layers=CHOSEN, figures=False)
        with runtime_warnings() as messages:
            observed = state_of(*fit(lambda: Regression(WithPair()), [instrument]))
        assert observed == bare
        expect_messages(
            messages,
            rf"the {statistic} of the output of net\.pair\.1 failed in step 0.*meta device",
        )
        assert instrument.latest_step == 4
        plots = {tag.split("/")[0] for tag in TAGS[kind]}
        assert set(instrument.latest) == {
            f"{plot}/{name}" for plot in plots for name in ("net.body.1", "net.pair.0")
        }

    def test_one_warning_for_all_instruments(self) -> None:
        kinds = (ActivationHistogram, GradStats, UpdateRatio)
        instruments = [
            kind(every_n_steps=1, layers=CHOSEN, figures=False) for kind in kinds[:2]
        ]
        with runtime_warnings() as messages:
            fit(
                lambda: Regression(WithPair()),
                [*instruments, UpdateRatio(every_n_steps=1, figures=False)],
            )
        expect_messages(
            messages, r"the histogram of the output of net\.pair\.1 failed in step 0"
        )

    def test_an_axis_that_only_some_layers_have(self) -> None:
        """Of a layer with too few axes the saturation is off, of the others it goes on."""
        net = nn.Sequential(
            nn.Unflatten(1, (2, 2)), nn.Tanh(), nn.Flatten(), nn.Tanh(), nn.Linear(4, 1)
        )
        instrument = SaturationMap(every_n_steps=1, unit_dim=2)
        with runtime_warnings() as messages:
            fit(lambda: Regression(net), [instrument])
        expect_messages(
            messages,
            r"the saturation of the output of net\.3 failed in step 0.*IndexError",
        )
        assert set(instrument.latest or {}) == {"saturation/net.1", "dead_units/net.1"}

    def test_ends_no_training_where_warnings_are_errors(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        instrument = ActivationHistogram(every_n_steps=1, layers=CHOSEN)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            trainer, _ = fit(lambda: Regression(WithPair()), [instrument])
        assert trainer.global_step == 5
        assert (
            "the histogram of the output of net.pair.1 failed in step 0" in caplog.text
        )
        assert instrument.latest_step == 4

    def test_is_tried_again_in_the_next_fit(self) -> None:
        instrument = ActivationHistogram(every_n_steps=1, layers=CHOSEN)
        for _ in range(2):
            with runtime_warnings() as messages:
                fit(lambda: Regression(WithPair()), [instrument])
            expect_messages(messages, "failed in step 0")

    def test_a_parameter(self) -> None:
        class AddsParameter(Regression):
            """Has a parameter without values while it trains."""

            def on_train_start(self) -> None:
                self.net.spare = nn.Parameter(torch.empty(3, 3, device="meta"))

            def on_train_end(self) -> None:
                del self.net.spare

        instruments = [
            GradStats(every_n_steps=1, figures=False),
            UpdateRatio(every_n_steps=1, figures=False),
        ]
        with runtime_warnings() as messages:
            trainer, _ = fit(lambda: AddsParameter(tanh_net()), instruments)
        assert trainer.global_step == 5
        assert messages
        assert all(
            "net.spare" in message and "net.0" not in message for message in messages
        )
        gradients, updates = (
            set(instrument.latest or {}) for instrument in instruments
        )
        assert gradients == TAGS[GradStats]
        assert updates == TAGS[UpdateRatio]


class Broken(ActivationHistogram):
    """Raises in `record` or in `plots` from a step on."""

    def __init__(self, in_method: str, step: int, **options: Any) -> None:
        super().__init__(**options)
        self.in_method, self.step = in_method, step

    def record(self, measurements: Any) -> Any:
        return self._of("record", measurements, super().record)

    def plots(self, measurements: Any) -> Any:
        return self._of("plots", measurements, super().plots)

    def _of(self, method: str, measurements: Any, make: Callable[[Any], Any]) -> Any:
        if method == self.in_method and measurements.step >= self.step:
            raise ZeroDivisionError("out of luck")
        return make(measurements)


class TestAnInstrumentThatRaises:
    def test_in_record(self) -> None:
        """It is off for the rest of the fit; the others go on."""
        bare = state_of(*fit(lambda: Regression(tanh_net())))
        broken, other = Broken("record", 2, every_n_steps=1), GradStats(every_n_steps=1)
        with runtime_warnings() as messages:
            observed = state_of(*fit(lambda: Regression(tanh_net()), [broken, other]))
        assert observed == bare
        assert messages == [
            "Broken failed in step 2 and is off until the next fit. ZeroDivisionError: out of luck. Training goes on."
        ]
        assert (broken.latest_step, other.latest_step) == (1, 4)
        broken.step = 100
        fit(lambda: Regression(tanh_net()), [broken])
        assert broken.latest_step == 4

    def test_in_plots(self, tmp_path: Path) -> None:
        broken, other = (
            Broken("plots", 0, every_n_steps=1),
            GradStats(every_n_steps=1, figures=False),
        )
        with runtime_warnings() as messages:
            fit(
                lambda: Regression(tanh_net()),
                [broken, other],
                logger=TensorBoardLogger(tmp_path),
            )
        expect_messages(
            messages,
            "^Broken failed in step 0 and is off until the next fit. ZeroDivisionError",
        )
        assert (broken.latest_step, other.latest_step) == (0, 4)


class RaisingMapping(dict):
    """Output of a layer whose members cannot be listed."""

    def items(self) -> Any:
        raise ZeroDivisionError("out of luck")


class ReturnsMapping(nn.Module):
    """Returns a dict, one whose members cannot be listed from some call on."""

    def __init__(self, first_fault: int) -> None:
        super().__init__()
        self.first_fault, self.calls = first_fault, 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        return RaisingMapping(x=x) if self.calls > self.first_fault else {"x": x}


class WithMapping(nn.Module):
    def __init__(self, first_fault: int) -> None:
        super().__init__()
        self.body, self.last = tanh_net(), ReturnsMapping(first_fault)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))["x"]


@pytest.mark.parametrize("step", [0, 2])
def test_an_observation_that_raises(step: int) -> None:
    """All instruments are off, with one warning; training goes on, and no hook is left."""
    bare = state_of(*fit(lambda: Regression(WithMapping(step))))
    instruments = every_step(layers=["*"], figures=False)
    with runtime_warnings() as messages:
        trainer, module = fit(lambda: Regression(WithMapping(step)), instruments)
    assert state_of(trainer, module) == bare
    expect_messages(
        messages,
        f"^Training diagnostics failed in step {step} and are off until the next fit. ZeroDivision",
    )
    expect_no_hooks(module)
    last = None if step == 0 else step - 1
    assert [instrument.latest_step for instrument in instruments] == [last] * len(
        instruments
    )  # type: ignore[attr-defined]
    fit(lambda: Regression(tanh_net()), every_step(figures=False))
