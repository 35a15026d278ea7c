"""What the instruments share: when they look, at what, and that they never disturb the training they look at."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ._histogram import Histogram
from ._hooks import LayerHooks
from ._observation import Observation
from ._publisher import Publisher
from ._ranks import pool_over_ranks
from ._reach import out_of_sight, why_not
from ._records import name_in
from ._schedule import Schedule
from ._selection import check_patterns
from ._sketches import Sketch
from ._transfer import fetch
from ._warnings import warn
from ._writer import Writer

PATIENCE = 64
"""Batches that a step may take in manual optimization until its optimizer steps."""


class Instrument(Callback):
    """A diagnostic of a training: looks at the steps that are due and lets the others pass.

    The life of a due step: `_begin` before each of its batches, `_see` whenever a layer is called, `_before_update`
    once gradients are complete, `_end` once the parameters have moved. What these measure on a device stays there
    until then; after that it makes its way to the host in one copy, `_report` turns it into numbers, and they are kept
    in `latest` and written.
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
    ) -> None:
        super().__init__()
        check_patterns("layers", layers)
        check_patterns("params", params)
        self.schedule = Schedule(every_n_steps, dense_start)
        self.layers, self.params, self.figures = layers, params, figures
        self.latest: dict[str, float | Histogram] | None = None
        self.latest_step: int | None = None
        # Asked for at every hook of every step, so not put together there.
        self._state_key = f"{type(self).__qualname__}{[every_n_steps, dense_start, layers, params, figures]}"
        self._let_go()

    def _let_go(self) -> None:
        """Forgets what belongs to one fit."""
        self._on = False
        self._now: Observation | None = None
        self._companions: Sequence[Instrument] = ()
        self._publisher = Publisher(Writer())
        self._failed = False
        self._with_nonfinite: set[str] = set()
        self._expects_finite = True
        self._layers: dict[str, nn.Module] = {}
        self._given_of: Container[nn.Module] = ()
        self._rank, self._processes = 0, 1
        self._patience = PATIENCE
        self._chosen_before_all_is_known = False
        self._told_of_silence = False
        self._params: dict[str, nn.Parameter] = {}

    @property
    def state_key(self) -> str:
        """Tells two instruments of one class apart in a checkpoint."""
        return self._state_key

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what belongs to the fit that is going on: a copy begins its own."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._let_go()
        return copy.__dict__

    # What an instrument fills in.

    def _choose(self, trainer: Trainer, root: nn.Module) -> bool:
        """Chooses what to look at, once a fit; tells whether there is anything."""
        raise NotImplementedError

    def _begin(self, now: Observation) -> None:
        """Is called before each batch of a due step."""

    def _see(self, now: Observation, name: str, layer: nn.Module, output: Tensor) -> None:
        """Is called when one of `_layers` has returned a tensor."""

    def _see_given(self, now: Observation, name: str, layer: nn.Module, given: Tensor) -> None:
        """Is called when one of `_given_of` is given a tensor."""

    def _before_update(self, now: Observation, optimizer: Optimizer) -> None:
        """Is called when the gradients for an optimizer are complete, unscaled, and not clipped."""

    def _end(self, now: Observation) -> None:
        """Is called when the parameters have moved."""

    def _report(self, values: Mapping[str, Any], now: Observation) -> dict[str, float | Histogram]:
        """Turns measurements into what is written, by tag."""
        raise NotImplementedError

    def _pictures(self, values: Mapping[str, Any], step: int) -> dict[str, Callable[[], Sketch]]:
        """Returns what draws each picture, by tag."""
        return {}

    # Lightning's hooks.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()
        self.latest = self.latest_step = None
        self._rank, self._processes = trainer.global_rank, trainer.world_size
        if (reason := why_not(trainer)) is not None:
            self._warn(f"{reason} It records nothing.")
            return
        self._on = self._choose(trainer, pl_module)
        self._chosen_before_all_is_known = any(is_lazy(param) for param in pl_module.parameters())
        if not self._on:
            self._warn(f"finds nothing to look at in {type(pl_module).__name__} and records nothing.")
        self._companions = self._all_of(trainer)
        first = self._companions[0]
        loggers = trainer.loggers if trainer.is_global_zero else []
        writer = Writer(loggers) if first is self else first._publisher.writer
        self._publisher = Publisher(writer, self.schedule if self.figures else None)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._on:
            return
        step = step_of(trainer)
        if self._now is not None and self._now.step != step and not self._waits_for_a_step(pl_module):
            self._finish()  # a step whose optimizer was never asked
        if self._now is None and self.schedule.is_due(step):
            if self._chosen_before_all_is_known:  # lazy parameters have no shape until the first batch
                self._choose(trainer, pl_module)
                self._chosen_before_all_is_known = any(is_lazy(param) for param in pl_module.parameters())
            self._now = self._observe(step)
        if self._now is not None:
            self._now.look(at_optimizers=not pl_module.automatic_optimization)
            self._safely(self._begin, self._now)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._now is not None:
            self._now.takes_gradients = True

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._now is not None:
            self._now.takes_gradients = False
            # In manual optimization more forward passes may come. In automatic optimization more are only those of
            # LBFGS, at parameters that have moved.
            if pl_module.automatic_optimization:
                self._now.look_away()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self._now is not None:
            self._now.has_stepped = True
            self._safely(self._before_update, self._now, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._now is None:
            return
        self._now.look_away()
        self._now.batches += 1
        if self._now.has_stepped or not (pl_module.automatic_optimization or self._patience):
            self._finish()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish()
        self._safely(self._publisher.finish)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _in_sight(self, root: nn.Module, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """Returns the layers that hooks can see; says once which they cannot."""
        hidden = out_of_sight(root, layers)
        if hidden:
            names = ", ".join(sorted(hidden)[:5]) + (", ..." if len(hidden) > 5 else "")
            self._warn(f"records nothing of layers that are compiled, which no hook can see: {names}.")
        return {name: layer for name, layer in layers.items() if name not in hidden}

    def _all_of(self, trainer: Trainer) -> Sequence["Instrument"]:
        """Returns the instruments of a Trainer as they are called; this one alone where something else calls it."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        found = [callback for callback in callbacks if isinstance(callback, Instrument)]
        return found if self in found else [self]

    # How a due step begins and ends.

    def _observe(self, step: int) -> Observation:
        def see(name: str, layer: nn.Module, output: Tensor) -> None:
            self._see(now, name, layer, output)

        def see_given(name: str, layer: nn.Module, given: Tensor) -> None:
            self._see_given(now, name, layer, given)

        now = Observation(
            step, LayerHooks(self._layers, self._safely, see, see_given, self._given_of), failed=self._failed
        )
        return now

    def _finish(self) -> None:
        now = self._now
        if now is None:
            return
        if not now.batches:  # Lightning left out the only one
            now.look_away()
            self._now = None
            return
        self._safely(self._end, now)
        measured: dict[str, Any] = {}
        self._safely(lambda: measured.update(fetch(now.pending)))
        # Every process comes by here at every due step, with whatever it has: else one would wait for another.
        values = pool_over_ranks(None if now.failed else measured, self._processes)
        self._now = None
        if values is None:
            self._close()
            return
        if self._layers and not (now.hooks.has_seen or self._told_of_silence):
            self._told_of_silence = True
            self._warn(f"saw no call of any layer in step {now.step}: functions and compiled code cannot be seen.")
        self._safely(self._publish, values, now)
        self._send()

    def _waits_for_a_step(self, pl_module: LightningModule) -> bool:
        """Tells whether a step goes on with the next batch, as where gradients are accumulated by hand.

        One that never ends belongs to no optimizer of PyTorch: it is dropped, and the next end with their batch.
        """
        if pl_module.automatic_optimization or self._now is None or not self._patience:
            return False
        if self._now.batches >= self._patience:
            self._patience, self._now = 0, None
            self._send()
        return True

    def _publish(self, values: Mapping[str, Any], now: Observation) -> None:
        self.latest = self._report(values, now) | self._count_nonfinite(values, now.step)
        self.latest_step = now.step
        self._publisher.publish(self.latest, now.step, lambda: self._pictures(values, now.step))

    def _send(self) -> None:
        """Has what was collected of a step written, unless there is another instrument that still looks at it."""
        writer = self._publisher.writer
        if not any(other._now is not None and other._now.step == writer.step for other in self._companions):
            writer.send()

    def _count_nonfinite(self, values: Mapping[str, Any], step: int) -> dict[str, float]:
        """Counts NaN and Inf by layer or parameter, of those that have ever had one; warns of the first.

        Where several tensors of one name are looked at, as a parameter and its gradient, the larger count stands.
        """
        found = [tag for tag in self._from_cause_to_effect(list(values)) if values[tag].nonfinite]
        if found and not self._with_nonfinite and self._expects_finite:
            first = name_in(found[0])
            self._warn(f"saw NaN or Inf in step {step}, first at {first} ({values[found[0]].nonfinite} of them).")
        self._with_nonfinite |= {name_in(tag) for tag in found}
        counts: dict[str, float] = {}
        for tag, value in values.items():
            name = name_in(tag)
            counts[name] = max(counts.get(name, 0.0), float(value.nonfinite))
        return {f"nonfinite/{name}": count for name, count in counts.items() if name in self._with_nonfinite}

    def _from_cause_to_effect(self, tags: list[str]) -> list[str]:
        """Orders tags so that what is not finite in one comes from those before it: layers as they are called."""
        return tags

    # How nothing is disturbed.

    def _safely(self, look: Callable[..., None], *what: Any) -> None:
        """Looks; what goes wrong ends this instrument's part in the fit, with one warning, and training goes on."""
        if self._failed:
            return
        try:
            look(*what)
        except Exception as error:
            self._failed = True
            where = next((f" at {name}" for name in what if isinstance(name, str)), "")
            step = next((f" in step {now.step}" for now in (*what, self._now) if isinstance(now, Observation)), "")
            if self._now is not None:
                self._now.fail()
            said = f"failed{where}{step} and is off until the next fit. {type(error).__name__}: {error}"
            self._warn(said, every_process=True)

    def _warn(self, what: str, every_process: bool = False) -> None:
        if self._rank == 0 or every_process:
            warn(f"{type(self).__name__} {what}")

    def _close(self) -> None:
        """Leaves nothing behind in the model; may be called at any time, any number of times."""
        if self._now is not None:
            self._now.look_away()
            self._now = None
        self._send()
        self._publisher.close()
        self._let_go()


def step_of(trainer: Trainer) -> int:
    """Returns how many training batches have stepped so far.

    It is what Lightning itself puts on the x-axis; `trainer.global_step` counts the steps of every optimizer instead.
    Lightning has no public name for it.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped
