"""How far each update moves its parameter."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ._base import Instrument
from ._gradient_scale import GradientScale
from ._histogram import Histogram
from ._observation import Observation
from ._ranks import own_part
from ._selection import choose_params
from ._sketches import Sketch, sketch_ratios
from ._statistics import Moments, log10_ratio
from ._tally import MomentTally

REMEMBERED = 2000
"""Points of a line in the picture; when there are more, every other one is forgotten."""

SCALE = "scale/lowered"
"""Where it is noted whether a gradient scaler lowered its scale in the step."""


class UpdateRatio(Instrument):
    """Shows how large the updates are beside the parameters: the last picture of the lecture.

    Healthy: the lines settle around -3, an update of a thousandth of the parameter. Not healthy: far above (the
    learning rate is too high), far below (it is too low, or gradients vanish), or far apart from each other.

    The change is the true one, of copies taken before and after: whatever the optimizer, momentum, weight decay,
    clipping or a gradient scaler made of the gradient. An update that did not happen has no ratio; see `unmoved`.

    Writes, at each due step, for each parameter:
        - `update_ratio/{param}`: log10( std(after - before) / std(after) ), std with Bessel's correction;
        - `nonfinite/{param}`: how many elements were NaN or Inf after the update, from the first time on that there
          are any;
        - `update_ratio`: picture, one line a parameter over steps, and a guide at -3.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Not used here; taken so that all instruments can be given the same arguments.
        params: Shell-style patterns for a parameter's name; None = those with two and more axes.
        figures: Whether to draw the picture: at `every_n_steps` times 0, 1, 4, 16, ..., each 500, and at the end.

    Attributes:
        latest: By tag, the numbers of the last due step; None before the first.
        latest_step: That step.
        unmoved: By parameter, why the last due step has no ratio for it: "no gradient", "zero gradient", "no step" (no
            optimizer of it was asked), "learning rate zero", "skipped by the gradient scaler", "rounded to zero" (the
            update is smaller than what its type resolves), "no spread" (all elements are equal, or all moved by the
            same amount, or there is only one), or "not finite".

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

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self.unmoved: dict[str, str] = {}
        self._steps: list[int] = []
        self._ratios: dict[str, list[float | None]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Keeps the lines of the picture, so that a run that goes on goes on with them."""
        return {"steps": list(self._steps), "ratios": {name: list(line) for name, line in self._ratios.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps, self._ratios = list(state_dict["steps"]), dict(state_dict["ratios"])

    def _let_go(self) -> None:
        super()._let_go()
        self._before: dict[str, Tensor] = {}
        self._with_gradient: set[str] = set()
        self._scale = GradientScale.none()
        self._factor: Tensor | None = None
        self._rates: dict[int, Any] = {}
        self._warned = False

    def _choose(self, trainer: Trainer, root: nn.Module) -> bool:
        self._params = choose_params(root, self.params)
        self._scale = GradientScale.of(trainer)
        return bool(self._params)

    def _begin(self, now: Observation) -> None:
        if not self._before:  # the first batch of the step
            self._before = {name: part.clone() for name, part in self._parts()}
            self._with_gradient, self._rates, self._factor = set(), {}, None

    def _before_update(self, now: Observation, optimizer: Optimizer) -> None:
        self._with_gradient |= {name for name, param in self._params.items() if param.grad is not None}
        for group in optimizer.param_groups:
            self._rates |= {id(param): group.get("lr") for param in group["params"]}
        if self._factor is None:  # before the first optimizer of the step, which may lower it
            self._factor = self._scale.factor()

    def _end(self, now: Observation) -> None:
        factor = self._scale.factor()
        if self._factor is not None and factor is not None:
            now.tally(SCALE, MomentTally).add((factor < self._factor).float())
        before, self._before = self._before, {}
        for name, part in self._parts():
            if name not in before:  # had no shape then
                continue
            now.tally(f"update/{name}", MomentTally).add_change(part, before.pop(name))
            now.tally(f"after/{name}", MomentTally).add(part)

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        """Yields what this process has to measure of the parameters."""
        for name, param in self._params.items():
            if not is_lazy(param) and (part := own_part(param.detach(), self._rank)) is not None:
                yield name, part

    def _report(self, values: Mapping[str, Moments], now: Observation) -> dict[str, float | Histogram]:
        names = [name for name in self._params if f"update/{name}" in values]
        found = {name: log10_ratio(values[f"update/{name}"], values[f"after/{name}"]) for name in names}
        self._remember(now.step, found)
        ratios = {name: ratio for name, ratio in found.items() if ratio is not None}
        # A scaler that met an infinity takes no step and lowers its scale.
        skipped = SCALE in values and values[SCALE].mean > 0
        self.unmoved = {
            name: self._why(name, values[f"update/{name}"], skipped) for name in found if name not in ratios
        }
        self._warn_of_rounding(now.step)
        return {f"update_ratio/{name}": ratio for name, ratio in ratios.items()}

    def _why(self, name: str, change: Moments, skipped: bool) -> str:
        gradient = self._params[name].grad
        if not change.count:
            return "not finite"
        if change.low < 0 or change.high > 0:
            return "no spread"
        if gradient is None and name not in self._with_gradient:
            return "no gradient"
        if id(self._params[name]) not in self._rates:
            return "no step"
        if isinstance(rate := self._rates[id(self._params[name])], float) and rate == 0:
            return "learning rate zero"
        if skipped:
            return "skipped by the gradient scaler"
        part = None if gradient is None else own_part(gradient, self._rank)
        return "rounded to zero" if part is None or part.any() else "zero gradient"

    def _warn_of_rounding(self, step: int) -> None:
        lost = [name for name, why in self.unmoved.items() if why == "rounded to zero"]
        if lost and not self._warned:
            self._warned = True
            self._warn(f"saw updates that their type rounds to zero, in step {step}, of {', '.join(lost)}.")

    def _remember(self, step: int, ratios: Mapping[str, float | None]) -> None:
        """Adds a point to each line; what was there from this step on is of a run that went another way."""
        kept = sum(earlier < step for earlier in self._steps)
        lines = {name: self._ratios.get(name, [None] * kept)[:kept] for name in (*self._ratios, *ratios)}
        self._ratios = {name: [*line, ratios.get(name)] for name, line in lines.items()}
        self._steps = [*self._steps[:kept], step]
        if len(self._steps) > REMEMBERED:
            self._steps = self._steps[::2]
            self._ratios = {name: line[::2] for name, line in self._ratios.items()}

    def _pictures(self, values: Mapping[str, Any], step: int) -> dict[str, Callable[[], Sketch]]:
        lines = {name: line for name, line in self._ratios.items() if any(ratio is not None for ratio in line)}
        return {"update_ratio": partial(sketch_ratios, f"updates up to step {step}", self._steps, lines)}
