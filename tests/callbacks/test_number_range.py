"""Tests of NumberRange: numbers equal to casting the tensors of a plain loop, in every regime, and the table."""

import json
import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from casting import fractions_by_casting, ranges_by_hand, wide_net
from fits import (
    ByHand,
    Numbers,
    Regression,
    every_step,
    fit,
    runtime_warnings,
    sgd,
    tanh_net,
)
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional as F

from callbacks import (
    ActivationHistogram,
    GradStats,
    HealthCheck,
    NumberRange,
    UpdateRatio,
)
from callbacks.measure.accumulate import Accumulator
from callbacks.measure.casts import Casts
from callbacks.measure.formats import FORMATS
from callbacks.measure.placement import simulated_device
from callbacks.probe import step
from callbacks.ranges.range_row import MOST_LOST, RangeRow
from callbacks.ranges.range_table import RangeTable

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
STEPS = 3


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.01)


class Keeps(NumberRange):
    """Keeps the record of each step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(every_n_steps=1, **options)
        self.records: list[Any] = []

    def observe(self, measurements: Any) -> Any:
        logged = super().observe(measurements)
        self.records.append(self.latest)
        return logged


def records_of(make: Any, **options: Any) -> list[dict[str, float]]:
    """Fits with NumberRange alone and returns its records, by step."""
    instrument = Keeps()
    fit(make, [instrument], max_steps=STEPS, **options)
    return instrument.records


class TestNumbersAreThoseOfCasting:
    """Equal to the last count: a plain loop does the same operations."""

    def test_the_network_has_values_of_all_kinds(self) -> None:
        (record,) = ranges_by_hand(wide_net, 1)
        for name in ("fp16", "e4m3", "e5m2"):
            for kind in ("underflow", "subnormal", "overflow"):
                tags = [tag for tag in record if tag.startswith(f"{name}_{kind}/")]
                assert any(0 < record[tag] < 1 for tag in tags), (name, kind)

    @pytest.mark.parametrize("make", [wide_net, tanh_net])
    @pytest.mark.parametrize("make_optimizer", [sgd, adam])
    @pytest.mark.parametrize(
        ("options", "by_hand"),
        [
            ({}, {}),
            ({"accumulate_grad_batches": 5}, {"micro_batches": 5}),
            ({"precision": "64-true"}, {"dtype": torch.float64}),
            ({"precision": "bf16-true"}, {"dtype": torch.bfloat16}),
            ({"precision": "bf16-mixed"}, {"autocast": torch.bfloat16}),
        ],
        ids=str,
    )
    def test_in_automatic_optimization(
        self, options: Any, by_hand: Any, make_optimizer: Any, make: Any
    ) -> None:
        expected = ranges_by_hand(make, STEPS, optimizer=make_optimizer, **by_hand)
        records = records_of(lambda: Regression(make(), make_optimizer), **options)
        assert records == expected

    def test_as_on_an_accelerator(self) -> None:
        with simulated_device():
            records = records_of(lambda: Regression(wide_net()))
        assert records == ranges_by_hand(wide_net, STEPS)

    def test_in_manual_optimization(self) -> None:
        records = records_of(lambda: ByHand(wide_net()))
        assert records == ranges_by_hand(wide_net, STEPS)

    def test_gradients_are_not_clipped_and_updates_are(self) -> None:
        def clip(params: list[nn.Parameter]) -> None:
            nn.utils.clip_grad_norm_(params, 1e-4)

        records = records_of(lambda: Regression(wide_net()), gradient_clip_val=1e-4)
        assert records == ranges_by_hand(wide_net, STEPS, clip=clip)

    @pytest.mark.parametrize("fused", [False, True])
    def test_gradients_are_unscaled(self, fused: bool) -> None:
        """A scale of a power of two changes no digit of float32."""

        def make_optimizer(params: Any) -> torch.optim.Optimizer:
            return torch.optim.Adam(params, lr=0.01, fused=fused)

        class Float32(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                with torch.autocast("cpu", enabled=False):
                    return super().training_step(batch, batch_idx)

        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**13)
        records = records_of(
            lambda: Float32(wide_net(), make_optimizer),
            plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        )
        expected = ranges_by_hand(wide_net, STEPS, optimizer=make_optimizer)
        assert records[0] == expected[0]
        assert scaler.get_scale() == 2.0**13

    def test_a_step_that_the_scaler_skips(self) -> None:
        class Overflows(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * math.inf

        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        with runtime_warnings() as messages:
            records = records_of(lambda: Overflows(tanh_net()), plugins=[plugin])
        assert messages == []
        for record in records:
            assert record["nonfinite/net.0.weight"] == 32
            assert not [tag for tag in record if "/weight_grad/" in tag]
            assert record["fp16_zero/update/net.0.weight"] == 1
            assert record["fp16_underflow/update/net.0.weight"] == 0

    def test_of_functions_and_of_a_layer_called_twice(self) -> None:
        """Values of all calls and micro-batches together."""

        class Calls(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second, self.head = (
                    nn.Linear(4, 8),
                    nn.Linear(8, 8),
                    nn.Linear(8, 1),
                )
                self.tanh = nn.Tanh()
                self.values: dict[str, list[Tensor]] = {"tanh": [], "relu": []}

            def forward(self, x: Tensor) -> Tensor:
                h = self.tanh(self.first(x))
                again = self.tanh(self.second(h))
                rectified = F.relu(self.second(again * 1e-3))
                for output in (h, again, rectified):
                    output.retain_grad()
                self.values["tanh"] += [h, again]
                self.values["relu"].append(rectified)
                return self.head(rectified)

        net = Calls()
        instrument = Keeps()
        fit(
            lambda: Regression(net),
            [instrument],
            max_steps=1,
            accumulate_grad_batches=2,
        )
        (record,) = instrument.records
        for name, outputs in net.values.items():
            gradients = [output.grad for output in outputs]
            expected = fractions_by_casting(
                {
                    f"activation/net.{name}": torch.cat(outputs),
                    f"activation_grad/net.{name}": torch.cat(gradients),  # type: ignore[arg-type]
                }
            )
            assert len(expected) == 2 * 16
            assert {tag: record[tag] for tag in expected} == expected

    @pytest.mark.parametrize("width", [8, 5000])
    def test_inside_a_transform_of_functorch(self, width: int) -> None:
        """Outputs of 40 000 values are reduced where they come by, smaller ones wait."""

        def net() -> nn.Sequential:
            return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))

        class Penalized(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                slope = torch.func.grad(lambda x: self.net(x).sum())(batch[0])
                return super().training_step(batch, batch_idx) + slope.square().mean()

        penalized = records_of(lambda: Penalized(net()))[0]
        plain = records_of(lambda: Regression(net()))[0]
        tags = [tag for tag in plain if "/activation/" in tag]
        assert len(tags) == 16
        # The layer is called twice with the same batch.
        assert {tag: penalized[tag] for tag in tags} == {
            tag: plain[tag] for tag in tags
        }

    @pytest.mark.filterwarnings("ignore")
    def test_of_compiled_layers_parameters_alone(self) -> None:
        def compiled() -> LightningModule:
            module = Regression(tanh_net())
            module.net = torch.compile(module.net, backend="aot_eager")  # type: ignore[assignment]
            return module

        records = records_of(compiled)
        expected = ranges_by_hand(tanh_net, STEPS)
        for record, reference in zip(records, expected, strict=True):
            assert record == {
                tag: number
                for tag, number in reference.items()
                if "/activation" not in tag
            }


class TestMeasuredOnce:
    """What NumberRange asks for holds what the others ask for."""

    def measured(self, *kinds: Any) -> list[str]:
        """Returns the tensors that were measured in one step, as often as they were."""
        tensors: list[str] = []

        class Noting(Accumulator):  # type: ignore[type-arg]
            def add_all(self, items: Any, stable: bool = False) -> None:
                items = list(items)
                tensors.extend(key.quantity.of(key.name) for key, *_ in items)
                super().add_all(items, stable)

        instruments = every_step(kinds, figures=False)
        with mock.patch.object(step, "Accumulator", Noting):
            fit(lambda: Regression(tanh_net()), instruments, max_steps=1)
        return sorted(tensors)

    def test_beside_all_others(self) -> None:
        others = (ActivationHistogram, GradStats, UpdateRatio, HealthCheck)
        together = self.measured(*others, NumberRange)
        assert together == self.measured(*others)
        assert set(together) > set(self.measured(NumberRange))

    def test_the_others_have_their_numbers(self) -> None:
        (alone,) = every_step([GradStats], figures=False)
        fit(lambda: Regression(wide_net()), [alone])
        beside, ranges = every_step([GradStats, NumberRange], figures=False)
        fit(lambda: Regression(wide_net()), [ranges, beside])
        assert beside.latest.keys() == alone.latest.keys()
        for tag, number in alone.latest.items():
            if isinstance(number, float):
                assert beside.latest[tag] == number


class TestLogged:
    def test_from_the_first_number_that_is_not_zero(self) -> None:
        class Grows(Regression):
            def on_train_batch_end(
                self, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                with torch.no_grad():
                    self.net[4].weight.fill_(70_000.0 if batch_idx == 1 else 1.0)  # type: ignore[index]

        def still(params: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(params, lr=0.0)

        logger, ranges = Numbers(), NumberRange(every_n_steps=1)
        fit(lambda: Grows(tanh_net(), still), [ranges], logger=logger)
        tag = "fp16_overflow/weight/net.4.weight"
        numbers = {step: row.get(tag) for step, row in logger.rows if len(row) > 1}
        assert numbers == {0: None, 1: None, 2: 1.0, 3: 0.0, 4: 0.0}
        assert ranges.history[tag].values == [0.0, 0.0, 1.0, 0.0, 0.0]
        assert not [tag for _, row in logger.rows for tag in row if "_zero/" in tag]
        assert "fp16_zero/weight/net.4.weight" in ranges.history

    def test_chosen_formats_alone(self) -> None:
        ranges = NumberRange(every_n_steps=1, formats=["e5m2", "bf16"])
        fit(lambda: Regression(tanh_net()), [ranges], max_steps=1)
        prefixes = {tag.split("_")[0] for tag in ranges.latest or {}}
        assert prefixes == {"e5m2", "bf16"}
        assert ranges.table is not None
        assert ranges.table.formats == ("e5m2", "bf16")

    def test_a_format_named_twice_is_shown_once(self) -> None:
        assert NumberRange(formats=["e5m2", "fp16", "e5m2"]).formats == ["e5m2", "fp16"]

    @pytest.mark.parametrize(
        "formats", ["fp16", [], ["fp8"], ["fp16", 3], [["fp16"]], 7, {}]
    )
    def test_other_formats_raise_at_once(self, formats: Any) -> None:
        message = r"formats must be .* fp16, bf16, e4m3, e5m2, got "
        with pytest.raises(ValueError, match=message) as error:
            NumberRange(formats=formats)
        assert repr(formats) in str(error.value)


class TestTable:
    def row(self, tensor: str, values: Tensor) -> RangeRow:
        return RangeRow(tensor, "x", 0, Casts.of(values))

    @pytest.mark.parametrize("name", ["e4m3", "e5m2"])
    @pytest.mark.parametrize("exponent", [-40, -7, 0, 5, 30])
    @pytest.mark.parametrize("mantissa", [1.0, 1.3, 1.75, 1.7500001, 1.99])
    def test_the_largest_scale_without_overflow(
        self, mantissa: float, exponent: int, name: str
    ) -> None:
        values = torch.tensor([-mantissa * 2.0**exponent, 1e-15])
        row = self.row("weight" if name == "e4m3" else "weight_grad", values)
        assert (row.fp8, row.scale is None) == (name, False)
        largest = FORMATS[name].largest
        assert row.largest * 2.0 ** (row.scale or 0) <= largest
        assert row.largest * 2.0 ** ((row.scale or 0) + 1) > largest

    @pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 300.0])
    @pytest.mark.parametrize("tensor", ["activation", "activation_grad"])
    def test_the_loss_at_the_scale_is_that_of_casting(
        self, tensor: str, scale: float
    ) -> None:
        """Up to the width of one bin, 1/64 of an octave, and never too low."""
        generator = torch.Generator().manual_seed(3)
        wide = torch.randn(100_000, generator=generator) * 6  # 17 octaves around 1
        values = torch.randn(100_000, generator=generator) * wide.exp() * scale * 1e-6
        row = self.row(tensor, values)
        dtype = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}[row.fp8]
        scaled = values * 2.0 ** (row.scale or 0)
        lost = ((scaled.to(dtype).float() == 0) & (values != 0)).double().mean().item()
        wider = ((scaled / (1 + 1 / 32)).to(dtype).float() == 0).double().mean().item()
        assert 0 < lost <= row.lost_scaled <= wider

    def test_what_is_lost_at_the_scale_of_single_values(self) -> None:
        smallest = 2.0**-9
        lost = {
            (448.0, smallest / 2): 0.5,  # a tie, which goes to zero
            (448.0, smallest): 0.0,
            (448.0, 0.0, 0.0, 1.0): 0.0,
            (448.0, 1e-30, 0.0, 1.0, 2.0): 0.25,
            (7.0, smallest / 2): 0.0,
            (0.0, 0.0): 0.0,
        }
        for values, fraction in lost.items():
            row = self.row("weight", torch.tensor(values))
            assert row.lost_scaled == fraction, values

    def test_nothing_is_lost_of_a_narrow_range(self) -> None:
        values = torch.rand(1000) + 1e-2
        assert self.row("weight_grad", values * 1e-9).lost == 1
        assert self.row("weight_grad", values * 1e-9).lost_scaled == 0

    def test_answers(self) -> None:
        narrow = torch.linspace(0.5, 1, 100)
        answers = {
            "as it is": narrow,
            "scaled": narrow * 1e4,
            "no": torch.cat([narrow * 1e-9, narrow]),
        }
        for fits, values in answers.items():
            assert self.row("weight", values).fits == fits
        assert self.row("weight", narrow * 1e-6).fits == "scaled"
        assert self.row("weight", torch.zeros(3)).fits == "as it is"
        assert self.row("weight", torch.zeros(3)).scale is None
        assert self.row("weight", torch.tensor([1.0, math.nan])).fits == "no"
        assert self.row("weight", torch.tensor([math.nan])).fits == "no"

    def test_a_hundredth_may_be_lost(self) -> None:
        assert MOST_LOST == 0.01
        values = torch.ones(1000)
        values[:10] = 1e-9
        assert self.row("weight", values).fits == "as it is"
        values[:11] = 1e-9
        assert self.row("weight", values).fits == "no"

    @pytest.mark.parametrize(
        ("few", "answer"),
        [([1e-9], "scaled"), ([1e-9, 1e6], "no"), ([0.5], "as it is")],
    )
    def test_zeros_hide_nothing(self, few: list[float], answer: str) -> None:
        """As in the gradient of an embedding, whose other values would all be lost."""
        values = torch.zeros(10_000)
        values[: len(few)] = torch.tensor(few)
        row = self.row("weight_grad", values)
        assert row.fits == answer
        assert row.lost == sum(each < 1e-6 for each in few) / len(few)
        assert row.fractions("e5m2")["underflow"] == row.lost * len(few) / 10_000

    @pytest.mark.parametrize("exponent", [-60, 40])
    def test_magnitudes_that_no_bin_tells_apart_are_called_a_limit(
        self, exponent: int
    ) -> None:
        """None of them is lost at that scale."""
        row = self.row("weight", torch.tensor([1.0, 1.5]) * 2.0**exponent)
        assert row.lost_scaled == 1
        table = RangeTable(("e4m3",), (row,)).to_markdown()
        assert f"2^{8 - exponent}: up to 100% of nonzero lost" in table

    def test_of_zeros_and_of_nothing(self) -> None:
        zeros, nothing = (
            RangeTable(("e4m3",), (self.row("weight", values),)).to_markdown()
            for values in (torch.zeros(3), torch.tensor([math.nan]))
        )
        assert "| weight/x | 0 | all normal | e4m3 as it is | any |" in zeros
        assert "| weight/x | 0 | nothing finite | not e4m3 | none |" in nothing

    def test_a_frozen_parameter_keeps_its_row(self) -> None:
        class Frozen(Regression):
            def __init__(self) -> None:
                super().__init__(tanh_net())
                self.net[2].weight.requires_grad_(False)  # type: ignore[index]

        ranges = NumberRange(every_n_steps=1)
        fit(Frozen, [ranges])
        assert ranges.table is not None
        weights = [row for row in ranges.table.rows if row.tensor == "weight"]
        steps = {row.name: row.step for row in weights}
        assert steps == {"net.0.weight": 4, "net.2.weight": 0, "net.4.weight": 4}
        updates = [row.name for row in ranges.table.rows if row.tensor == "update"]
        assert updates == ["net.0.weight", "net.4.weight"]
        fit(lambda: Regression(tanh_net()), [ranges], max_steps=2)
        assert {row.step for row in ranges.table.rows} == {1}

    def test_a_frozen_parameter_that_moves_has_updates(self) -> None:
        """As that of a teacher that follows its student."""

        class Moves(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                with torch.no_grad():
                    self.net[2].bias.add_(1e-5)  # type: ignore[index]
                return loss

            def __init__(self) -> None:
                super().__init__(tanh_net())
                self.net[2].requires_grad_(False)  # type: ignore[index]

        ranges = NumberRange(every_n_steps=1, params=["net.2.*"])
        fit(Moves, [ranges], max_steps=2)
        assert ranges.table is not None
        updates = [row.name for row in ranges.table.rows if row.tensor == "update"]
        assert updates == ["net.2.bias"]

    def test_before_and_after_a_fit(self) -> None:
        ranges = NumberRange(every_n_steps=1)
        assert ranges.table is None
        fit(lambda: Regression(tanh_net()), [ranges])
        table = ranges.table
        assert table is not None
        assert len(table.rows) == 4 + 9
        assert str(table) == table.to_markdown()
        assert table.row("update", "net.0.weight").count == 32
        with pytest.raises(KeyError, match=r"no bias of 'x'; .* weight of net\.0\.w"):
            table.row("bias", "x")

    def test_json_is_strict_and_complete(self) -> None:
        class Breaks(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * math.nan

        ranges = NumberRange(every_n_steps=1)
        with runtime_warnings():
            fit(lambda: Breaks(tanh_net()), [ranges], max_steps=1)
        assert ranges.table is not None
        rows = json.loads(ranges.table.to_json())["rows"]
        assert len(rows) == len(ranges.table.rows)
        (broken,) = [
            row
            for row in rows
            if (row["tensor"], row["name"]) == ("weight_grad", "net.0.weight")
        ]
        assert (broken["count"], broken["nonfinite"], broken["fits"]) == (0, 32, "no")
        assert "nothing finite" in ranges.table.to_markdown()


def test_the_text_page_has_the_first_and_the_last_step(tmp_path: Path) -> None:
    logger, ranges = (
        TensorBoardLogger(tmp_path, name=None),
        NumberRange(every_n_steps=1),
    )
    fit(lambda: Regression(tanh_net()), [ranges], logger=logger, max_steps=31)
    events = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0})
    events.Reload()
    pages = events.Tensors("number_range/text_summary")
    steps = [page.step for page in pages]
    assert steps[:4] == [0, 1, 2, 4]
    assert steps[-1] == 30
    assert len(steps) <= 10
    assert ranges.table is not None
    text = pages[-1].tensor_proto.string_val[0].decode()
    assert text == ranges.table.to_markdown()


def test_without_figures_there_is_no_page(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name=None)
    fit(lambda: Regression(tanh_net()), [NumberRange(1, figures=False)], logger=logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert "number_range/text_summary" not in events.Tags()["tensors"]
    assert [
        tag for tag in events.Tags()["scalars"] if tag.startswith("e4m3_subnormal/")
    ]
