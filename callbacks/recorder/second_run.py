"""Second run of the steps of a bundle, inside a fit of its own."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from .._lightning import Callback, LightningModule, Trainer, extend_bases
from .._messages import InstrumentError
from ..probe.preserved_state import set_random_state
from ..probe.selection import clean_name, named_params
from .first_seen import FirstSeen, first_jump
from .magnitudes import choose
from .options import Options
from .origin import first_update
from .recording import Recording
from .rows import Numbers
from .states import named_buffers, write_state
from .trigger import Trigger


class SecondRun(Callback):
    """Sets a model to the state of a bundle, and records the steps that follow.

    Args:
        batches: Batches of the bundle, each with its step, number, random states and counts.
        state: State before the first of them; None = the model is left as it is.
        before: Numbers of the steps before, from the training.
        progress: Losses and optimizers of the last step whose numbers the bundle has.
        layers: Patterns for the layers whose outputs are measured.
    """

    def __init__(
        self,
        batches: Sequence[Mapping[str, Any]],
        state: Mapping[str, Any] | None,
        before: Sequence[Numbers],
        progress: Sequence[int],
        layers: list[str] | None,
    ) -> None:
        extend_bases()
        super().__init__()
        self.first: FirstSeen | None = None
        self.numbers: list[Numbers] = []
        self.comparable: list[Numbers] = []
        """Numbers when the last step had come as far as in the training when they were written."""
        self._batches, self._state = list(batches), state
        self._before, self._layers = list(before), layers
        self._progress = tuple(progress)
        self._index = -1
        self._has_begun = self._is_tracing = False
        self._recording: Recording | None = None

    def expect_begun(self, error: Exception) -> Exception:
        """Returns what a step raised.

        Raises:
            InstrumentError: If it was raised before the first batch.
        """
        if not self._has_begun:
            cause = f"{type(error).__name__}: {error}"
            raise InstrumentError(
                f"the step could not be run again: {cause}"
            ) from error
        return error

    def prepare(self, model: Any) -> None:
        """Gives a model, or a datamodule, its batches as the training step had them, with their numbers."""
        model.on_before_batch_transfer = _pass_on
        model.on_after_batch_transfer = _pass_on
        for name in ("training_step", "on_train_batch_start", "on_train_batch_end"):
            if (original := getattr(model, name, None)) is not None:
                setattr(model, name, self._with_number(original))

    def _with_number(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a method that gets the number of the batch in the training as its last argument."""

        @wraps(original)
        def method(batch: Any, *arguments: Any, **keywords: Any) -> Any:
            if arguments and not self._is_tracing:
                number = self._batches[self._index]["batch_idx"]
                arguments = (*arguments[:-1], number)
            return original(batch, *arguments, **keywords)

        return method

    # Lightning's hooks.

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._index += 1
        record = self._batches[self._index]
        if self._recording is None:
            self._begin(trainer, pl_module, record)
        assert self._recording is not None
        set_random_state(record["random_state"])
        self._recording.begin_batch(batch, record["batch_idx"])
        self._has_begun = True

    def _begin(
        self, trainer: Trainer, module: LightningModule, record: Mapping[str, Any]
    ) -> None:
        if self._state is not None:
            check_architecture(module, self._state["params"])
            write_state(module, trainer, dict(self._state))
        modules = {
            clean_name(module, name): each for name, each in module.named_modules()
        }
        for name, attribute, value in record["counts"]:
            if name in modules and hasattr(modules[name], attribute):
                vars(modules[name])[attribute] = value
        set_progress(trainer, record["step"], record["epoch"], record["global_step"])
        options = Options(len(self._batches) + 1, 1, None, None, None, 1.0, 1)
        layers = choose(module, self._layers)
        self._recording = Recording(trainer, module, layers, options)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        assert self._recording is not None
        self._note(self._recording.before_backward, loss)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        assert self._recording is not None
        self._note(self._recording.before_optimizer_step, optimizer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert self._recording is not None
        self._note(self._recording.end_batch)
        step = self._batches[self._index]["step"]
        self.first = self.first or first_update(pl_module, trainer.optimizers, step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._recording is not None:
            self._note(self._recording.of_exception, exception)
        self._finish()

    def _note(self, hook: Callable[..., Trigger | None], *arguments: Any) -> None:
        """Passes a hook on to the recording, and keeps what is out of line first."""
        assert self._recording is not None
        trigger = hook(*arguments)
        is_last = self._batches[self._index]["step"] == self._batches[-1]["step"]
        if is_last and self._recording.progress == self._progress:
            self.comparable = self._recording.numbers()
        if trigger is not None and self.first is None:
            self._is_tracing = (
                True  # calls the step with the numbers of batches that it had
            )
            self.first = self._recording.evidence(trigger).first
            self._is_tracing = False

    def _finish(self) -> None:
        if self._recording is None or self.numbers:
            return
        self._recording.close()
        self.numbers = self._recording.numbers()
        if self.first is None:
            self.first = first_jump([*self._before, *self.numbers])


def check_architecture(model: nn.Module, params: Mapping[str, Tensor]) -> None:
    """Checks that a model has the parameters of a state, once they have been created.

    Raises:
        InstrumentError: If it has not; names the first.
    """
    own = named_params(model) | named_buffers(model)
    for name, values in params.items():
        if name not in own or own[name].shape != values.shape:
            shape = tuple(own[name].shape) if name in own else "not there"
            raise InstrumentError(
                f"the model is not that of the bundle: {name} has the shape {tuple(values.shape)} in the bundle, and "
                f"in the model {shape}"
            )


def set_progress(trainer: Trainer, step: int, epoch: int, global_step: int) -> None:
    """Sets what a Trainer has counted, which models may ask for; Lightning has no public way."""
    loop: Any = trainer.fit_loop
    loop.epoch_loop._batches_that_stepped = step
    loop.epoch_progress.current.processed = epoch
    automatic = loop.epoch_loop.automatic_optimization.optim_progress
    manual = loop.epoch_loop.manual_optimization.optim_step_progress
    if trainer.lightning_module.automatic_optimization:
        automatic.optimizer.step.total.completed = global_step
    else:
        manual.total.completed = global_step


def _pass_on(batch: Any, dataloader_idx: int = 0) -> Any:
    """Returns a batch as it is: it has been transferred once."""
    return batch
