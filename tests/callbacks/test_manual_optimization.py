"""Tests of manual optimization: several optimizers, raw ones, and several steps in a batch."""

from typing import Any

import pytest
import torch
from fits import (
    ByHand,
    Numbers,
    Regression,
    expect_close,
    expect_messages,
    fit,
    loader,
    numbers,
    records_of,
    runtime_warnings,
    sgd,
    tanh_net,
)
from foreign_optimizers import WithoutHooks, Wraps
from lightning.pytorch import Callback, LightningModule, Trainer
from reference import steps_by_hand
from torch import Tensor, nn

from callbacks import ActivationHistogram, GradStats, UpdateRatio

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


class TestTwoOptimizers:
    """Of a GAN, each network's gradients are read when its own optimizer steps."""

    class GAN(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
            self.critic = nn.Sequential(
                nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1)
            )
            self.expected: dict[str, float] = {}

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            of_generator, of_critic = self.optimizers()  # type: ignore[misc]
            self.expected = {}
            fake = self.generator(batch[0])
            of_critic.zero_grad()
            self.manual_backward(
                (self.critic(fake.detach()) - self.critic(batch[0] * 2)).mean()
            )
            self.note("critic", self.critic)
            of_critic.step()
            of_generator.zero_grad()
            self.manual_backward(
                -self.critic(self.generator(batch[0])).mean()
            )  # leaves gradients on the critic
            self.note("generator", self.generator)
            of_generator.step()

        def note(self, prefix: str, net: nn.Module) -> None:
            for name, param in net.named_parameters(prefix=prefix):
                assert param.grad is not None
                if param.ndim == 2:
                    self.expected[f"weight_grad_std/{name}"] = (
                        param.grad.double().std().item()
                    )

        def configure_optimizers(self) -> list[torch.optim.Optimizer]:  # type: ignore[override]
            return [
                torch.optim.SGD(self.generator.parameters(), lr=0.1),
                torch.optim.Adam(self.critic.parameters(), lr=0.01),
            ]

    def test_gan(self) -> None:
        class Compares(Callback):
            compared = 0

            def on_train_batch_end(
                self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any
            ) -> None:
                gradients, updates, activations = trainer.callbacks[:3]  # type: ignore[attr-defined]
                assert gradients.latest_step == Compares.compared
                expect_close(
                    numbers(gradients.latest, "weight_grad_std"), pl_module.expected
                )
                assert len(numbers(updates.latest, "update_ratio")) == 4
                # The generator is called twice in a batch, the critic three times.
                assert (
                    activations.latest["activation/generator.1"].moments.count
                    == 2 * 8 * 8
                )
                assert (
                    activations.latest["activation/critic.1"].moments.count == 3 * 8 * 8
                )
                Compares.compared += 1

        instruments = [
            kind(every_n_steps=1, figures=False)
            for kind in (GradStats, UpdateRatio, ActivationHistogram)
        ]
        with runtime_warnings() as messages:
            fit(self.GAN, [*instruments, Compares()], max_steps=10)
        assert Compares.compared == 5
        assert messages == []


@pytest.mark.parametrize("lightnings", [True, False])
def test_accumulation_by_hand(lightnings: bool) -> None:
    """A step is then of all batches until an optimizer steps, Lightning's wrapper or the raw one."""

    class EveryThird(ByHand):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.manual_backward(self.loss(batch) / 3)
            if batch_idx % 3 == 2:
                optimizer: Any = self.optimizers(use_pl_optimizer=lightnings)
                optimizer.step()
                optimizer.zero_grad()

    logger = Numbers()
    instruments = [
        kind(every_n_steps=1, figures=False)
        for kind in (GradStats, UpdateRatio, ActivationHistogram)
    ]
    with runtime_warnings() as messages:
        fit(
            lambda: EveryThird(tanh_net()),
            instruments,
            logger=logger,
            max_steps=-1,
            max_epochs=1,
            data=loader(rows=48),
        )
    tags: dict[int, set[str]] = {}
    for step, row in logger.rows:
        tags.setdefault(step or 0, set()).update(tag for tag in row if "/" in tag)
    tags = {step: names for step, names in tags.items() if names}
    assert set(tags) == {0, 3}
    for step in (0, 3):
        assert {
            "update_ratio/net.0.weight",
            "weight_grad_std/net.0.weight",
            "grad_norm/total",
        } <= tags[step]
    assert (instruments[2].latest or {})["activation/net.1"].moments.count == 3 * 64  # type: ignore[union-attr]
    assert messages == []


def test_a_raw_optimizer_has_gradients() -> None:
    """All numbers are those of a plain loop, as under Lightning's wrapper."""

    class Raw(ByHand):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    expected = steps_by_hand(tanh_net, 1, automatic=False)[0]
    record = records_of(lambda: Raw(tanh_net()), max_steps=1, max_epochs=1)[0]
    expect_close(numbers(record), expected, rel=2e-4, absolute=2e-6)


def test_a_step_without_an_optimizer() -> None:
    """Parameters that are moved in place have updates, and no gradients at a step."""

    class InPlace(ByHand):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.zero_grad()
            self.manual_backward(self.loss(batch))
            with torch.no_grad():
                for param in self.parameters():
                    param -= 0.1 * param.grad  # type: ignore[operator]

    plots = ("activation_std", "activation_grad_std", "weight_std", "update_ratio")
    with runtime_warnings() as messages:
        records = records_of(lambda: InPlace(tanh_net()), max_steps=-1, max_epochs=1)
    expect_close(
        numbers(records[0], *plots),
        numbers(steps_by_hand(tanh_net, 1)[0], *plots),
        rel=2e-4,
    )
    expect_messages(messages, "^GradStats finds no ")


class Repeats(ByHand):
    """Steps three times in each batch, each time with a loss of its own."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for scale in (1.0, 10.0, 100.0):
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch) * scale)
            optimizer.step()


class TestSeveralStepsInABatch:
    def test_values_are_those_of_the_first(self) -> None:
        with runtime_warnings() as messages:
            record = records_of(lambda: Repeats(tanh_net()), max_steps=3)[0]
        reference = steps_by_hand(tanh_net, 1, automatic=False)[0]
        plots = (
            "weight_grad_std",
            "grad_data_ratio",
            "grad_norm",
            "update_ratio",
            "weight_std",
        )
        expect_close(numbers(record, *plots), numbers(reference, *plots), rel=2e-5)
        expect_messages(
            messages,
            "^Training diagnostics: .* more than once in the batch of step 0; .*those of .*first",
        )

    def test_the_warning_comes_once(self) -> None:
        with runtime_warnings() as messages:
            fit(
                lambda: Repeats(tanh_net()),
                [UpdateRatio(every_n_steps=1, figures=False)],
                max_steps=15,
            )
        assert len(messages) == 1

    def test_of_two_optimizers_one_repeats(self) -> None:
        class TwoThenOne(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                for index in (0, 0, 1):
                    optimizer: Any = self.optimizers()[index]  # type: ignore[index]
                    self.zero_grad()
                    self.manual_backward(self.loss(batch))
                    optimizer.step()

            def configure_optimizers(self) -> list[torch.optim.Optimizer]:  # type: ignore[override]
                layers: Any = self.net
                return [
                    torch.optim.SGD(layers[index].parameters(), lr=0.1)
                    for index in (0, 2)
                ]

        with runtime_warnings() as messages:
            record = records_of(
                lambda: TwoThenOne(tanh_net()), max_steps=3, max_epochs=1
            )[0]
        expect_messages(messages, "more than once in the batch of step 0")
        first = steps_by_hand(lambda: tanh_net(), 1)[0]
        assert record["update_ratio/net.0.weight"] == pytest.approx(
            first["update_ratio/net.0.weight"], abs=1e-5
        )
        assert "update_ratio/net.2.weight" in record
        assert "update_ratio/net.4.weight" not in record


@pytest.mark.parametrize("make", [ByHand, Repeats])
@pytest.mark.parametrize("foreign", [WithoutHooks, Wraps])
def test_an_optimizer_without_hooks_has_the_numbers_of_its_twin(
    foreign: Any, make: Any
) -> None:
    with runtime_warnings():
        expected = records_of(lambda: make(tanh_net(), sgd), max_steps=6)
        records = records_of(lambda: make(tanh_net(), foreign), max_steps=6)
    plots = ("weight_grad_std", "grad_norm", "update_ratio", "activation_std")
    assert records.keys() == expected.keys()
    assert len(records) > 1
    for step, record in records.items():
        assert numbers(record, *plots) == numbers(expected[step], *plots)
        assert "update_ratio/net.4.weight" in record


def test_waiting_for_an_optimizer_is_warned_of() -> None:
    class NeverSteps(ByHand):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.loss(batch)

    with runtime_warnings() as messages:
        fit(
            lambda: NeverSteps(tanh_net()),
            [ActivationHistogram()],
            max_steps=-1,
            max_epochs=1,
            data=loader(rows=80, batch=1),
        )
    expect_messages(
        messages,
        "^Training diagnostics: no optimizer of this model has stepped in 64 batches since step 0",
    )


def test_regression_and_its_manual_twin_agree() -> None:
    plain, by_hand = (
        records_of(lambda kind=kind: kind(tanh_net())) for kind in (Regression, ByHand)
    )
    of_clipping = {"grad_norm/clipped", "grad_norm/clip_active"}
    for step in range(5):
        assert plain[step].keys() - by_hand[step].keys() == of_clipping
        both = {tag: plain[step][tag] for tag in by_hand[step]}
        expect_close(numbers(by_hand[step]), numbers(both))
