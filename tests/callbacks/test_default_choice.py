"""Tests of the default choice of layers and parameters: nothing to measure, and a choice of 64."""

from collections.abc import Mapping
from typing import Any

import pytest
from fits import (
    ALL,
    Regression,
    every_step,
    expect_messages,
    fit,
    runtime_warnings,
    tanh_net,
)
from torch import Tensor, nn

from callbacks import (
    ActivationHistogram,
    GradStats,
    HealthCheck,
    NumberRange,
    SaturationMap,
    UpdateRatio,
)

EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


class WithoutParameters(Regression):
    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def configure_optimizers(self) -> None:  # type: ignore[override]
        return None

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx).requires_grad_()


class TestNothingToMeasure:
    """One warning, after the first due step, says why and what to do."""

    NO_LAYER = r"in step 0: WithoutParameters calls no activation.*layers=\[\.\.\.\]"
    WHY: Mapping[Any, str] = {
        ActivationHistogram: NO_LAYER,
        SaturationMap: NO_LAYER,
        UpdateRatio: r"parameter.*in step 0.*params=\[\.\.\.\]",
        GradStats: "finds no .* in step 0",
        NumberRange: "has nothing to measure in step 0: choose layers",
        HealthCheck: "nothing to judge in step 0: WithoutParameters has no parameters",
    }

    @EACH
    @pytest.mark.filterwarnings(
        "ignore:`LightningModule.configure_optimizers` returned `None`"
    )
    def test_a_model_without_parameters(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        with runtime_warnings() as messages:
            fit(WithoutParameters, [instrument])
        expect_messages(
            messages, f"^{kind.__name__} .*{self.WHY[kind]}.* Training goes on.$"
        )
        assert not instrument.latest

    def test_no_map_without_activations(self) -> None:
        with runtime_warnings() as messages:
            fit(lambda: Regression(nn.Linear(4, 1)), [SaturationMap(every_n_steps=1)])
        expect_messages(
            messages,
            r"^SaturationMap .* in step 0: Regression calls no activation.*layers=\[\.\.\.\]",
        )

    def test_no_map_of_activations_that_never_saturate(self) -> None:
        net = nn.Sequential(
            nn.Linear(4, 8),
            nn.LeakyReLU(),
            nn.Linear(8, 8),
            nn.PReLU(),
            nn.Linear(8, 1),
        )
        with runtime_warnings() as messages:
            fit(lambda: Regression(net), [SaturationMap(every_n_steps=1)])
        expect_messages(
            messages,
            r"^SaturationMap .* in step 0: .*LeakyReLU, PReLU.* never saturate",
        )

    def test_layers_that_are_never_called(self) -> None:
        class WithSpare(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.spare = nn.Linear(4, 1), nn.Tanh()

            def forward(self, x: Tensor) -> Tensor:
                return self.layer(x)

        instruments = every_step(layers=["net.spare"], figures=False)
        with runtime_warnings() as messages:
            fit(lambda: Regression(WithSpare()), instruments, max_steps=3)
        expect_messages(
            messages,
            *(
                f"^{name} .* none of .* was called"
                for name in ("ActivationHistogram", "SaturationMap")
            ),
        )

    def test_no_gradients_at_all(self) -> None:
        class Skips(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
                super().training_step(batch, batch_idx)

        instruments = every_step(figures=False)
        with runtime_warnings() as messages:
            fit(lambda: Skips(tanh_net()), instruments)
        expect_messages(
            messages, "^GradStats finds no gradient of any parameter in step 0"
        )
        updates = next(c for c in instruments if isinstance(c, UpdateRatio))
        assert set(updates.unmoved.values()) == {"no gradient"}


REDUCED = {"69 layers": "layers", "70 weight matrices": "params"}


class TestTheDefaultChoice:
    """Of a large model 64 layers and parameters, evenly spread over its depth; one warning says so."""

    def deep_net(self) -> nn.Module:
        """Returns 69 activations and 70 weight matrices that let gradients through."""
        linear = [nn.Linear(4, 4) for _ in range(70)]
        for layer in linear:
            nn.init.orthogonal_(layer.weight)
        return nn.Sequential(
            linear[0], *(m for layer in linear[1:] for m in (nn.Tanh(), layer))
        )

    def test_is_reduced_with_one_warning(self) -> None:
        instruments = every_step(figures=False)
        with runtime_warnings() as messages:
            fit(lambda: Regression(self.deep_net()), instruments, max_steps=1)
        reduced = [
            rf"Regression has {n}, of which 64 are observed.*{a}=\[\.\.\.\]"
            for n, a in REDUCED.items()
        ]
        expect_messages(messages, *reduced)
        latest = {
            tag: value for c in instruments for tag, value in (c.latest or {}).items()
        }
        for plot in (
            "activation_std",
            "activation_grad_std",
            "weight_std",
            "update_ratio",
            "saturation",
        ):
            assert sum(tag.startswith(f"{plot}/") for tag in latest) == 64, plot
        ends = {
            "saturation/net.1",
            "saturation/net.137",
            "weight_std/net.0.weight",
            "weight_std/net.138.weight",
        }
        assert ends <= set(latest)

    def test_not_with_patterns(self) -> None:
        instrument = ActivationHistogram(every_n_steps=1, layers=["Tanh"])
        with runtime_warnings() as messages:
            fit(lambda: Regression(self.deep_net()), [instrument], max_steps=1)
        assert messages == []
        assert instrument.latest is not None
        assert sum(tag.startswith("activation/") for tag in instrument.latest) == 69

    def test_the_total_norm_is_that_of_all_parameters(self) -> None:
        def norm(**options: Any) -> float:
            instrument = GradStats(every_n_steps=1, figures=False, **options)
            fit(lambda: Regression(self.deep_net()), [instrument], max_steps=1)
            assert instrument.latest is not None
            return instrument.latest["grad_norm/total"]  # type: ignore[return-value]

        with runtime_warnings():
            assert norm() == norm(layers=["*"], params=["*"])
