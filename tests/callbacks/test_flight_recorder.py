"""Tests of FlightRecorder and replay: the right step, batch and layer; the same bits again; nothing disturbed."""

import contextlib
import csv
import json
import math
import warnings
from collections import UserDict, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from fits import QUIET, SEED, Regression, fit, loader, state_of, tanh_net
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from recorded_faults import FAULTS, FAULTY_STEP, HALF, BadRate, batches_with, place
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks import FlightRecorder, ReplayResult, replay
from callbacks.measure.placement import simulated_device
from callbacks.probe import layer_hooks
from callbacks.recorder.bundle import read_bundle
from callbacks.recorder.jump import JumpRule
from callbacks.recorder.plain import (
    from_plain,
    left_out,
    to_plain,
    without_left_out,
)
from callbacks.recorder.replay_result import compare
from callbacks.recorder.rows import Numbers
from callbacks.recorder.states import checkpoint_state

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_placed_and_comes_again(name: str) -> None:
    if FAULTS[name].trainer == HALF and not has_half_losses():
        pytest.skip("this PyTorch has no cross entropy of fp16 on the CPU")
    placed = place(FAULTS[name], seed=7)
    assert placed.is_right, placed


def has_half_losses() -> bool:
    """True if the CPU has a cross entropy of fp16."""
    try:
        torch.nn.functional.cross_entropy(
            torch.zeros(1, 2).half(), torch.zeros(1).long()
        )
    except RuntimeError:
        return False
    return True


class BadBatch(Regression):
    """Its loss is infinite from one batch on, or for one batch; or it raises."""

    def __init__(
        self, bad: int = 3, value: float = math.inf, last: int | None = None
    ) -> None:
        super().__init__(tanh_net())
        self.bad, self.value, self.last = bad, value, last or bad

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        is_bad = self.bad <= self.trainer.global_step <= self.last
        return loss * self.value if is_bad else loss


class Raising(Regression):
    """Raises in one step."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(tanh_net())
        self.error = error

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if self.trainer.global_step == 3:
            raise self.error
        return super().training_step(batch, batch_idx)


def recorded(
    folder: Path, model: LightningModule, steps: int = 6, **options: Any
) -> FlightRecorder:
    """Fits under a recorder."""
    seed_everything(SEED, verbose=False)
    trainer_options = options.pop("trainer", {})
    arguments: dict[str, Any] = {"figures": False} | options
    recorder = FlightRecorder(dirpath=str(folder), **arguments)
    trainer = Trainer(
        max_steps=steps, callbacks=[recorder], **(QUIET | trainer_options)
    )
    trainer.fit(model, loader())
    return recorder


class TestNumbers:
    """Numbers of a bundle, beside a plain loop in float64."""

    def test_norms_before_and_after_clipping(self, tmp_path: Path) -> None:
        limit = 0.05
        seed_everything(SEED, verbose=False)
        (path,) = recorded(
            tmp_path, BadBatch(5), trainer={"gradient_clip_val": limit}
        ).bundles
        with (path / "ring.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4, 5]
        for row, expected in zip(rows, by_hand(limit, 5), strict=False):
            for name, value in expected.items():
                assert float(row[name]) == pytest.approx(value, rel=1e-5), name

    def test_numbers_of_the_last_steps_only(self, tmp_path: Path) -> None:
        (path,) = recorded(tmp_path, BadBatch(5), steps=7).bundles
        (short,) = recorded(tmp_path / "b", BadBatch(5), steps=7, **{}).bundles
        assert len(read_bundle(path).numbers) == len(read_bundle(short).numbers) == 6
        recorder = FlightRecorder(steps=2, dirpath=str(tmp_path / "c"), figures=False)
        Trainer(max_steps=7, callbacks=[recorder], **QUIET).fit(BadBatch(5), loader())
        steps = [each.step for each in read_bundle(recorder.bundles[0]).numbers]
        assert steps == [4, 5]


def by_hand(limit: float, steps: int) -> list[dict[str, float]]:
    """Trains in float64 by hand, and returns the numbers that the CSV file has."""
    seed_everything(SEED, verbose=False)
    model = Regression(tanh_net()).double()
    optimizer = model.configure_optimizers()
    rows = []
    for x, y in list(loader())[:steps]:
        output: dict[str, Tensor] = {}
        hook = next(model.net.children()).register_forward_hook(
            lambda _m, _i, out, output=output: output.update(first=out)
        )
        loss = model.training_step([x.double(), y.double()], 0)
        hook.remove()
        optimizer.zero_grad()
        loss.backward()
        grads = [param.grad for param in model.parameters()]
        norm = math.sqrt(sum(float((grad**2).sum()) for grad in grads))  # type: ignore[operator]
        factor = min(1.0, limit / norm)
        first = dict(model.named_parameters())["net.0.weight"].grad
        assert first is not None
        rows.append(
            {
                "loss": float(loss),
                "grad_norm": norm,
                "grad_norm_clipped": norm * factor,
                "learning_rate": 0.1,
                "output/net.0": float(output["first"].abs().max()),
                "output/batch.0": float(x.abs().max()),
                "gradient/net.0.weight": float(first.norm()),
            }
        )
        for grad in grads:
            grad.mul_(factor)  # type: ignore[union-attr]
        optimizer.step()
    return rows


class TestNothingIsDisturbed:
    @pytest.mark.parametrize("options", [{}, {"state_every_n_steps": 1}], ids=str)
    def test_weights_are_bit_equal(self, tmp_path: Path, options: Any) -> None:
        class Noisy(BadBatch):
            def __init__(self) -> None:
                super().__init__(bad=4, value=1e3, last=4)
                self.net = nn.Sequential(
                    nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), tanh_net_of(8)
                )

        recorder = FlightRecorder(
            dirpath=str(tmp_path), figures=False, loss_factor=2.0, **options
        )
        bare = state_of(*fit(Noisy, [], max_steps=8))
        assert state_of(*fit(Noisy, [recorder], max_steps=8)) == bare

    def test_no_hook_is_left(self, tmp_path: Path) -> None:
        for model in (BadBatch(), Raising(ValueError("bad")), BadBatch(99)):
            with contextlib.suppress(ValueError):
                recorded(tmp_path, model)
            assert not any(
                module._forward_hooks or module._forward_pre_hooks
                for module in model.modules()
            )

    def test_nothing_is_read_from_a_device_in_its_own_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[str] = []
        for name in ("item", "tolist", "__bool__", "__float__", "cpu"):
            original = getattr(Tensor, name)

            def noted(self: Tensor, *_: Any, _name: str = name, _to: Any = original):
                if not _is_lightnings():
                    reads.append(_name)
                return _to(self, *_)

            monkeypatch.setattr(Tensor, name, noted)
        reads_by_step: list[int] = []

        class Noting(BadBatch):
            def on_train_batch_end(
                self, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                reads_by_step.append(len(reads))

        with simulated_device():
            recorded(tmp_path, Noting(99), steps=4)
        assert reads_by_step == [0, 0, 0, 0]
        assert reads  # at the end of training, where nothing is held up


def _is_lightnings() -> bool:
    """True if the innermost caller outside this file is not the recorder."""
    import sys

    frame: Any = sys._getframe(2)
    return "callbacks" not in frame.f_code.co_filename


def tanh_net_of(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 1))


class TestBundles:
    def test_everything_is_loaded_with_weights_only(self, tmp_path: Path) -> None:
        (path,) = recorded(tmp_path, BadBatch()).bundles
        for name in ("batches.pt", "state.pt"):
            assert torch.load(path / name, weights_only=True)
        facts = json.loads((path / "bundle.json").read_text())
        assert facts["first"]["step"] == facts["trigger"]["step"] == 3
        assert facts["versions"]["torch"] == torch.__version__

    def test_nan_is_written_once_and_not_in_each_later_step(
        self, tmp_path: Path
    ) -> None:
        recorder = recorded(tmp_path, BadBatch(3, math.nan, 99), steps=9)
        assert [path.name for path in recorder.bundles] == ["step_000003_nonfinite"]

    def test_no_more_bundles_than_asked_for(self, tmp_path: Path) -> None:
        class EveryOther(BadBatch):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = Regression.training_step(self, batch, batch_idx)
                return loss * math.inf if self.trainer.global_step % 2 else loss

            def on_before_optimizer_step(self, optimizer: Any) -> None:
                for param in self.parameters():
                    if param.grad is not None:
                        param.grad.nan_to_num_(0.0, 0.0, 0.0)

        recorder = recorded(tmp_path, EveryOther(), steps=12, most_bundles=2)
        assert len(recorder.bundles) == 2
        assert len(list(tmp_path.iterdir())) == 2

    def test_the_last_bundle_is_not_spent_on_a_jump(self, tmp_path: Path) -> None:
        class Jumping(BadBatch):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = Regression.training_step(self, batch, batch_idx)
                step = self.trainer.global_step
                factor = {25: 1e4, 50: 1e4, 75: math.nan}.get(step, 1.0)
                return loss + (factor - 1) * loss.detach() * 1.0

        recorder = recorded(tmp_path, Jumping(), steps=80, most_bundles=2)
        assert [path.name for path in recorder.bundles] == [
            "step_000025_jump",
            "step_000075_nonfinite",
        ]

    def test_a_bundle_that_cannot_be_written_is_warned_of_once(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            recorder = recorded(tmp_path / "file", BadBatch(2, math.inf, 99))
        messages = [str(each.message) for each in caught]
        ours = [each for each in messages if "FlightRecorder" in each]
        assert len(ours) == 1
        assert "cannot write a bundle" in ours[0]
        assert recorder.bundles == []

    def test_an_exception_is_recorded_and_goes_on(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        trainer = Trainer(max_steps=6, callbacks=[recorder], **QUIET)
        with pytest.raises(ValueError, match="no such row"):
            trainer.fit(Raising(ValueError("no such row")), loader())
        (path,) = recorder.bundles
        assert path.name == "step_000003_exception"
        assert "no such row" in (path / "README.md").read_text()
        result = replay(path, Regression(tanh_net()), accelerator="cpu")
        assert result.step == 3

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0)], ids=repr)
    def test_an_end_by_hand_is_no_fault(
        self, tmp_path: Path, error: BaseException
    ) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        trainer = Trainer(max_steps=6, callbacks=[recorder], **QUIET)
        with pytest.raises(BaseException):  # noqa: B017, PT011
            trainer.fit(Raising(error), loader())
        assert recorder.bundles == []

    def test_the_page_and_the_picture(self, tmp_path: Path) -> None:
        (path,) = recorded(tmp_path, BadBatch(), figures=True).bundles
        page = (path / "README.md").read_text()
        assert page.startswith("# Step 3: NaN or Inf\n\n**NaN or Inf began in step 3")
        assert "![the last steps](ring.png)" in page
        assert (path / "ring.png").stat().st_size > 5000

    def test_the_page_names_what_could_not_be_written(self, tmp_path: Path) -> None:
        class WithImages(BadBatch):
            def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                return [*batch, object()]

            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                return super().training_step(batch[:2], batch_idx)

        (path,) = recorded(tmp_path, WithImages()).bundles
        page = (path / "README.md").read_text()
        assert "cannot be written stand there as texts: `<builtins.object" in page
        (sound,) = recorded(tmp_path / "sound", BadBatch()).bundles
        assert "cannot be written" not in (sound / "README.md").read_text()

    def test_the_folder_is_that_of_the_run(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(figures=False)
        options: dict[str, Any] = QUIET | {"default_root_dir": tmp_path}
        Trainer(max_steps=5, callbacks=[recorder], **options).fit(BadBatch(), loader())
        (path,) = recorder.bundles
        assert path == tmp_path / "flight_recorder" / "step_000003_nonfinite"


class TestReplay:
    def test_the_last_checkpoint_stands_in_for_a_state(self, tmp_path: Path) -> None:
        """A NaN rate is noticed after it has moved the parameters; no copy was kept."""
        fault = FAULTS["rate_nan"]
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        options: dict[str, Any] = QUIET | {"enable_checkpointing": True}
        saved = ModelCheckpoint(
            tmp_path / "saved", save_top_k=-1, every_n_train_steps=1
        )
        trainer = Trainer(
            max_epochs=1,
            callbacks=[saved, recorder],
            **options,
        )
        batches = batches_with(fault, 1)[: FAULTY_STEP + 2]
        with pytest.MonkeyPatch.context() as patch:
            # The last checkpoint is then that from before the bad update.
            original = saved.on_train_batch_end
            patch.setattr(
                saved,
                "on_train_batch_end",
                lambda t, m, o, b, i: i < FAULTY_STEP and original(t, m, o, b, i),
            )
            trainer.fit(BadRate(), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
        bundle = read_bundle(recorder.bundles[0])
        assert bundle.state is None
        assert bundle.step == FAULTY_STEP
        result = replay(recorder.bundles[0], BadRate(), accelerator="cpu")
        assert result.where == "net.0.weight"
        assert "by Adam" in str(result.message)

    def test_a_model_with_other_weights_and_no_state_is_told(
        self, tmp_path: Path
    ) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        trainer = Trainer(max_epochs=1, callbacks=[recorder], **QUIET)
        batches = batches_with(FAULTS["rate_nan"], 1)
        trainer.fit(BadRate(), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
        result = replay(recorder.bundles[0], BadRate(), accelerator="cpu")
        assert not result.is_equal
        assert "the bundle has no state" in str(result.difference)

    def test_several_steps_from_an_older_copy(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(
            dirpath=str(tmp_path), figures=False, state_every_n_steps=16
        )
        trainer = Trainer(max_epochs=1, callbacks=[recorder], **QUIET)
        batches = batches_with(FAULTS["rate_nan"], 1)
        trainer.fit(BadRate(), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
        bundle = read_bundle(recorder.bundles[0])
        assert [each["step"] for each in bundle.batches] == list(range(32, 42))
        result = replay(recorder.bundles[0], BadRate(), accelerator="cpu")
        assert result.is_equal, result.difference
        assert (result.step, result.where) == (FAULTY_STEP, "net.0.weight")

    def test_a_batch_that_its_step_changes_is_told(self, tmp_path: Path) -> None:
        class InPlace(BadBatch):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                batch[0].mul_(0.5)
                return super().training_step(batch, batch_idx)

        (path,) = recorded(tmp_path, InPlace()).bundles
        assert "changes its batch in place" in (path / "README.md").read_text()
        result = replay(path, InPlace(), accelerator="cpu")
        assert not result.is_equal
        assert "changes its batch in place" in str(result.difference)

    def test_another_model_is_one_clear_error(self, tmp_path: Path) -> None:
        (path,) = recorded(tmp_path, BadBatch()).bundles
        with pytest.raises(ValueError, match="the model is not that of the bundle"):
            replay(path, Regression(nn.Linear(6, 1)), accelerator="cpu")

    def test_the_model_and_the_random_numbers_stay(self, tmp_path: Path) -> None:
        (path,) = recorded(tmp_path, BadBatch()).bundles
        model = BadBatch()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        result = replay(path, model, accelerator="cpu")
        assert isinstance(result, ReplayResult)
        assert result.is_equal
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])

    @pytest.mark.parametrize("spoil", ["batches.pt", "bundle.json", "ring.csv"])
    def test_a_damaged_bundle_is_one_clear_error(
        self, tmp_path: Path, spoil: str
    ) -> None:
        (path,) = recorded(tmp_path, BadBatch()).bundles
        (path / spoil).write_bytes(b"\x00garbage")
        with pytest.raises(ValueError, match="is damaged"):
            replay(path, BadBatch(), accelerator="cpu")


def test_a_long_list_of_numbers_is_not_walked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of token numbers as lists has a hundred thousand of them, in every step."""
    members: list[Any] = []

    def noted(value: Any) -> list[Any]:
        members.append(value)
        return original(value)

    original = layer_hooks._members
    monkeypatch.setattr(layer_hooks, "_members", noted)
    batch = {"ids": [[1, 2, 3]] * 2, "mixed": [1, torch.ones(2)]}
    assert [path for path, _ in layer_hooks.all_tensors(batch)] == [".mixed.1"]
    assert 2 not in members


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_a_checkpoint_that_cannot_be_read_has_no_state(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save([1], path) if content is None else path.write_bytes(content)
    assert checkpoint_state(str(path)) is None


class TestComparison:
    """Numbers of a second run beside those of the training."""

    def test_a_number_that_did_not_come_again_is_a_difference(self) -> None:
        recorded = Numbers(
            3, (0.5,), {"batch.0": 1.0, "net.0": 2.0}, {}, None, None, ()
        )
        again = Numbers(3, (), {"batch.0": 1.0}, {}, None, None, ())
        comparison = compare([recorded], [again])
        assert "largest output of net.0 of step 3 did not" in str(comparison.difference)
        assert "the loss of step 3" in str(
            compare([recorded], [again], has_all_outputs=False).difference
        )
        assert compare([again], [recorded]).difference is None

    def test_a_state_that_cannot_be_set_is_an_error(self, tmp_path: Path) -> None:
        (path,) = recorded(tmp_path, BadBatch()).bundles
        state = torch.load(path / "state.pt", weights_only=True)
        state["optimizers"].append(state["optimizers"][0])
        torch.save(state, path / "state.pt")
        with pytest.raises(ValueError, match="the step could not be run again"):
            replay(path, BadBatch(), accelerator="cpu")

    def test_an_exception_that_does_not_come_again(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        trainer = Trainer(max_steps=6, callbacks=[recorder], **QUIET)
        with pytest.raises(ValueError, match="no such row"):
            trainer.fit(Raising(ValueError("no such row")), loader())
        (path,) = recorder.bundles
        result = replay(path, Regression(tanh_net()), accelerator="cpu")
        assert result.is_equal, result.difference
        assert str(result.message).startswith("The second run raised nothing.")


@dataclass
class Pair:
    """A batch of a class."""

    x: Tensor
    names: list[str]


class Named(NamedTuple):
    """A batch with names."""

    x: Tensor
    more: dict[str, Any]


class Encoding(dict):  # type: ignore[type-arg]
    """A batch of a mapping's class, as of transformers."""


@dataclass
class Doubled:
    """Changes a field when it is made, and has one that its `__init__` does not take."""

    value: int
    length: int = field(init=False, default=3)

    def __post_init__(self) -> None:
        self.value *= 2


OBJECTS = [
    defaultdict(list, a=[1]),
    UserDict({"": 1, "b": 2}),
    deque([1, 2], maxlen=3),
    {1, 2},
    Doubled(2),
]


class TestPlain:
    """Batches of any form through `torch.load(weights_only=True)`."""

    @pytest.mark.parametrize(
        "batch",
        [
            [torch.ones(2), torch.zeros(3, dtype=torch.long)],
            (torch.ones(2), {"a": [1, 2.5, None, True, "text"]}),
            Pair(torch.ones(2), ["emma"]),
            Named(torch.ones(2), {"k": torch.zeros(1)}),
            Encoding(input_ids=torch.arange(4)),
            {"deep": [Pair(torch.ones(1), [])]},
        ],
        ids=lambda each: type(each).__name__,
    )
    def test_round_trip(self, batch: Any, tmp_path: Path) -> None:
        torch.save(to_plain(batch), tmp_path / "batch.pt")
        again = from_plain(torch.load(tmp_path / "batch.pt", weights_only=True))
        assert type(again) is type(batch)
        assert same(again, batch)

    @pytest.mark.parametrize("batch", OBJECTS, ids=lambda each: type(each).__name__)
    def test_objects_are_the_same_again(self, batch: Any, tmp_path: Path) -> None:
        torch.save(to_plain(batch), tmp_path / "batch.pt")
        again = from_plain(torch.load(tmp_path / "batch.pt", weights_only=True))
        assert type(again) is type(batch)
        assert again == batch

    def test_a_tensor_of_a_subclass_can_be_read(self, tmp_path: Path) -> None:
        class Image(Tensor):
            pass

        torch.save(to_plain(torch.ones(2).as_subclass(Image)), tmp_path / "batch.pt")
        again = torch.load(tmp_path / "batch.pt", weights_only=True)
        assert torch.equal(again, torch.ones(2))

    @pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int16"])
    def test_arrays_of_whole_numbers(self, kind: str, tmp_path: Path) -> None:
        array = np.array([0, 1, np.iinfo(kind).max], dtype=kind)
        torch.save(to_plain({"ids": array}), tmp_path / "batch.pt")
        again = from_plain(torch.load(tmp_path / "batch.pt", weights_only=True))["ids"]
        assert again.dtype == array.dtype
        assert again.tolist() == array.tolist()

    def test_arrays_of_objects_and_of_another_byte_order(self) -> None:
        for values in (np.arange(3.0).astype(">f4"), np.array(["a", None], object)):
            again = from_plain(to_plain(values))
            assert isinstance(again, np.ndarray)
            assert again.tolist() == values.tolist()

    def test_what_cannot_be_written_has_a_name(self) -> None:
        plain = to_plain({"a": [object()], "b": 1})
        assert left_out(plain) == {"<builtins.object, not written>"}
        assert without_left_out({"a": to_plain(object()), "b": 1}) == {"b": 1}

    def test_a_view_is_written_without_what_it_is_a_view_of(
        self, tmp_path: Path
    ) -> None:
        torch.save(to_plain([torch.zeros(1_000_000)[:3]]), tmp_path / "batch.pt")
        assert (tmp_path / "batch.pt").stat().st_size < 10_000

    def test_a_class_that_is_not_imported_is_not_imported(self) -> None:
        with pytest.raises(LookupError, match="import not_there first"):
            from_plain({"__class__": "not_there:Batch", "__members__": {}})

    def test_a_function_of_a_module_is_no_class(self) -> None:
        with pytest.raises(LookupError):
            from_plain({"__class__": "os:system", "__members__": {"command": "true"}})
        with pytest.raises(LookupError, match="no container"):
            from_plain({"__class__": "subprocess:Popen", "__members__": {}})


def same(one: Any, other: Any) -> bool:
    """True if two batches hold the same."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dict__"):
        return same(vars(one), vars(other))
    return one == other


class TestJumpRule:
    def test_noise_is_no_jump(self) -> None:
        rule, generator = JumpRule(2.0), torch.Generator().manual_seed(0)
        noise = torch.randn(2000, generator=generator)
        assert not any(rule.judge(1.0 + 0.3 * float(each)) for each in noise)

    def test_a_number_near_zero_is_no_jump_for_its_multiple_alone(self) -> None:
        rule, generator = JumpRule(2.0), torch.Generator().manual_seed(0)
        noise = torch.randn(2000, generator=generator)
        assert not any(rule.judge(0.01 + float(each)) for each in noise)

    def test_little_noise_is_no_jump_for_its_deviations_alone(self) -> None:
        rule = JumpRule(2.0)
        assert not any(rule.judge(1.0) for _ in range(100))
        assert rule.limit == pytest.approx(2.0)
        assert rule.judge(2.1)

    def test_negative_numbers_jump_upwards(self) -> None:
        rule = JumpRule(2.0)
        assert not any(rule.judge(-10.0) for _ in range(100))
        assert rule.judge(5.0)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"batches": 1.5},
        {"most_bundles": -1},
        {"state_every_n_steps": 0},
        {"loss_factor": 1.0},
        {"gradient_factor": "10"},
        {"deviations": -1.0},
        {"figures": "no"},
        {"layers": "*"},
        {"layers": []},
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_raises_with_its_value(options: Any) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=name) as caught:
        FlightRecorder(**options)
    assert repr(value) in str(caught.value)


def test_a_pattern_that_matches_nothing_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no match for 'conv"):
        recorded(tmp_path, BadBatch(), layers=["conv*"])
