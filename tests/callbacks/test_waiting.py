"""How often an accelerator would be waited for, held where there is none: by taking the ways that one takes.

With `on_host` saying that nothing is on the host, every tensor is treated as one on a device; what would make the host
wait for it (reading a number, a copy) is counted by PyTorch's own dispatch.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from fits import ALL, Regression, fit, tanh_net
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from callbacks import _hooks, _transfer
from callbacks._base import Instrument

pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
WAITS = {"_local_scalar_dense", "item", "nonzero", "bincount", "masked_select", "unique_dim", "_unique2", "equal"}
"""Operations whose result the host needs before it can go on."""


class Waits(TorchDispatchMode):
    """Counts what waits, apart from what is read of the numbers that have arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
            self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Counts:
    """Keeps, for each step, what waited in the course of it and how many copies were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mode, self.copies = Waits(), 0
        self.steps: list[tuple[int, int]] = []
        to_host = _transfer.to_host

        def counted(tensors: Any) -> Any:
            self.copies += 1
            self.mode.__exit__(None, None, None)  # from here on, numbers are on the host
            return to_host(tensors)

        monkeypatch.setattr(_transfer, "to_host", counted)
        publish = Instrument._publish

        def published(instrument: Any, *what: Any) -> None:
            publish(instrument, *what)
            self.mode.__enter__()

        monkeypatch.setattr(Instrument, "_publish", published)

    def begin(self) -> None:
        self.mode.seen.clear()
        self.copies = 0
        self.mode.__enter__()

    def end(self) -> None:
        self.mode.__exit__(None, None, None)
        self.steps.append((len(self.mode.seen), self.copies))


def counted(kind: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Waits and copies of each step, the optimizer's own and Lightning's left out."""
    for module in ("_tally", "_saturation", "_transfer"):
        monkeypatch.setattr(f"callbacks.{module}.on_host", lambda _: False)
    counts = Counts(monkeypatch)
    instrument = kind(every_n_steps=4, dense_start=False, figures=False, layers=["*"], params=["*"])

    class Before(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            counts.begin()

    class After(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            counts.end()

    fit(lambda: Regression(tanh_net()), [Before(), instrument, After()], max_steps=8)
    return counts.steps


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_one_copy_on_a_due_step_and_no_wait_on_others(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        steps = counted(kind, patch)
    assert [copies for _, copies in steps] == [1, 0, 0, 0, 1, 0, 0, 0]
    assert [waits for waits, _ in steps] == [0] * 8


class Operations(TorchDispatchMode):
    """Counts what PyTorch does."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(instruments: list[Callback]) -> list[int]:
    """How many operations each step takes, from the beginning of one batch to that of the next."""
    counts: list[int] = []

    class Counting(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            counts.append(mode.count)

    with Operations() as mode:
        fit(lambda: Regression(tanh_net()), [Counting(), *instruments], max_steps=9)
    return [after - before for before, after in pairwise(counts)]


def test_steps_that_are_not_due_do_nothing_more() -> None:
    """No operation, so no tensor that is made, and nothing to wait for."""
    bare = operations([])
    watched = operations([kind(every_n_steps=4, dense_start=False, figures=False) for kind in ALL])
    assert [more > usual for more, usual in zip(watched, bare, strict=True)] == [True, False, False, False] * 2
    assert [count for step, count in enumerate(watched) if step % 4] == [c for step, c in enumerate(bare) if step % 4]


def test_the_count_sees_a_wait() -> None:
    with Waits() as mode:
        torch.ones(3).sum().item()
        torch.bincount(torch.tensor([1, 2]))
    assert set(mode.seen) == {"_local_scalar_dense", "bincount"}
    assert not _hooks.in_backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_on_a_gpu_nothing_waits_on_steps_that_are_not_due(kind: Any) -> None:
    class Strict(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            torch.cuda.set_sync_debug_mode("error" if trainer.global_step % 4 else "default")

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    instrument = kind(every_n_steps=4, dense_start=False, layers=["*"], params=["*"])
    fit(lambda: Regression(tanh_net()), [instrument, Strict()], max_steps=8, accelerator="gpu", devices=1)
    assert instrument.latest_step == 4
