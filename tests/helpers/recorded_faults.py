"""Faults that FlightRecorder must place, and what a replay of its bundles gives.

    python tests/helpers/recorded_faults.py                    all faults, three seeds, under two minutes
    python tests/helpers/recorded_faults.py --only overflow --seeds 1

Each training is sound up to a step; then one thing goes wrong: in the batch, in the forward pass, in the backward pass,
in the optimizer, by the range of fp16. A row says whether the bundle has that step, that batch and that layer, and
whether a replay of it is bit-equal and names the same layer.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer, seed_everything
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[2]))

from callbacks import FlightRecorder, replay
from callbacks.recorder.bundle import batches_of, read_bundle

FAULTY_STEP = 40
BATCHES = 50
FEATURES, WIDTH, CLASSES, ROWS = 8, 32, 4, 16

Batch = list[Tensor]


class Scaled(nn.Module):
    """Passes its input on; while it is broken, something is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.function: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.function is None else self.function(x)


class Classifier(LightningModule):
    """MLP with BatchNorm, dropout and Adam, in which one thing goes wrong in one step.

    Args:
        break_at: Called with the model at the beginning of the faulty step.
        fault_of_loss: Done to the loss in the faulty step.
    """

    def __init__(
        self,
        break_at: Callable[["Classifier"], None] | None = None,
        fault_of_loss: Callable[[Tensor], Tensor] | None = None,
        faulty_batch: int = FAULTY_STEP,
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(FEATURES, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.Tanh(),
            Scaled(),
            nn.Linear(WIDTH, WIDTH),
            nn.Tanh(),
            nn.Dropout(0.1),
            nn.Linear(WIDTH, CLASSES),
        )
        self.break_at, self.fault_of_loss = break_at, fault_of_loss
        self.faulty_batch = faulty_batch

    @property
    def switch(self) -> Scaled:
        """The layer in the middle."""
        layer = self.net[3]
        assert isinstance(layer, Scaled)
        return layer

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        is_faulty = batch_idx == self.faulty_batch
        if is_faulty and self.break_at is not None:
            self.break_at(self)
        loss = F.cross_entropy(self.net(x), y)
        self.switch.function = None
        return self.fault_of_loss(loss) if is_faulty and self.fault_of_loss else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3, eps=1e-4)


class Regression(Classifier):
    """The same network, for the sum of the inputs."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        return F.mse_loss(self.net(x)[:, 0], y)


class BadRate(Classifier):
    """The learning rate is NaN for one step."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        is_faulty = self.trainer.global_step == FAULTY_STEP
        optimizer.param_groups[0]["lr"] = float("nan") if is_faulty else 3e-3


class LargeWeights(Classifier):
    """Something multiplies the weights of the last layer before the faulty step."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == FAULTY_STEP - 1:
            layer = self.net[7]
            assert isinstance(layer, nn.Linear)
            layer.weight.data.mul_(300.0)


class NoEpsilon(Classifier):
    """Adam without epsilon divides 0 by 0 where the first gradient of a parameter is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(2, CLASSES)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx < FAULTY_STEP:
            return loss
        return loss + self.late(torch.zeros(1, 2)).sum() * 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        late = {"params": self.late.parameters(), "eps": 0.0}
        return torch.optim.Adam([{"params": self.net.parameters()}, late], lr=3e-3)


class ByHand(Classifier):
    """Manual optimization with two optimizers, as of a GAN."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            loss = super().training_step(batch, batch_idx)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        first, last = self.net[:4], self.net[4:]
        return [torch.optim.Adam(half.parameters(), lr=3e-3) for half in (first, last)]


class RaisesOnNan(Classifier):
    """A training step with a check of its own, as many have."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if loss.isnan():
            raise ValueError("the loss is NaN")
        return loss


class WrongGradient(torch.autograd.Function):
    """Passes values on, and multiplies their gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # type: ignore[override]
        return gradients[0] * ctx.factor, None


@dataclass(frozen=True)
class Fault:
    """A fault that is placed.

    Attributes:
        kind: Part of the training that it is in.
        model: Returns a model; that of a replay is a new one.
        where: Names of places that are right.
        of_batch: Done to the inputs of the faulty batch.
        of_target: Done to its targets.
        faulty_batch: Number of the batch.
        step: Step on the axis of all plots.
        recorder: Arguments of FlightRecorder.
        trainer: Arguments of the Trainer.
    """

    kind: str
    model: Callable[[], Classifier]
    where: tuple[str, ...]
    of_batch: Callable[[Tensor], Tensor] | None = None
    of_target: Callable[[Tensor], Tensor] | None = None
    faulty_batch: int = FAULTY_STEP
    step: int = FAULTY_STEP
    recorder: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


def in_middle(function: Callable[[Tensor], Tensor]) -> Callable[[], Classifier]:
    """Returns a model whose middle layer does something else in the faulty step."""

    def break_at(model: Classifier) -> None:
        model.switch.function = function

    return lambda: Classifier(break_at)


def set_one(value: float) -> Callable[[Tensor], Tensor]:
    """Returns a function that sets one input of a batch."""

    def changed(x: Tensor) -> Tensor:
        x = x.clone()
        x[3, 2] = value
        return x

    return changed


def times_100(y: Tensor) -> Tensor:
    """Returns targets in another unit."""
    return y * 100.0


HALF = {"precision": "16-true"}
COPIES = {"state_every_n_steps": 1}

FAULTS: dict[str, Fault] = {
    "batch_nan": Fault("data", Classifier, ("batch",), set_one(float("nan"))),
    "batch_inf": Fault("data", Classifier, ("batch",), set_one(float("inf"))),
    "target_x100": Fault("data", Regression, ("batch.1",), of_target=times_100),
    "log_of_negative": Fault(
        "forward", in_middle(lambda x: torch.log(x - 9.0)), ("net.3",)
    ),
    "exp_overflow": Fault("forward", in_middle(lambda x: (x * 1e3).exp()), ("net.3",)),
    "zero_by_zero_in_loss": Fault(
        "forward", lambda: Classifier(fault_of_loss=lambda x: x * 0.0 / 0.0), ("",)
    ),
    "weights_x300": Fault("forward", LargeWeights, ("net.7",)),
    "nan_and_own_check": Fault(
        "forward",
        lambda: RaisesOnNan(lambda model: setattr(model.switch, "function", torch.log)),
        ("net.3",),
    ),
    "sqrt_of_zero": Fault(
        "backward", in_middle(lambda x: x + (x * 0.0).sqrt()), ("net.3",)
    ),
    "nan_derivative": Fault(
        "backward",
        in_middle(lambda x: WrongGradient.apply(x, float("nan"))),  # type: ignore[arg-type, return-value]
        ("net.3",),
    ),
    "gradient_x1e4": Fault(
        "backward",
        in_middle(lambda x: WrongGradient.apply(x, 1e4)),  # type: ignore[arg-type, return-value]
        ("net.1.bias", "net.1.weight"),
    ),
    "rate_nan": Fault("optimizer", BadRate, ("net.0.weight",), recorder=COPIES),
    "adam_without_epsilon": Fault(
        "optimizer", NoEpsilon, ("late.weight",), recorder=COPIES
    ),
    "fp16_overflow": Fault(
        "fp16", in_middle(lambda x: x * 1e3 * 1e3), ("net.3",), trainer=HALF
    ),
    "fp16_batch": Fault(
        "fp16", Classifier, ("batch.0",), lambda x: x * 0 + 3e4, trainer=HALF
    ),
    "fp16_gradient": Fault(
        "fp16",
        in_middle(lambda x: WrongGradient.apply(x, 1e9)),  # type: ignore[arg-type, return-value]
        ("net.3",),
        trainer=HALF,
    ),
    "accumulated": Fault(
        "data",
        lambda: Classifier(faulty_batch=-1),
        ("batch",),
        set_one(float("nan")),
        faulty_batch=4 * 10 + 2,
        step=10,
        trainer={"accumulate_grad_batches": 4},
    ),
    "by_hand": Fault(
        "forward",
        lambda: ByHand(break_at=lambda m: setattr(m.switch, "function", torch.log)),
        ("net.3",),
    ),
}


@dataclass(frozen=True)
class Placed:
    """What was right about the bundle of a fault, and of its replay."""

    step: bool
    batch: bool
    layer: bool
    equal: bool
    replayed_layer: bool
    message: str

    @property
    def is_right(self) -> bool:
        return all(vars(self)[name] for name in COLUMNS)


COLUMNS = ("step", "batch", "layer", "equal", "replayed_layer")
WRONG = Placed(False, False, False, False, False, "no bundle")


def batches_with(fault: Fault, seed: int) -> list[Batch]:
    """Returns the batches of a training, one of them with the fault."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for number in range(BATCHES):
        x = torch.randn(ROWS, FEATURES, generator=generator)
        y = (x[:, :CLASSES] + 0.3 * x[:, CLASSES:]).argmax(1)
        if fault.model is Regression:
            y = x.sum(1)
        if number == fault.faulty_batch:
            x = fault.of_batch(x) if fault.of_batch else x
            y = fault.of_target(y) if fault.of_target else y
        batches.append([x, y])
    return batches


def fit(fault: Fault, seed: int, folder: str) -> FlightRecorder:
    """Trains with the fault; what it raises ends there."""
    seed_everything(seed, verbose=False)
    recorder = FlightRecorder(dirpath=folder, figures=False, **fault.recorder)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **fault.trainer,
    )
    loader = DataLoader(batches_with(fault, seed), batch_size=None)  # type: ignore[arg-type]
    try:
        trainer.fit(fault.model(), loader)
    except ValueError as error:
        if "the loss is NaN" not in str(error):
            raise
    return recorder


def place(fault: Fault, seed: int) -> Placed:
    """Trains with the fault, and replays the first bundle."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorder = fit(fault, seed, folder)
        if not recorder.bundles:
            return WRONG
        path = recorder.bundles[0]
        bundle = read_bundle(path)
        again = replay(path, fault.model(), accelerator="cpu")
    faulty = batches_with(fault, seed)[fault.faulty_batch][0]
    kept = [each for each in batches_of(bundle) if each["step"] == bundle.step]
    if fault.trainer == HALF:
        faulty = faulty.half()
    return Placed(
        bundle.step == fault.step,
        any(
            torch.equal(each["batch"][0].nan_to_num(), faulty.nan_to_num())
            for each in kept
        ),
        bundle.facts["first"]["where"] in fault.where,
        again.is_equal,
        again.where in fault.where,
        bundle.facts["first"]["message"],
    )


def table_of(placed: dict[str, list[Placed]]) -> Table:
    """Returns a row a fault, with how many of the seeds were right."""
    table = Table("fault", "kind", *COLUMNS, box=None, pad_edge=False)
    for name, seeds in placed.items():
        counts = [sum(vars(each)[column] for each in seeds) for column in COLUMNS]
        cells = [f"{count}/{len(seeds)}" for count in counts]
        table.add_row(name, FAULTS[name].kind, *cells)
    return table


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seeds", type=int, default=3, help="seeds 1, 2, ...")
    options.add_argument("--only", default="", help="text in the names of faults")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    placed = {
        name: [place(fault, seed) for seed in range(1, arguments.seeds + 1)]
        for name, fault in FAULTS.items()
        if arguments.only in name
    }
    console = Console()
    console.print(table_of(placed))
    for name, seeds in placed.items():
        for each in seeds:
            if not each.is_right:
                console.print(f"{name}: {each.message}", highlight=False)


if __name__ == "__main__":
    main()
