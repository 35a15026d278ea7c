"""Two fits compared: equal ones, rounding errors, and one change each of what a training is made of."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import FOUR, Regression, every_step, fit, loader, sgd, tanh_net
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import RunDifference, diff_runs
from callbacks.page.diff import difference_of
from callbacks.page.read_runs import read_run
from callbacks.page.run import Run, Series
from callbacks.page.tag_differences import (
    differences_of,
    number_difference,
    update_difference,
)

STAGES = ["parameters", "activations", "loss", "gradients", "updates"]

Make = Callable[[], nn.Module]


class Logged(Regression):
    """Logs its loss in every step."""

    factor = 1.0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.factor * super().training_step(batch, batch_idx)
        for logger in self.loggers:
            logger.log_metrics({"train/loss": loss.item()}, self.global_step)
        return loss


def run(
    folder: Path, name: str, make: Make = tanh_net, optimizer: Any = sgd, **options: Any
) -> Path:
    """Fits five steps, all of which are recorded, and returns the folder of the event files."""
    torch.set_num_threads(1)
    logger = TensorBoardLogger(folder, name=None, version=name)
    instruments = every_step(options.pop("kinds", FOUR), figures=False)
    module = options.pop("module", Logged)
    options = {"logger": logger, "log_every_n_steps": 1, **options}
    fit(lambda: module(make(), optimizer), instruments, **options)
    return Path(logger.log_dir)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs"), "base")


def scaled() -> nn.Module:
    net = tanh_net()
    with torch.no_grad():
        net[2].weight *= 1.01  # type: ignore[operator]
    return net


def reseeded() -> nn.Module:
    torch.manual_seed(1)
    return tanh_net()


def swapped() -> nn.Module:
    net = tanh_net()
    net[3] = nn.Hardtanh()
    return net


class Leaky(torch.autograd.Function):
    """Identity whose backward pass is wrong."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return 0.5 * grads[0]


class HalvedBackward(nn.Linear):
    """Linear layer that halves the gradient of its output."""

    def forward(self, input: Any) -> Any:  # noqa: A002
        return Leaky.apply(super().forward(input))


def halved() -> nn.Module:
    net = tanh_net()
    layer = HalvedBackward(8, 8)
    layer.load_state_dict(net[2].state_dict())
    net[2] = layer
    return net


class Doubled(Logged):
    """Has another loss function."""

    factor = 2.0


def reordered() -> DataLoader[Any]:
    data = loader().dataset
    assert isinstance(data, TensorDataset)
    order = torch.arange(40).flip(0)
    return DataLoader(TensorDataset(*(each[order] for each in data.tensors)), 8)


def late_order() -> DataLoader[Any]:
    """Batches that are others from the third on."""
    data = loader().dataset
    assert isinstance(data, TensorDataset)
    order = torch.cat([torch.arange(16), torch.arange(16, 40).flip(0)])
    return DataLoader(TensorDataset(*(each[order] for each in data.tensors)), 8)


def faster(params: Any) -> Any:
    return torch.optim.SGD(params, lr=0.11)


CHANGES: dict[str, tuple[dict[str, Any], str, int, str, str]] = {
    "seed": ({"make": reseeded}, "parameters", 0, "net.0.weight", "3 of 3 parameters"),
    "weight": ({"make": scaled}, "parameters", 0, "net.2.weight", "1 of 3 parameters"),
    "activation": ({"make": swapped}, "activations", 0, "net.3", "between net.1"),
    "batches": ({"data": reordered()}, "activations", 0, "net.1", "the batch"),
    "third batch": ({"data": late_order()}, "activations", 2, "net.1", "up to step 1"),
    "loss": ({"module": Doubled}, "loss", 0, "train/loss", "the loss function"),
    "backward": ({"make": halved}, "gradients", 0, "net.2.weight", "backward pass"),
    "rate": ({"optimizer": faster}, "updates", 0, "net.0.weight", "learning rate"),
}
"""Change by name: arguments of the fit, and the kind, step, place and a piece of the message that tell it."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named(change: str, base: Path, tmp_path: Path) -> None:
    arguments, kind, step, where, text = CHANGES[change]
    difference = diff_runs(base, run(tmp_path, "changed", **arguments))
    assert (difference.kind, difference.step, difference.where) == (kind, step, where)
    assert text in difference.message
    assert not difference.is_equal
    before = [row for row in difference.stages if row.differing == 0]
    assert [row.stage for row in before] == STAGES[: STAGES.index(kind)]
    assert difference.tag.endswith(where)
    assert difference.values is not None
    assert difference.values[0] != difference.values[1]


def test_a_backward_pass_is_named_by_the_last_layer_that_differs(
    base: Path, tmp_path: Path
) -> None:
    difference = diff_runs(base, run(tmp_path, "changed", make=halved))
    gradients = next(row for row in difference.stages if row.stage == "gradients")
    # Those of net.4.weight and of the output of net.3 are equal.
    assert (gradients.first, gradients.differing < gradients.tags) == (
        "net.2.weight",
        True,
    )


def test_without_update_ratios_the_optimizer_is_named_at_the_next_step(
    tmp_path: Path,
) -> None:
    kinds = [kind for kind in FOUR if kind.__name__ != "UpdateRatio"]
    slow = run(tmp_path, "slow", kinds=kinds)
    fast = run(tmp_path, "fast", optimizer=faster, kinds=kinds)
    difference = diff_runs(slow, fast)
    assert (difference.kind, difference.step) == ("parameters", 1)
    assert "in another way in step 0" in difference.message


def test_equal_fits_are_equal_to_the_last_bit(base: Path, tmp_path: Path) -> None:
    difference = diff_runs(base, run(tmp_path, "again"), tolerance=0)
    assert (difference.kind, difference.step, difference.is_equal) == (
        "equal",
        None,
        True,
    )
    assert "Equal to the last bit" in str(difference)


def test_another_dtype_is_rounding_or_a_change(base: Path, tmp_path: Path) -> None:
    double = run(tmp_path, "double", precision="64-true")
    assert diff_runs(base, double).kind == "rounding"
    exact = diff_runs(base, double, tolerance=0)
    assert (exact.kind, exact.step) == ("activations", 0)
    half = diff_runs(base, run(tmp_path, "half", precision="bf16-mixed"))
    assert (half.kind, half.step, half.where) == ("activations", 0, "net.1")
    assert "bf16" in half.message


def made_up(name: str, tags: dict[str, dict[int, float]]) -> Run:
    """Returns a run with numbers by tag and step."""
    numbers = {tag: Series(list(by), list(by.values())) for tag, by in tags.items()}
    return Run(name, name, numbers)


def shifted(sizes: dict[int, float]) -> tuple[Run, Run]:
    """Returns runs whose activations differ by a fraction at each step."""
    tag = "activation_std/tanh"
    ones = made_up("a", {tag: dict.fromkeys(sizes, 1.0)})
    return ones, made_up("b", {tag: {step: 1 - size for step, size in sizes.items()}})


class TestKinds:
    """Rounding errors that grow, and those behind which something else happens."""

    def kind(self, sizes: dict[int, float]) -> tuple[str, int | None]:
        difference = difference_of(*shifted(sizes), tolerance=1e-5)
        assert difference is not None
        return difference.kind, difference.step

    def test_growing_errors_drift(self) -> None:
        sizes = {0: 0.0, 1: 1e-7, 2: 9e-7, 4: 6e-6, 8: 4e-5, 16: 0.2}
        assert self.kind(sizes) == ("drift", 8)

    def test_errors_that_do_not_grow_are_rounding(self) -> None:
        assert self.kind({0: 1e-7, 1: 1e-7, 100: 9e-6}) == ("rounding", None)

    def test_a_jump_behind_rounding_is_no_drift(self) -> None:
        assert self.kind({0: 1e-7, 1: 1e-7, 2: 0.1}) == ("activations", 2)

    def test_a_jump_over_a_gap_is_told_by_equal_parameters(self) -> None:
        sizes = {64: 1e-7, 100: 0.1}
        assert self.kind(sizes) == ("drift", 100)
        first, second = shifted(sizes)
        weights = {"weight_std/w": Series([64, 100], [1.0, 1.0])}
        pair = [
            replace(each, numbers={**weights, **each.numbers})
            for each in (first, second)
        ]
        difference = difference_of(*pair, tolerance=1e-5)
        assert difference is not None
        assert difference.kind == "activations"

    def test_a_logged_number_is_the_last_that_is_judged(self) -> None:
        numbers = {"accuracy": {0: 0.5, 1: 0.5}, "weight_std/w": {0: 1.0, 1: 1.0}}
        changed = {"accuracy": {0: 0.25, 1: 0.5}, "weight_std/w": {0: 1.0, 1: 2.0}}
        first, second = made_up("a", numbers), made_up("b", changed)
        difference = difference_of(first, second, 1e-5)
        assert difference is not None
        assert (difference.kind, difference.step) == ("parameters", 1)
        third = made_up("c", {**changed, "weight_std/w": {0: 1.0, 1: 1.0}})
        difference = difference_of(first, third, 1e-5)
        assert difference is not None
        assert (difference.kind, difference.where) == ("numbers", "accuracy")

    def test_clocks_are_not_compared(self) -> None:
        runs = [made_up("a", {"epoch_time": {0: time}}) for time in (1.0, 2.0)]
        assert difference_of(*runs, tolerance=0) is None

    def test_nonfinite_values_of_one_run_differ(self) -> None:
        numbers = {"activation_std/tanh": {0: 1.0, 1: 1.0}}
        nan = {**numbers, "nonfinite/tanh": {1: 8.0}}
        for pair in ((numbers, nan), (nan, numbers)):
            runs = [made_up("ab"[place], each) for place, each in enumerate(pair)]
            difference = difference_of(*runs, tolerance=1e-5)
            assert difference is not None
            assert (difference.step, difference.tag) == (1, "nonfinite/tanh")
            json.dumps(difference.to_dict(), allow_nan=False)


class TestSizes:
    """Relative differences."""

    def test_a_mean_near_zero_is_rounded_at_the_scale_of_the_values(self) -> None:
        tag = "activation_mean/tanh"
        assert number_difference(tag, 1e-8, 2e-8, spread=1.0).size < 1e-7
        assert number_difference(tag, 1e-8, 2e-8).size == 0.5

    def test_a_value_across_a_threshold_is_no_difference(self) -> None:
        difference = number_difference("saturation/tanh", 0.1, 0.101)
        assert (difference.size, difference.is_exact) == (0.0, False)
        assert number_difference("dead_units/tanh", 0.1, 0.3).size > 0.1

    def test_an_update_loses_digits_to_its_parameter(self) -> None:
        assert update_difference(-3.0, -3.00001) == 0
        assert update_difference(-1.0, -1.00001) > 1e-5
        assert update_difference(-6.0, -6.5) > 1

    def test_nan_beside_a_number_is_infinitely_far(self) -> None:
        nan = float("nan")
        assert number_difference("train/loss", nan, 1.0).size == float("inf")
        assert number_difference("train/loss", nan, nan).is_exact

    def test_gradients_are_ordered_backwards(self, base: Path) -> None:
        tags = differences_of(*[read_run(base, "base")] * 2)
        places = [each.where for each in tags if each.stage == "gradients"]
        layers = ["net.4.weight", "net.3", "net.2.weight", "net.1", "net.0.weight"]
        assert list(dict.fromkeys(places)) == [*layers, "total", "clipped"]


def test_output(base: Path, tmp_path: Path) -> None:
    from rich.console import Console

    difference = diff_runs(base, run(tmp_path, "changed", make=swapped))
    assert isinstance(difference, RunDifference)
    fields = json.loads(json.dumps(difference.to_dict(), allow_nan=False))
    assert (fields["kind"], fields["where"]) == ("activations", "net.3")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(difference)
    text = console.export_text()
    for printed in (text, difference.to_markdown()):
        assert "activations, step 0: " in printed
        assert "largest difference" in printed


def test_wrong_arguments(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tolerance must be a number of 0 or more"):
        diff_runs(base, base, tolerance=float("nan"))
    with pytest.raises(ValueError, match="has no event file"):
        diff_runs(base, tmp_path)
    logger = TensorBoardLogger(tmp_path / "other", name=None, version="x")
    logger.log_metrics({"something": 1.0}, 0)
    logger.experiment.close()
    with pytest.raises(ValueError, match="no tag in common"):
        diff_runs(base, tmp_path / "other")
    run(tmp_path, "run", kinds=())
    with pytest.raises(ValueError, match="has 2 runs in it"):
        diff_runs(base, tmp_path)
    assert diff_runs(base, base).kind == "equal"
