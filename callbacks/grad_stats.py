"""How the gradients of activations and parameters are spread."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ._base import Instrument
from ._gradient_scale import GradientScale
from ._histogram import Histogram
from ._observation import Observation
from ._ranks import own_part
from ._records import name_in, spread_record
from ._selection import choose_layers, choose_params, named_params
from ._sketches import Curve, Sketch, sketch_densities
from ._statistics import Moments
from ._tally import HistogramTally, MomentTally


class GradStats(Instrument):
    """Shows how gradients are spread: the second and third picture of the lecture.

    Healthy: the gradients of all activations are of one size, and `grad_data_ratio` is about the same, around 1e-3,
    for all parameters but the last layer's. Not healthy: gradients that shrink or grow from layer to layer.

    Gradients are those of the whole step: summed over its micro-batches, unscaled, and before clipping. A parameter
    counts when its optimizer steps. In manual optimization, activation gradients are those that come by in
    `manual_backward`, and gradients that are clipped by hand before the step are clipped ones.

    Writes, at each due step, for each layer and parameter:
        - `activation_grad/{layer}`: histogram of the gradient of the loss for the layer's output;
        - `weight_grad/{param}`, `weight/{param}`: histograms of the gradient and of the parameter before the update;
        - `activation_grad_mean/...`, `activation_grad_std/...`, `weight_grad_mean/...`, `weight_grad_std/...`,
          `weight_mean/...`, `weight_std/...`: over all elements, std with Bessel's correction;
        - `grad_data_ratio/{param}`: std(gradient) / std(parameter), before the update;
        - `grad_norm/total`: L2 norm of the gradients of all parameters, also those not chosen;
        - `nonfinite/{layer or param}`: how many were NaN or Inf, from the first time on that there are any; figures
          are those of the finite ones;
        - `activation_grad_distribution`, `weight_grad_distribution`: pictures, one density curve a layer or parameter.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules and, in a model
            that has none, every leaf module with parameters.
        params: Shell-style patterns for a parameter's name; None = those with two and more axes.
        figures: Whether to draw the pictures: at `every_n_steps` times 0, 1, 4, 16, ..., each 500, and at the end.

    Attributes:
        latest: By tag, the numbers and `Histogram`s of the last due step; None before the first.
        latest_step: That step.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Andrej Karpathy, "Building makemore Part 3: Activations & Gradients, BatchNorm" (2022); Glorot and Bengio,
        "Understanding the difficulty of training deep feedforward neural networks" (2010), figure 7.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> gradients = GradStats(layers=["layer"])
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[gradients], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(BoringModel())
        >>> sorted(tag for tag in gradients.latest if "activation" not in tag)  # doctest: +NORMALIZE_WHITESPACE
        ['grad_data_ratio/layer.weight', 'grad_norm/total', 'weight/layer.weight', 'weight_grad/layer.weight',
         'weight_grad_mean/layer.weight', 'weight_grad_std/layer.weight', 'weight_mean/layer.weight',
         'weight_std/layer.weight']
    """

    def _let_go(self) -> None:
        super()._let_go()
        self._every_param: dict[str, nn.Parameter] = {}
        self._scale = GradientScale.none()
        self._warned = False

    def _choose(self, trainer: Trainer, root: nn.Module) -> bool:
        self._layers = self._in_sight(root, choose_layers(root, self.layers))
        self._params = choose_params(root, self.params)
        self._every_param = named_params(root)
        self._scale = GradientScale.of(trainer)
        # With a scaler, infinities are how it finds its scale.
        self._expects_finite = self._scale.scaler is None
        return bool(self._layers or self._every_param)

    def _begin(self, now: Observation) -> None:
        for name, param in self._params.items():
            part = None if is_lazy(param) else own_part(param.detach(), self._rank)
            if part is not None and (tag := f"weight/{name}") not in now.pending:  # as before the step's first batch
                now.tally(tag, HistogramTally).add(part)

    def _see(self, now: Observation, name: str, layer: nn.Module, output: Tensor) -> None:
        # What no operation made is a parameter, or a part of the batch: a hook on it would stay for ever.
        if output.grad_fn is not None:
            now.tally(f"activation_grad/{name}", HistogramTally)  # in forward order, which gradients come against
            # The hook must not hold the output, which it would keep alive.
            output.register_hook(partial(self._see_gradient, now, name))

    def _see_gradient(self, now: Observation, name: str, gradient: Tensor) -> None:
        if now is self._now and now.takes_gradients:
            self._safely(self._add_gradient, now, name, gradient)

    def _add_gradient(self, now: Observation, name: str, gradient: Tensor) -> None:
        now.tally(f"activation_grad/{name}", HistogramTally).add(self._scale.whole_batch(gradient))

    def _before_update(self, now: Observation, optimizer: Optimizer) -> None:
        stepping = {id(param) for group in optimizer.param_groups for param in group["params"]}
        for name, param in self._every_param.items():
            tag = f"weight_grad/{name}"
            if id(param) in stepping and param.grad is not None and tag not in now.pending:
                kind = HistogramTally if name in self._params else MomentTally
                if (part := own_part(param.grad, self._rank)) is not None:
                    part = torch.view_as_real(part) if part.is_complex() else part  # of one norm
                    now.tally(tag, kind).add(self._scale.unscaled(part, optimizer))

    def _report(self, values: Mapping[str, Any], now: Observation) -> dict[str, float | Histogram]:
        record = spread_record(values)
        for name in self._params:
            ratio = grad_data_ratio(values.get(f"weight_grad/{name}"), values.get(f"weight/{name}"))
            if ratio is not None:
                record[f"grad_data_ratio/{name}"] = ratio
        gradients = [moments_in(value) for tag, value in values.items() if tag.startswith("weight_grad/")]
        norms = [moments.norm for moments in gradients if moments.count]  # where all is NaN, none is not zero
        if norms:
            record["grad_norm/total"] = math.hypot(*norms)
        elif not (gradients or self._warned):
            self._warned = True
            what = "gradient of any parameter" if now.has_stepped else "optimizer that steps"
            self._warn(f"finds no {what} in step {now.step}.")
        return record

    def _from_cause_to_effect(self, tags: list[str]) -> list[str]:
        # A gradient comes from those of the layers after it, and a parameter's from that of its layer.
        backward = tags[::-1]
        return [
            *(tag for tag in tags if tag.startswith("weight/")),
            *(tag for tag in backward if tag.startswith("activation_grad/")),
            *(tag for tag in backward if tag.startswith("weight_grad/")),
        ]

    def _pictures(self, values: Mapping[str, Any], step: int) -> dict[str, Callable[[], Sketch]]:
        layers = [
            Curve(name, f"mean {value.moments.mean:+.1e}, std {value.moments.std or 0:.1e}", value)
            for name, value in of_plot(values, "activation_grad")
        ]
        params = [
            Curve(name, ratio_remark(grad_data_ratio(value, values.get(f"weight/{name}"))), value)
            for name, value in of_plot(values, "weight_grad")
        ]
        found = {
            "activation_grad_distribution": ("gradients of activations", layers),
            "weight_grad_distribution": ("gradients of parameters", params),
        }
        return {
            tag: partial(sketch_densities, f"{what} at step {step}", "gradient", curves)
            for tag, (what, curves) in found.items()
            if curves
        }


def moments_in(value: Moments | Histogram) -> Moments:
    """Returns the moments, of a histogram those it has."""
    return value.moments if isinstance(value, Histogram) else value


def of_plot(values: Mapping[str, Any], plot: str) -> Iterator[tuple[str, Histogram]]:
    """Yields the names and histograms of one plot that can be drawn."""
    for tag, value in values.items():
        if tag.startswith(f"{plot}/") and isinstance(value, Histogram) and value.moments.count:
            yield name_in(tag), value


def grad_data_ratio(gradient: Histogram | None, weight: Histogram | None) -> float | None:
    """Returns std(gradient) / std(parameter); None where there is no such ratio."""
    if gradient is None or weight is None or gradient.moments.std is None or not weight.moments.std:
        return None
    return gradient.moments.std / weight.moments.std


def ratio_remark(ratio: float | None) -> str:
    """Says of a parameter what the lecture's legend does: how large its gradient is beside it."""
    return "no ratio" if ratio is None else f"grad:data {ratio:.1e}"
