"""UpdateRatio: size of the updates beside the parameters."""

from collections.abc import Mapping
from typing import Any

from ._instrument import Instrument, Number
from .measure.moments import log10_ratio
from .measure.statistic import MomentsOf
from .probe.measurements import Measurements
from .probe.request import Quantity, Request, as_patterns
from .probe.unmoved import why_unmoved
from .report.plots import Plot, RatioPlot

MOST_POINTS = 2000
"""Points of a line in the picture; when there are more, every other one is dropped."""


class UpdateRatio(Instrument):
    """Size of the updates beside the parameters: the last picture of the lecture.

    Healthy: the lines settle around -3, an update of a thousandth of the parameter. Not healthy: far above (the
    learning rate is too high), far below (it is too low, or gradients vanish), or far apart from each other.

    The change is the true one, of copies taken before and after: whatever the optimizer, momentum, weight decay,
    clipping or a gradient scaler made of the gradient. Of an optimizer that steps more than once in a batch, it is that
    of the first step. An update that did not happen has no ratio; see `unmoved`.

    Writes, at each due step, for each parameter:
        - `update_ratio/{param}`: log10( std(after - before) / std(after) ), std with Bessel's correction;
        - `nonfinite/{param}`: number of NaN and Inf after the update, from the first time that there are any;
        - `update_ratio`: picture, one line a parameter over steps, and a guide at -3; from the second point on.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Has no use here; giving it says so.
        params: Shell-style patterns for a parameter's name; None = those with two and more axes (at most 64, evenly
            spread over depth).
        figures: Whether to draw the picture: at steps 0, 1, 2, 4, ever more rarely, and the last; at most 10.

    Attributes:
        latest: Numbers of the last due step by tag; None before the first.
        latest_step: That step.
        history: Numbers of all due steps by tag, each with `steps` and `values`.
        unmoved: Why the last due step has no ratio, by parameter: "no gradient", "zero gradient" (as the optimizer took
            it, after clipping), "no step" (no optimizer of it stepped), "learning rate zero", "skipped by the gradient
            scaler", "rounded to zero" (an update of the size that SGD or Adam makes of this gradient and learning rate
            is below what the parameter's type resolves), "did not move" (for another reason), "no spread" (all elements
            are equal, or all moved by the same amount, or there is only one), or "not finite".

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Andrej Karpathy, "Building makemore Part 3: Activations & Gradients, BatchNorm" (2022), which divides by the
        updated parameter, too.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> updates = UpdateRatio()
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[updates], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(BoringModel())
        >>> sorted(updates.latest)
        ['update_ratio/layer.weight']
    """

    unused_argument = "layers"

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self._updates = Request(Quantity.UPDATE, MomentsOf(), as_patterns(params))
        self._updated = Request(Quantity.UPDATED, MomentsOf(), as_patterns(params))
        self.unmoved: dict[str, str] = {}
        self._steps: list[int] = []
        self._ratios: dict[str, list[float | None]] = {}

    @property
    def requests(self) -> list[Request]:
        return [self._updates, self._updated]

    def state_dict(self) -> dict[str, Any]:
        """Keeps the lines of the picture, so that a resumed run goes on with them."""
        return {
            "steps": list(self._steps),
            "ratios": {name: list(line) for name, line in self._ratios.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps, self._ratios = (
            list(state_dict["steps"]),
            dict(state_dict["ratios"]),
        )

    def record(self, measurements: Measurements) -> dict[str, Number]:
        changes, updated = (
            measurements.of(self._updates),
            measurements.of(self._updated),
        )
        ratios = {
            name: log10_ratio(change, updated[name])
            for name, change in changes.items()
            if name in updated
        }
        self._append(measurements.step, ratios)
        without_ratio = [name for name, ratio in ratios.items() if ratio is None]
        self.unmoved = {name: why_unmoved(name, measurements) for name in without_ratio}
        return {
            f"update_ratio/{name}": ratio
            for name, ratio in ratios.items()
            if ratio is not None
        }

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        lines = {
            name: list(line)
            for name, line in self._ratios.items()
            if any(ratio is not None for ratio in line)
        }
        points = (len(line) - line.count(None) for line in lines.values())
        if max(points, default=0) < 2:  # dots are no lines
            return {}
        title = f"updates up to step {measurements.step}"
        return {"update_ratio": RatioPlot(title, list(self._steps), lines)}

    def what_is_missing(self, measurements: Measurements) -> str | None:
        if measurements.plan.chosen.get(self._updates):
            return self._rounded(measurements.step)
        return f"has no parameter to measure in step {measurements.step}: choose them by name with params=[...]."

    def _rounded(self, step: int) -> str | None:
        rounded = [
            name for name, reason in self.unmoved.items() if reason == "rounded to zero"
        ]
        if not rounded:
            return None
        names = ", ".join(rounded[:5]) + (", ..." if len(rounded) > 5 else "")
        return f"has updates that are rounded to zero by the parameter's type in step {step}: {names}."

    def _append(self, step: int, ratios: Mapping[str, float | None]) -> None:
        """Adds a point to each line; points from this step on belong to a run that went another way."""
        past = sum(earlier < step for earlier in self._steps)
        names = (*self._ratios, *(name for name in ratios if name not in self._ratios))
        lines = {name: self._ratios.get(name, [None] * past)[:past] for name in names}
        self._ratios = {name: [*line, ratios.get(name)] for name, line in lines.items()}
        self._steps = [*self._steps[:past], step]
        if len(self._steps) > MOST_POINTS:
            self._steps = self._steps[::2]
            self._ratios = {name: line[::2] for name, line in self._ratios.items()}
