"""Tests of all instruments in every way to optimize and in every precision, against a plain loop where there is one."""

import math
from typing import Any

import pytest
import torch
from fits import (
    ByHand,
    Numbers,
    Regression,
    expect_close,
    fit,
    loader,
    numbers,
    records_of,
    runtime_warnings,
    sgd,
    tanh_net,
)
from lightning.pytorch.plugins.precision import MixedPrecision
from reference import steps_by_hand
from torch import Tensor, nn

from callbacks import ActivationHistogram, UpdateRatio

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.01)


class TestAllNumbers:
    """Every number of every instrument, in three steps."""

    @pytest.mark.parametrize("make_optimizer", [sgd, adam])
    @pytest.mark.parametrize(
        ("micro_batches", "options"),
        [
            (1, {}),
            (5, {"accumulate_grad_batches": 5}),
            (1, {"precision": "64-true"}),
            (1, {"gradient_clip_val": 1e-3}),
            (1, {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value"}),
        ],
        ids=str,
    )
    def test_in_automatic_optimization(
        self, micro_batches: int, options: dict[str, Any], make_optimizer: Any
    ) -> None:
        def clip(params: list[nn.Parameter]) -> None:
            if options.get("gradient_clip_algorithm") == "value":
                nn.utils.clip_grad_value_(params, options["gradient_clip_val"])
            elif "gradient_clip_val" in options:
                nn.utils.clip_grad_norm_(params, options["gradient_clip_val"])

        expected = steps_by_hand(
            tanh_net,
            3,
            micro_batches=micro_batches,
            optimizer=make_optimizer,
            clip=clip,
        )
        records = records_of(
            lambda: Regression(tanh_net(), make_optimizer), max_steps=3, **options
        )
        for step, reference in enumerate(expected):
            expect_close(numbers(records[step]), reference, rel=2e-4, absolute=2e-6)

    @pytest.mark.parametrize("make_optimizer", [sgd, adam])
    def test_in_manual_optimization(self, make_optimizer: Any) -> None:
        expected = steps_by_hand(tanh_net, 3, optimizer=make_optimizer, automatic=False)
        records = records_of(lambda: ByHand(tanh_net(), make_optimizer), max_steps=3)
        for step, reference in enumerate(expected):
            expect_close(numbers(records[step]), reference, rel=2e-4, absolute=2e-6)

    @pytest.mark.parametrize(
        ("precision", "rel"), [("bf16-mixed", 0.05), ("bf16-true", 0.05)]
    )
    def test_in_half_precision(self, precision: Any, rel: float) -> None:
        plots = (
            "activation_std",
            "activation_grad_std",
            "weight_std",
            "weight_grad_std",
            "grad_data_ratio",
        )
        reference = steps_by_hand(tanh_net, 1)[0]
        record = records_of(
            lambda: Regression(tanh_net()), max_steps=1, precision=precision
        )[0]
        expect_close(numbers(record, *plots), numbers(reference, *plots), rel)


class TestOptimization:
    def test_lbfgs_is_observed_where_its_step_begins(self) -> None:
        """It evaluates the loss several times; only the first is of the parameters before the step."""

        def lbfgs(params: Any) -> torch.optim.Optimizer:
            return torch.optim.LBFGS(params, lr=0.1, max_iter=4)

        plots = (
            *(
                "activation_mean",
                "activation_std",
                "activation_grad_std",
                "weight_grad_std",
                "weight_std",
            ),
            *("saturation", "grad_norm"),
        )
        record = records_of(lambda: Regression(tanh_net(), lbfgs), max_steps=1)[0]
        expect_close(
            numbers(record, *plots), numbers(steps_by_hand(tanh_net, 1)[0], *plots)
        )
        assert record["activation/net.1"].moments.count == 8 * 8

    def test_a_short_last_window_of_accumulation(self) -> None:
        records = records_of(
            lambda: Regression(tanh_net()), accumulate_grad_batches=2, max_steps=6
        )
        assert [
            records[step]["activation/net.1"].moments.count for step in range(6)
        ] == [128, 128, 64] * 2

    def test_a_parameter_without_gradient(self) -> None:
        class Unused(Regression):
            def __init__(self) -> None:
                super().__init__(tanh_net())
                self.spare = nn.Linear(3, 3)

        record = records_of(Unused)[0]
        assert "weight_std/spare.weight" in record
        assert not [
            tag
            for tag in record
            if "spare" in tag and ("grad" in tag or "update" in tag)
        ]

    def test_a_step_that_the_model_skips(self) -> None:
        class EveryOther(Regression):
            def optimizer_step(  # type: ignore[override]
                self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None
            ) -> None:
                if batch_idx % 2 == 0:
                    super().optimizer_step(epoch, batch_idx, optimizer, closure)
                else:
                    closure()

        logger, updates = Numbers(), UpdateRatio(every_n_steps=1, figures=False)
        instruments = [updates, ActivationHistogram(every_n_steps=1, figures=False)]
        fit(
            lambda: EveryOther(tanh_net()),
            instruments,
            logger=logger,
            max_steps=2,
            max_epochs=1,
        )
        tags = {
            step: {tag for tag in row if "/" in tag} for step, row in logger.rows if row
        }
        assert "activation_std/net.1" in tags[1]
        for line in updates.state_dict()["ratios"].values():
            assert [ratio is None for ratio in line] == [False, True]
        assert set(updates.unmoved.values()) == {"no step"}


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaler_that_skips_a_step(fused: bool) -> None:
    class Overflows(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * math.inf if self.trainer.global_step == 1 else loss

    def make_optimizer(params: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, lr=0.01, fused=fused)

    plugin = MixedPrecision(
        "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0)
    )
    with runtime_warnings() as messages:
        records = records_of(
            lambda: Overflows(tanh_net(), make_optimizer), plugins=[plugin], max_steps=4
        )
    assert messages == []  # an infinity is how a scaler finds its scale
    assert records[1]["nonfinite/net.0.weight"] == 32
    assert not numbers(records[1], "update_ratio")
    assert len(numbers(records[2], "update_ratio")) == 3
    assert all(
        math.isfinite(value)
        for record in records.values()
        for value in numbers(record).values()
    )


def test_batches_are_those_of_the_reference() -> None:
    """The loader of the fits returns the same rows each time; a plain loop would say nothing otherwise."""
    first, second = list(loader()), list(loader())
    assert all(
        torch.equal(x, y)
        for one, two in zip(first, second, strict=True)
        for x, y in zip(one, two, strict=True)
    )
