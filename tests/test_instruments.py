"""What holds of every instrument: arguments, tags, steps, and that training is not disturbed."""

import copy
import gc
import hashlib
import io
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import ALL, Recorder, Regression, every_step, fit, loader, runtime_warnings, tanh_net
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio
from callbacks._histogram import Histogram

EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
NOT_PICTURES = {"figures": False}
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning",  # on loaders without workers
    "ignore:`training_step` returned `None`",
)


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
    def test_what_makes_no_sense_is_refused_at_once(self, kind: Any, argument: str, wrong: object) -> None:
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

    @pytest.mark.parametrize(
        ("kind", "argument"),
        [
            (ActivationHistogram, "layers"),
            (SaturationMap, "layers"),
            (GradStats, "layers"),
            (GradStats, "params"),
            (UpdateRatio, "params"),
        ],
    )
    def test_a_pattern_without_a_match_ends_the_fit_before_it_begins(self, kind: Any, argument: str) -> None:
        with pytest.raises(ValueError, match=rf"{argument}: no match for 'nothing\*'; there are: net"):
            fit(lambda: Regression(tanh_net()), [kind(**{argument: ["nothing*"]})])

    @EACH
    def test_from_yaml(self, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written = tmp_path / "config.yaml"
        written.write_text(
            f"trainer:\n  callbacks:\n    - class_path: callbacks.{kind.__name__}\n      init_args:\n"
            "        every_n_steps: 3\n        dense_start: false\n        figures: false\n        layers: ['*']\n"
        )
        monkeypatch.setattr("sys.argv", ["train.py", f"--config={written}"])
        cli = LightningCLI(Made, run=False, save_config_callback=None)
        (made,) = [c for c in cli.trainer.callbacks if isinstance(c, kind)]  # type: ignore[attr-defined]
        assert made.schedule.every_n_steps == 3
        assert (made.schedule.dense_start, made.figures, made.layers) == (False, False, ["*"])


class Made(Regression):
    """A model that needs no arguments."""

    def __init__(self) -> None:
        super().__init__(tanh_net())


LAYERS, PARAMS = ("net.1", "net.3"), ("net.0.weight", "net.2.weight", "net.4.weight")
TAGS = {
    ActivationHistogram: {f"activation{part}/{layer}" for part in ("", "_mean", "_std") for layer in LAYERS},
    GradStats: {f"activation_grad{part}/{layer}" for part in ("", "_mean", "_std") for layer in LAYERS}
    | {f"{what}{part}/{p}" for what in ("weight", "weight_grad") for part in ("", "_mean", "_std") for p in PARAMS}
    | {f"grad_data_ratio/{param}" for param in PARAMS}
    | {"grad_norm/total"},
    UpdateRatio: {f"update_ratio/{param}" for param in PARAMS},
    SaturationMap: {f"{what}/{layer}" for what in ("saturation", "dead_units") for layer in LAYERS},
}


class TestLatest:
    @EACH
    def test_tags_are_those_of_the_contract(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        fit(lambda: Regression(tanh_net()), [instrument])
        assert set(instrument.latest) == TAGS[kind]
        for tag, value in instrument.latest.items():
            assert isinstance(value, Histogram if tag.partition("/")[0] in HISTOGRAMS else float), tag

    @EACH
    def test_none_before_the_first(self, kind: Any) -> None:
        instrument = kind()
        assert (instrument.latest, instrument.latest_step) == (None, None)

    @EACH
    def test_steps_that_are_not_due_change_nothing(self, kind: Any) -> None:
        recorder = Recorder()
        fit(lambda: Regression(tanh_net()), [kind(every_n_steps=6, figures=False), recorder], max_steps=20)
        assert list(recorder.said[kind.__name__]) == [0, 1, 2, 4, 6, 12, 18]

    @EACH
    def test_a_second_fit_begins_anew(self, kind: Any) -> None:
        instrument = kind(every_n_steps=4, figures=False)
        _, module = fit(lambda: Regression(tanh_net()), [instrument])
        assert instrument.latest_step == 4
        fit(lambda: Regression(tanh_net()), [instrument], max_steps=2)
        assert instrument.latest_step == 1
        expect_no_hooks(module)


def plain(value: Any) -> Any:
    """Histograms as lists, so that everything can be compared."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [value.moments, value.bins.tolist(), value.counts.tolist()] if isinstance(value, Histogram) else value


HISTOGRAMS = {"activation", "activation_grad", "weight_grad", "weight"}


def with_dropout_and_batchnorm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Linear(8, 8),
        nn.Tanh(),
        nn.Linear(8, 1),
    )


class Residual(nn.Module):
    """In-place additions on what hooks have seen, one layer called twice, one activation as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.activation, self.head = nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            h = self.layer(x)
            h += x
            x = self.activation(h)
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 5, num_layers=2, dropout=0.2, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.lstm(x.unsqueeze(-1))
        return self.head(outputs[:, -1])


MODELS = [tanh_net, with_dropout_and_batchnorm, Residual, Recurrent]


def state_of(trainer: Trainer, module: LightningModule) -> str:
    """Digest of the weights, the optimizers' states and the random states."""
    found = io.BytesIO()
    optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
    torch.save([module.state_dict(), optimizers, torch.get_rng_state()], found)
    return hashlib.sha256(found.getvalue()).hexdigest()


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=0.01)


class TestNeutral:
    @pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
    @pytest.mark.parametrize(
        "options",
        [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.01}, {"precision": "bf16-mixed"}],
        ids=str,
    )
    def test_training_is_bit_equal(self, make: Callable[[], nn.Module], options: dict[str, Any]) -> None:
        def model() -> LightningModule:
            return Regression(make(), adam)

        bare = state_of(*fit(model, max_steps=7, **options))
        watched = state_of(*fit(model, every_step(layers=["*"], **NOT_PICTURES), max_steps=7, **options))
        assert watched == bare

    def test_with_pictures_too(self) -> None:
        assert state_of(*fit(lambda: Regression(tanh_net()), every_step())) == state_of(
            *fit(lambda: Regression(tanh_net()))
        )

    def test_the_test_would_see_a_random_number(self) -> None:
        class Draws(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                torch.rand(1)

        def model() -> LightningModule:
            return Regression(with_dropout_and_batchnorm(), adam)

        assert state_of(*fit(model, [Draws()])) != state_of(*fit(model))

    @EACH
    def test_no_activation_is_kept_alive(self, kind: Any) -> None:
        def alive(*watching: Callback) -> int:
            kept = fit(lambda: Regression(tanh_net()), watching, max_steps=20)
            gc.collect()
            found = sum(issubclass(type(thing), Tensor) and thing.numel() in (64, 8) for thing in gc.get_objects())
            del kept
            return found

        assert alive(kind(every_n_steps=1, layers=["*"], **NOT_PICTURES)) <= alive() + 8


def expect_no_hooks(module: nn.Module) -> None:
    for layer in module.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


class Fails(Regression):
    def __init__(self, net: nn.Module, error: BaseException) -> None:
        super().__init__(net)
        self.error = error

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 2:
            raise self.error
        return loss


class TestNothingIsLeft:
    def test_after_fit(self) -> None:
        _, module = fit(lambda: Regression(tanh_net()), every_step())
        expect_no_hooks(module)

    @pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
    def test_after_an_exception_and_after_ctrl_c(self, error: BaseException) -> None:
        module = Fails(tanh_net(), error)
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


class TestAFailureOfOurs:
    @pytest.mark.parametrize(
        ("kind", "where"),
        [
            (ActivationHistogram, "callbacks._tally.Histogram.of"),
            (GradStats, "callbacks._tally.Histogram.of"),
            (UpdateRatio, "callbacks._tally.measure_moments"),
            (SaturationMap, "callbacks._saturation.units_last"),
        ],
    )
    def test_warns_once_and_lets_training_go_on(self, kind: Any, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def breaks(*_: Any) -> None:
            raise ZeroDivisionError("out of luck")

        bare = state_of(*fit(lambda: Regression(tanh_net())))
        monkeypatch.setattr(where, breaks)
        instrument = kind(every_n_steps=1)
        with runtime_warnings() as warned:
            watched = state_of(*fit(lambda: Regression(tanh_net()), [instrument]))
        assert watched == bare
        (said,) = warned
        assert said.startswith(f"{kind.__name__} failed")
        assert "in step 0" in said
        assert "out of luck" in said
        assert kind in (GradStats, UpdateRatio) or " at net.1 " in said
        assert instrument.latest is None

    def test_ends_no_training_where_warnings_are_errors(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("callbacks._tally.Histogram.of", None)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            trainer, _ = fit(lambda: Regression(tanh_net()), [ActivationHistogram(every_n_steps=1)])
        assert trainer.global_step == 5
        assert "ActivationHistogram failed at net.1 in step 0" in caplog.text

    def test_is_tried_again_in_the_next_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        instrument = ActivationHistogram(every_n_steps=1)
        with monkeypatch.context() as patch:
            patch.setattr("callbacks._tally.Histogram.of", None)
            with runtime_warnings() as warned:
                fit(lambda: Regression(tanh_net()), [instrument])
            assert len(warned) == 1
        fit(lambda: Regression(tanh_net()), [instrument])
        assert instrument.latest_step == 4


class TestWhatIsNotSeen:
    def test_validation_and_sanity_check(self) -> None:
        class Evaluating(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                with torch.enable_grad():  # what tells calls by gradients alone would see these
                    self(batch[0] * 1e6)

        def said(**options: Any) -> dict[str, Any]:
            recorder = Recorder()
            data = {"val": loader(batch=20)} if options else {}
            fit(lambda: Evaluating(tanh_net()), [*every_step(**NOT_PICTURES), recorder], **data, **options)
            return plain(recorder.said)

        assert said(num_sanity_val_steps=2, val_check_interval=1) == said(limit_val_batches=0)

    def test_a_copy_that_is_only_evaluated(self) -> None:
        class WithTeacher(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                with torch.no_grad():
                    self(batch[0])
                return super().training_step(batch, batch_idx)

        instrument = ActivationHistogram(every_n_steps=1)
        fit(lambda: WithTeacher(tanh_net()), [instrument])
        assert instrument.latest is not None
        assert instrument.latest["activation/net.1"].moments.count == 8 * 8  # type: ignore[union-attr]


class TestOddTrainers:
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

    @EACH
    @pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
    def test_a_model_without_parameters(self, kind: Any) -> None:
        class Empty(Regression):
            def configure_optimizers(self) -> None:  # type: ignore[override]
                return None

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx).requires_grad_()

        instrument = kind()
        with runtime_warnings() as warned:
            fit(lambda: Empty(nn.Identity()), [instrument])
        (said,) = warned
        assert said.startswith(f"{kind.__name__} finds nothing to look at in Empty")
        assert instrument.latest is None

    def test_no_map_without_activations_and_one_notice(self) -> None:
        with runtime_warnings() as warned:
            fit(lambda: Regression(nn.Linear(4, 1)), [SaturationMap()])
        assert [said.split(" and ")[0] for said in warned] == ["SaturationMap finds nothing to look at in Regression"]

    def test_no_gradients_at_all(self) -> None:
        class Skips(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
                super().training_step(batch, batch_idx)

        instruments = every_step(**NOT_PICTURES)
        with runtime_warnings() as warned:
            fit(lambda: Skips(tanh_net()), instruments)
        assert warned == ["GradStats finds no gradient of any parameter in step 0. Training goes on."]
        updates = next(c for c in instruments if isinstance(c, UpdateRatio))
        assert set(updates.unmoved.values()) == {"no gradient"}


def test_two_of_a_class_with_different_arguments(tmp_path: Path) -> None:
    both = [UpdateRatio(every_n_steps=1, params=["net.0.*"]), UpdateRatio(every_n_steps=2, params=["net.2.*"])]
    trainer, module = fit(lambda: Regression(tanh_net()), both, default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    resumed = [UpdateRatio(every_n_steps=1, params=["net.0.*"]), UpdateRatio(every_n_steps=2, params=["net.2.*"])]
    again = Trainer(
        callbacks=list(resumed),
        max_steps=7,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    again.fit(module, loader(), ckpt_path=tmp_path / "both.ckpt", weights_only=True)
    assert resumed[0]._steps == [0, 1, 2, 3, 4, 5, 6]
    assert resumed[1]._steps == [0, 1, 2, 4, 6]
