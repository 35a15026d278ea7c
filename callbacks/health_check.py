"""HealthCheck: a verdict on a training, with findings, places and remedies."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ._fit import Fit
from ._health_arguments import check_expected_loss, check_ignore, check_on_fail
from ._instrument import Instrument, Number
from ._lightning import LightningModule, Trainer
from ._verdict_display import VerdictDisplay
from .health.health_report import HealthReport
from .health.judge import Judge
from .health.observation import Nonfinite
from .health.rule import Violation
from .health.terminal import print_report
from .observation.health_requests import HealthRequests
from .observation.mean_loss import MeanLoss
from .observation.observe_step import Facts, observe_step
from .observation.observed_params import are_settled
from .probe.length import step_of
from .probe.measurements import Measurements
from .probe.nonfinite_origin import NonfiniteOrigin
from .probe.nonfinite_watch import NonfiniteWatch
from .probe.probe import PATIENT, Probe
from .probe.request import Quantity, Request

EARLY_STEPS = 10
"""Due steps in which the symmetry of units is measured."""

NO_STEPS = Violation(
    where="",
    severity="fail",
    message=f"No optimizer has stepped in {PATIENT} batches: nothing is trained.",
    remedy="Call optimizer.step() after manual_backward(), or check the condition that it depends on.",
)

VERDICTS = ("ok", "warn", "fail")
"""Verdicts by the number that loggers get."""


class UnhealthyTraining(RuntimeError):  # noqa: N818  the name is part of the contract
    """Raised by `HealthCheck(on_fail="raise")` when a rule fails."""


class HealthCheck(Instrument):
    """A verdict on a training: what is wrong, where it began, since when, and what to do.

    Every due step is judged by the rules of `callbacks/health/catalogue.py`: initial loss, saturated and dead units,
    scale over depth, size of updates, parameters that do not move, NaN, and silent errors of the training loop.
    A rule knows what it may not judge: an output's sigmoid, logits, ReLU's zeros, zero-initialized weights, warm-up and
    decay of the learning rate, frozen and shared parameters. What is odd in one due step only is no finding.

    Writes, at each due step:
        - `health/{rule}`: number of places at which a rule is broken at that step, from the first time that there is
          any;
        - `health/verdict`: 0 ok, 1 warn, 2 fail, of all findings up to now;
        - `health`: text page of TensorBoard, a table of the findings.

    At the end of the fit, a table of the findings is printed. The progress bar shows `health ok`, `warn` or `fail`.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules and functions
            (at most 64, evenly spread over depth).
        params: Shell-style patterns for the parameters whose updates are measured; None = those with two and more axes
            (at most 64). All others are checked for whether they move.
        figures: Whether to write the text page.
        ignore: Rules that are not judged, or "rule:pattern" for places: `["dead_units", "saturation:gate.*"]`.
        expected_loss: Loss that an untrained model should have, in the unit of the loss; None = ln C where a
            classification loss over C classes is seen. Elsewhere `initial_loss` is not judged.
        on_fail: What a failure does: "report" = nothing else; "stop" = end the fit after the step; "raise" = raise
            `UnhealthyTraining`.

    Attributes:
        report: `HealthReport` up to now: `verdict`, `findings`, `steps`, `to_json()`, `to_markdown()`. It goes on in a
            resumed run.
        latest: Numbers of the last due step by tag; None before the first.
        latest_step: That step.
        history: Numbers of all due steps by tag, each with `steps` and `values`.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Andrej Karpathy, "Building makemore Part 3: Activations & Gradients, BatchNorm" (2022); Ben Braiek and Khomh,
        "TheDeepChecker" (2022); the trainings of `benchmarks/verdicts.py`, with how often the rules are wrong.

    Example:
        >>> import torch
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> class Small(BoringModel):
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=1e-3)
        >>> _ = torch.manual_seed(0)
        >>> check = HealthCheck()
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[check], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(Small())
        health ok: nothing found in 2 judged steps.
        >>> check.report.verdict
        'ok'
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
        ignore: list[str] | None = None,
        expected_loss: float | None = None,
        on_fail: str = "report",
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self.ignore, self.expected_loss = check_ignore(ignore), expected_loss
        self.on_fail = check_on_fail(on_fail)
        check_expected_loss(expected_loss)
        self._requests = HealthRequests(layers, params)
        self._begin_report()

    @property
    def report(self) -> HealthReport:
        """Verdict and findings up to now; there during the fit and after it, also after an exception."""
        return self._judge.report

    @property
    def summary(self) -> str:
        """One sentence with the verdict up to now."""
        return self.report.summary

    @property
    def requests(self) -> list[Request]:
        return self._requests.due(
            not self._judged,
            self._judged < EARLY_STEPS,
            self._is_settled,
            bool(self._fit and clip_norm(self._fit.trainer())),
        )

    def record(self, measurements: Measurements) -> dict[str, Number]:
        facts = facts_of(self._fit, self._past_losses)
        observation = observe_step(
            measurements, self._requests, facts, not self._judged
        )
        self._judged += 1
        self._was_judged, self._past_losses = True, 0
        if not (observation.layers or observation.params):
            return {}
        self._judge.judge(observation)
        self._is_settled = are_settled(
            measurements, self._requests, self._judge.course.moved
        )
        return self._numbers(measurements.step)

    def what_is_missing(self, measurements: Measurements) -> str | None:
        if self._judge.course.judged:
            return None
        name = type(measurements.plan.model.root).__name__
        return (
            f"has nothing to judge in step {measurements.step}: {name} has no parameters, "
            "and calls no activation that is known."
        )

    def state_dict(self) -> dict[str, Any]:
        """Keeps the findings and what rules remember, so that the report of a resumed run goes on."""
        return self._judge.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._begin_report()
        self._judge.load_state(state_dict)
        self._goes_on = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not (self._goes_on or self._is_elsewhere(trainer)):
            self._begin_report()
        self._goes_on = False
        super().on_fit_start(trainer, pl_module)
        if self._fit is not None and self._display is None:
            self._display = VerdictDisplay(self._fit, lambda: self.report, self.figures)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._fit is not None:
            self._watch = NonfiniteWatch(trainer, pl_module)
        if self._display is not None:
            self._display.add_word(trainer.progress_bar_callback)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._watch is not None:
            self._watch.begin_batch(batch, batch_idx)
        if self._fit is not None and self._fit.probe.is_open:
            self._add_past_losses(self._fit.probe)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        super().on_before_backward(trainer, pl_module, loss)
        if self._watch is not None:
            self._note_origin(self._watch.before_backward(loss))
        fit = self._fit
        if fit is None or fit.probe.is_open:  # the probe measures the loss itself
            return
        if fit.probe.context.automatic:
            self._losses.add(loss, fit.probe.context)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if self._watch is not None:
            self._note_origin(self._watch.before_optimizer_step(optimizer))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._watch is not None:
            self._note_origin(self._watch.end_batch())
        self._note_missing_steps(trainer)
        if self._was_judged:
            self._was_judged = False
            self._end_fit_if_it_fails(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not at the end of training, when progress bars are still on the screen.
        self._finish(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._fit is not None and self.report.verdict != "ok":
            self._finish(trainer)
        self._remove_display()
        super().on_exception(trainer, pl_module, exception)

    def teardown(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        self._remove_display()
        super().teardown(trainer, pl_module, stage)

    def _begin_report(self) -> None:
        """Begins the report of a run."""
        self._judge = Judge(self.ignore or (), self.expected_loss)
        self._goes_on = False

    def _reset(self) -> None:
        super()._reset()
        self._watch: NonfiniteWatch | None = None
        self._judged = 0
        self._was_judged = self._is_settled = False
        self._misses_steps = False
        self._losses, self._past_losses = MeanLoss(), 0
        self._display: VerdictDisplay | None = None

    def _add_past_losses(self, probe: Probe) -> None:
        """Gives the probe the mean loss since the last due step, once a due step."""
        self._past_losses += self._losses.count
        if self._losses.count:
            probe.add(Quantity.PAST_LOSS, self._losses.mean())
            self._losses = MeanLoss()

    def _numbers(self, step: int) -> dict[str, Number]:
        """Returns the numbers of a step, and writes the text page if there is something new on it."""
        if self._display is not None:
            self._display.update(step)
        numbers: dict[str, Number] = {
            f"health/{rule}": float(count) for rule, count in self._judge.counts.items()
        }
        return numbers | {"health/verdict": float(VERDICTS.index(self.report.verdict))}

    def _end_fit_if_it_fails(self, trainer: Trainer) -> None:
        """Ends the fit where a failure is to end it. Collective: every rank judges the same steps."""
        if self.on_fail == "report":
            return
        fails = self.report.verdict == "fail"
        if not trainer.strategy.reduce_boolean_decision(fails, all=False):
            return
        if self.on_fail == "raise":
            raise UnhealthyTraining(self.report.to_markdown())
        trainer.should_stop = True

    def _finish(self, trainer: Trainer) -> None:
        """Writes the last text page and prints the findings, once a fit."""
        if self._display is None or not self._display.finish(self.latest_step):
            return
        if trainer.is_global_zero:
            self._print_report()

    def _remove_display(self) -> None:
        if self._display is not None:
            self._display.remove_word()

    def _note_origin(self, origin: NonfiniteOrigin | None) -> None:
        """Adds the place where NaN or infinities began to the findings, in the step that has them."""
        if origin is None:
            return
        began = Nonfinite(origin.where, origin.message, origin.count)
        self._judge.add_nonfinite(began, origin.step)
        self._was_judged = True
        if self._fit is not None:
            self._fit.tell_of_nonfinite(origin.message)

    def _note_missing_steps(self, trainer: Trainer) -> None:
        """Adds to the findings, once, that no optimizer steps."""
        if self._fit is None or self._misses_steps or not self._fit.probe.waits_in_vain:
            return
        self._misses_steps = self._was_judged = True
        self._judge.add("unmoved", NO_STEPS, step_of(trainer))

    def _print_report(self) -> None:
        print_report(self.report)


def facts_of(fit: Fit | None, past_losses: int) -> Facts:
    """Returns the facts of a step that are not measured.

    Args:
        fit: The fit.
        past_losses: Number of losses since the last due step, before this one.
    """
    trainer = None if fit is None else fit.trainer()
    if fit is None or trainer is None:
        return Facts(past_losses, (), True, None)
    optimizers = tuple(fit.probe.context.optimizers())
    automatic = fit.probe.context.automatic
    clip = clip_norm(trainer)
    return Facts(past_losses, optimizers, automatic, clip, fit.last_step)


def clip_norm(trainer: Trainer | None) -> float | None:
    """Returns the largest gradient norm that a Trainer lets through; None if it does not clip by norm."""
    if trainer is None:
        return None
    by_norm = trainer.gradient_clip_algorithm in (None, "norm")
    return trainer.gradient_clip_val if by_norm else None
