"""Tests of what all instruments share: arguments, tags, steps, warnings and traces."""

import copy
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import (
    ALL,
    ARGUMENTS,
    QUIET,
    Recorder,
    Regression,
    as_lists,
    every_step,
    expect_messages,
    expect_no_hooks,
    fit,
    loader,
    runtime_warnings,
    state_of,
    tanh_net,
)
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

import callbacks
from callbacks import ActivationHistogram, GradStats, Histogram, SaturationMap, UpdateRatio

EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
    pytest.mark.usefixtures("without_pictures"),
]


def test_every_public_instrument_is_tested() -> None:
    public = [getattr(callbacks, name) for name in callbacks.__all__]
    assert {kind for kind in public if isinstance(kind, type) and issubclass(kind, Callback)} == set(ALL)


class TestArguments:
    @EACH
    @pytest.mark.parametrize(
        ("argument", "wrong"),
        [
            ("every_n_steps", 0),
            ("every_n_steps", -5),
            ("every_n_steps", 2.5),
            ("layers", "tanh*"),
            ("layers", []),
            ("params", "weight"),
            ("params", [3]),
        ],
    )
    def test_wrong_values_raise_at_once(self, kind: Any, argument: str, wrong: object) -> None:
        with pytest.raises(ValueError, match=f"{argument} must be .* got {re.escape(repr(wrong))}"):
            kind(**{argument: wrong})

    @pytest.mark.parametrize("kind", [ActivationHistogram, SaturationMap])
    @pytest.mark.parametrize("wrong", [0, 1, -0.5, 99, "0.99", True, float("nan")])
    def test_threshold(self, kind: Any, wrong: object) -> None:
        with pytest.raises(ValueError, match="threshold must be an output of tanh between 0 and 1"):
            kind(threshold=wrong)

    @pytest.mark.parametrize("wrong", ["1", 1.0, True])
    def test_unit_dim(self, wrong: object) -> None:
        with pytest.raises(ValueError, match="unit_dim must be None or the number of an axis"):
            SaturationMap(unit_dim=wrong)  # type: ignore[arg-type]

    @EACH
    @pytest.mark.parametrize("argument", ["layers", "params"])
    def test_an_argument_without_a_use_is_warned_of_at_once(self, kind: Any, argument: str) -> None:
        with runtime_warnings() as messages:
            kind(**{argument: ["*"]})
            kind()
        message = f"{kind.__name__} has no use for {argument}=['*'], and ignores it. Training goes on."
        assert messages == ([] if argument in ARGUMENTS[kind] else [message])

    @pytest.mark.parametrize(
        ("kind", "argument"), [(kind, argument) for kind in ALL for argument in sorted(ARGUMENTS[kind])]
    )
    def test_a_pattern_without_a_match_ends_the_fit_before_it_begins(self, kind: Any, argument: str) -> None:
        module = Regression(tanh_net())
        with pytest.raises(ValueError, match=rf"{argument}: no match for 'nothing\*'; there are: net"):
            fit(lambda: module, [kind(**{argument: ["nothing*"]})])
        expect_no_hooks(module)

    @EACH
    def test_from_yaml(self, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (argument, *_) = sorted(ARGUMENTS[kind])
        config = tmp_path / "config.yaml"
        config.write_text(
            f"trainer:\n  callbacks:\n    - class_path: callbacks.{kind.__name__}\n      init_args:\n"
            f"        every_n_steps: 3\n        dense_start: false\n        figures: false\n        {argument}: ['*']\n"
        )
        monkeypatch.setattr("sys.argv", ["train.py", f"--config={config}"])
        cli = LightningCLI(WithoutArguments, run=False, save_config_callback=None)
        (instrument,) = [c for c in cli.trainer.callbacks if isinstance(c, kind)]  # type: ignore[attr-defined]
        assert instrument.schedule.every_n_steps == 3
        assert (instrument.schedule.dense_start, instrument.figures) == (False, False)
        assert getattr(instrument, argument) == ["*"]


class WithoutArguments(Regression):
    """Model that LightningCLI can build."""

    def __init__(self) -> None:
        super().__init__(tanh_net())


LAYERS, PARAMS = ("net.1", "net.3"), ("net.0.weight", "net.2.weight", "net.4.weight")
PARTS = ("", "_mean", "_std")
TAGS: Mapping[Any, set[str]] = {
    ActivationHistogram: {f"activation{part}/{layer}" for part in PARTS for layer in LAYERS},
    GradStats: {f"activation_grad{part}/{layer}" for part in PARTS for layer in LAYERS}
    | {f"{plot}{part}/{param}" for plot in ("weight", "weight_grad") for part in PARTS for param in PARAMS}
    | {f"grad_data_ratio/{param}" for param in PARAMS}
    | {"grad_norm/total"},
    UpdateRatio: {f"update_ratio/{param}" for param in PARAMS},
    SaturationMap: {f"{plot}/{layer}" for plot in ("saturation", "dead_units") for layer in LAYERS},
}
HISTOGRAMS = {"activation", "activation_grad", "weight_grad", "weight"}


class TestLatest:
    @EACH
    def test_tags_are_those_of_the_contract(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        fit(lambda: Regression(tanh_net()), [instrument])
        assert set(instrument.latest) == TAGS[kind]
        for tag, value in instrument.latest.items():
            assert isinstance(value, Histogram if tag.partition("/")[0] in HISTOGRAMS else float), tag

    @EACH
    def test_none_before_the_first_due_step(self, kind: Any) -> None:
        instrument = kind()
        assert (instrument.latest, instrument.latest_step) == (None, None)

    @EACH
    def test_steps_that_are_not_due_change_nothing(self, kind: Any) -> None:
        recorder = Recorder()
        fit(lambda: Regression(tanh_net()), [kind(every_n_steps=6, figures=False), recorder], max_steps=20)
        assert list(recorder.records[kind.__name__]) == [0, 1, 2, 4, 6, 12, 18]

    def test_instruments_of_different_schedules(self) -> None:
        """Each has a record of its own due steps, whichever of them passes Lightning's hooks on."""
        every = (3, 2, 1, 5)
        due = {kind.__name__: n for kind, n in zip(ALL, every, strict=True)}
        recorder = Recorder()
        instruments = [kind(every_n_steps=n, dense_start=False) for kind, n in zip(ALL, every, strict=True)]
        fit(lambda: Regression(tanh_net()), [*instruments, recorder], max_steps=10)
        steps = {name: list(records) for name, records in recorder.records.items()}
        assert steps == {name: list(range(0, 10, n)) for name, n in due.items()}

    @EACH
    def test_records_are_those_of_the_instrument_alone(self, kind: Any) -> None:
        """Measurements that several instruments ask for are made once."""

        def records(*instruments: Callback) -> Any:
            recorder = Recorder()
            fit(lambda: Regression(tanh_net()), [*instruments, recorder])
            return as_lists(recorder.records[kind.__name__])

        assert records(*every_step()) == records(kind(every_n_steps=1))

    @EACH
    def test_a_second_fit_begins_anew(self, kind: Any) -> None:
        instrument = kind(every_n_steps=4, figures=False)
        _, module = fit(lambda: Regression(tanh_net()), [instrument])
        assert instrument.latest_step == 4
        fit(lambda: Regression(tanh_net()), [instrument], max_steps=2)
        assert instrument.latest_step == 1
        expect_no_hooks(module)


class FailsInBatch2(Regression):
    """Raises in the third batch."""

    def __init__(self, net: nn.Module, error: BaseException) -> None:
        super().__init__(net)
        self.error = error

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 2:
            raise self.error
        return loss


class TestTraces:
    def test_after_fit(self) -> None:
        _, module = fit(lambda: Regression(tanh_net()), every_step())
        expect_no_hooks(module)

    @pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
    def test_after_an_exception_and_after_ctrl_c(self, error: BaseException) -> None:
        module = FailsInBatch2(tanh_net(), error)
        with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
            fit(lambda: module, every_step())
        expect_no_hooks(module)

    @EACH
    def test_copies_and_pickles_in_the_middle_of_a_step(self, kind: Any) -> None:
        copies: list[Any] = []

        class Copies(Callback):
            def on_before_optimizer_step(self, trainer: Trainer, *_: Any, **__: Any) -> None:
                instrument = next(c for c in trainer.callbacks if isinstance(c, kind))  # type: ignore[attr-defined]
                copies.extend([copy.deepcopy(instrument), pickle.loads(pickle.dumps(instrument))])

        fit(lambda: Regression(tanh_net()), [kind(every_n_steps=1), Copies()], max_steps=2)
        for copied in copies:
            fit(lambda: Regression(tanh_net()), [copied], max_steps=2)
            assert copied.latest_step == 1

    def test_an_instrument_in_two_trainers_at_a_time(self) -> None:
        """A fit inside a fit: the instrument goes on with the outer one, and says so."""
        instrument = ActivationHistogram(every_n_steps=1)
        inner_steps: list[int | None] = []

        class Inner(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                if not inner_steps:
                    Trainer(callbacks=[instrument], max_steps=2, **QUIET).fit(Regression(tanh_net()), loader())
                    inner_steps.append(instrument.latest_step)

        with runtime_warnings() as messages:
            fit(lambda: Regression(tanh_net()), [instrument, Inner()])
        assert messages == [
            "ActivationHistogram observes another Trainer's fit, and nothing of this one: give each its own. "
            "Training goes on."
        ]
        assert inner_steps == [0]
        assert instrument.latest_step == 4


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

    @pytest.mark.parametrize(("kind", "statistic"), [(ActivationHistogram, "histogram"), (SaturationMap, "saturation")])
    def test_warns_once_and_goes_on(self, kind: Any, statistic: str) -> None:
        bare = state_of(*fit(lambda: Regression(WithPair())))
        instrument = kind(every_n_steps=1, layers=CHOSEN, figures=False)
        with runtime_warnings() as messages:
            observed = state_of(*fit(lambda: Regression(WithPair()), [instrument]))
        assert observed == bare
        expect_messages(messages, rf"the {statistic} of the output of net\.pair\.1 failed in step 0.*meta device")
        assert instrument.latest_step == 4
        plots = {tag.split("/")[0] for tag in TAGS[kind]}
        assert set(instrument.latest) == {f"{plot}/{name}" for plot in plots for name in ("net.body.1", "net.pair.0")}

    def test_one_warning_for_all_instruments(self) -> None:
        kinds = (ActivationHistogram, GradStats, UpdateRatio)
        instruments = [kind(every_n_steps=1, layers=CHOSEN, figures=False) for kind in kinds[:2]]
        with runtime_warnings() as messages:
            fit(lambda: Regression(WithPair()), [*instruments, UpdateRatio(every_n_steps=1, figures=False)])
        expect_messages(messages, r"the histogram of the output of net\.pair\.1 failed in step 0")

    def test_an_axis_that_only_some_layers_have(self) -> None:
        """Of a layer with too few axes the saturation is off, of the others it goes on."""
        net = nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Tanh(), nn.Flatten(), nn.Tanh(), nn.Linear(4, 1))
        instrument = SaturationMap(every_n_steps=1, unit_dim=2)
        with runtime_warnings() as messages:
            fit(lambda: Regression(net), [instrument])
        expect_messages(messages, r"the saturation of the output of net\.3 failed in step 0.*IndexError")
        assert set(instrument.latest or {}) == {"saturation/net.1", "dead_units/net.1"}

    def test_ends_no_training_where_warnings_are_errors(self, caplog: pytest.LogCaptureFixture) -> None:
        instrument = ActivationHistogram(every_n_steps=1, layers=CHOSEN)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            trainer, _ = fit(lambda: Regression(WithPair()), [instrument])
        assert trainer.global_step == 5
        assert "the histogram of the output of net.pair.1 failed in step 0" in caplog.text
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

        instruments = [GradStats(every_n_steps=1, figures=False), UpdateRatio(every_n_steps=1, figures=False)]
        with runtime_warnings() as messages:
            trainer, _ = fit(lambda: AddsParameter(tanh_net()), instruments)
        assert trainer.global_step == 5
        assert messages
        assert all("net.spare" in message and "net.0" not in message for message in messages)
        gradients, updates = (set(instrument.latest or {}) for instrument in instruments)
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


class TestCallsThatAreNotTraining:
    def test_validation_and_sanity_check(self) -> None:
        class Evaluating(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                with torch.enable_grad():
                    self(batch[0] * 1e6)

        def records(**options: Any) -> dict[str, Any]:
            recorder = Recorder()
            data = {"val": loader(batch=20)} if "limit_val_batches" not in options else {}
            fit(lambda: Evaluating(tanh_net()), [*every_step(figures=False), recorder], **data, **options)
            return as_lists(recorder.records)

        assert records(num_sanity_val_steps=2, val_check_interval=1) == records(limit_val_batches=0)

    def test_a_forward_pass_without_gradients(self) -> None:
        class WithTeacher(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                with torch.no_grad():
                    self(batch[0])
                return super().training_step(batch, batch_idx)

        instrument = ActivationHistogram(every_n_steps=1)
        fit(lambda: WithTeacher(tanh_net()), [instrument])
        assert instrument.latest is not None
        assert instrument.latest["activation/net.1"].moments.count == 8 * 8  # type: ignore[union-attr]


class TestTrainers:
    @EACH
    def test_no_logger(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        fit(lambda: Regression(tanh_net()), [instrument], logger=False)
        assert set(instrument.latest) == TAGS[kind]

    @EACH
    def test_fast_dev_run(self, kind: Any) -> None:
        instrument = kind()
        fit(lambda: Regression(tanh_net()), [instrument], fast_dev_run=True, logger=True)
        assert instrument.latest_step == 0

    @EACH
    def test_barebones(self, kind: Any) -> None:
        instrument = kind()
        trainer = Trainer(barebones=True, callbacks=[instrument], max_steps=3, accelerator="cpu")
        trainer.fit(Regression(tanh_net()), loader())
        assert instrument.latest_step == 2


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
    }

    @EACH
    @pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
    def test_a_model_without_parameters(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        with runtime_warnings() as messages:
            fit(WithoutParameters, [instrument])
        expect_messages(messages, f"^{kind.__name__} .*{self.WHY[kind]}.* Training goes on.$")
        assert not instrument.latest

    def test_no_map_without_activations(self) -> None:
        with runtime_warnings() as messages:
            fit(lambda: Regression(nn.Linear(4, 1)), [SaturationMap(every_n_steps=1)])
        expect_messages(messages, r"^SaturationMap .* in step 0: Regression calls no activation.*layers=\[\.\.\.\]")

    def test_no_map_of_activations_that_never_saturate(self) -> None:
        net = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 1))
        with runtime_warnings() as messages:
            fit(lambda: Regression(net), [SaturationMap(every_n_steps=1)])
        expect_messages(messages, r"^SaturationMap .* in step 0: .*LeakyReLU, PReLU.* never saturate")

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
            *(f"^{name} .* none of .* was called" for name in ("ActivationHistogram", "SaturationMap")),
        )

    def test_no_gradients_at_all(self) -> None:
        class Skips(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
                super().training_step(batch, batch_idx)

        instruments = every_step(figures=False)
        with runtime_warnings() as messages:
            fit(lambda: Skips(tanh_net()), instruments)
        expect_messages(messages, "^GradStats finds no gradient of any parameter in step 0")
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
        return nn.Sequential(linear[0], *(m for layer in linear[1:] for m in (nn.Tanh(), layer)))

    def test_is_reduced_with_one_warning(self) -> None:
        instruments = every_step(figures=False)
        with runtime_warnings() as messages:
            fit(lambda: Regression(self.deep_net()), instruments, max_steps=1)
        reduced = [rf"Regression has {n}, of which 64 are observed.*{a}=\[\.\.\.\]" for n, a in REDUCED.items()]
        expect_messages(messages, *reduced)
        latest = {tag: value for c in instruments for tag, value in (c.latest or {}).items()}  # type: ignore[attr-defined]
        for plot in ("activation_std", "activation_grad_std", "weight_std", "update_ratio", "saturation"):
            assert sum(tag.startswith(f"{plot}/") for tag in latest) == 64, plot
        ends = {"saturation/net.1", "saturation/net.137", "weight_std/net.0.weight", "weight_std/net.138.weight"}
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


def test_two_of_a_class_with_different_arguments(tmp_path: Path) -> None:
    def both() -> list[UpdateRatio]:
        return [UpdateRatio(every_n_steps=1, params=["net.0.*"]), UpdateRatio(every_n_steps=2, params=["net.2.*"])]

    trainer, _ = fit(lambda: Regression(tanh_net()), both(), default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    resumed = both()
    again = Trainer(callbacks=list(resumed), max_steps=7, **QUIET)
    again.fit(Regression(tanh_net()), loader(), ckpt_path=tmp_path / "both.ckpt", weights_only=True)
    assert resumed[0].state_dict()["steps"] == [0, 1, 2, 3, 4, 5, 6]
    assert resumed[1].state_dict()["steps"] == [0, 1, 2, 4, 6]
    assert set(resumed[0].state_dict()["ratios"]) == {"net.0.weight", "net.0.bias"}
