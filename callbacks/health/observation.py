"""Observation: the numbers and facts of one due step, as the rules of HealthCheck read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Fingerprint = tuple[float, ...]
"""Moments of a parameter, which are equal only if it did not move."""


@dataclass(frozen=True)
class Layer:
    """Output of a layer in one due step; a number is None where it could not be measured.

    Attributes:
        kind: Class name of the layer or activation.
        group: Layers of one group are compared over depth: an activation's kind and place in a repeated block.
        is_block: Whether the layer is a repeated block.
        is_in_block: Whether the layer is an activation inside one.
        is_output: Whether no weight comes after it: an activation of the model's output.
        is_gate: Whether its output is multiplied by another layer's.
        std: Standard deviation of the output.
        grad_norm: L2 norm of the loss's gradient for the output of the whole batch.
        saturated: Fraction of the values at which the activation is flat, in [0, 1].
        is_switched: Whether flat values are those of a unit that is off, such as ReLU's zeros: half are normal.
        dead: Masks of the units that are flat on every example, by number of units.
        examples: Number of values of a unit.
    """

    kind: str
    group: str = ""
    is_block: bool = False
    is_in_block: bool = False
    is_output: bool = False
    is_gate: bool = False
    std: float | None = None
    grad_norm: float | None = None
    saturated: float | None = None
    is_switched: bool = False
    dead: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    examples: int = 0


@dataclass(frozen=True)
class Parameter:
    """Parameter in one due step; a number is None where it could not be measured.

    Attributes:
        kind: Class name of the layer that it belongs to.
        axes: Number of its axes.
        trains: Whether it requires a gradient.
        std: Standard deviation before the update.
        fingerprint: Moments before the update; None if they were not measured.
        has_gradient: Whether it had a gradient when its optimizer stepped, or at the end of the batch.
        has_zero_gradient: Whether all elements of that gradient were zero.
        update_ratio: log10( std(update) / std(after the update) ).
        moved: Whether its update was not zero; None if the update was not measured.
        why_unmoved: Words for why the update has no ratio; empty if it has.
        rate: Learning rate of its group; None if no optimizer was asked to step it.
        is_coarse: Whether its type resolves less than the update that the optimizer makes of a typical element.
        equal_rows: Fraction of the rows of its gradient that are equal.
        leftover: Lowest magnitude of the gradient before a backward pass; not zero where `zero_grad` was forgotten.
        copies: Lowest and highest checksum over ranks.
    """

    kind: str = ""
    axes: int = 2
    trains: bool = True
    std: float | None = None
    fingerprint: Fingerprint | None = None
    has_gradient: bool = True
    has_zero_gradient: bool = False
    update_ratio: float | None = None
    moved: bool | None = None
    why_unmoved: str = ""
    rate: float | None = None
    is_coarse: bool = False
    equal_rows: float | None = None
    leftover: float | None = None
    copies: tuple[float, float] | None = None


@dataclass(frozen=True)
class Input:
    """Floating point input of the model, as its first layer gets it."""

    mean: float
    std: float | None
    is_normalized_next: bool = False


@dataclass(frozen=True)
class Targets:
    """Targets of a regression, in the first due step."""

    mean: float
    std: float
    low: float
    high: float

    @property
    def mean_square(self) -> float:
        """Mean squared error of an output of 0 throughout."""
        return self.mean**2 + self.std**2


@dataclass(frozen=True)
class LossFunction:
    """Loss function that the loss is made of.

    Attributes:
        name: Such as "cross_entropy".
        classes: Number of classes; None of a regression.
        activation: Activation that its input comes straight from.
        is_normalized: Whether a `log_softmax` came before, of `nll_loss`.
        is_broadcast: Whether each output is compared with several targets.
        value: Mean loss of the batch, in nats.
        mass: Lowest and highest sum of an example's probabilities.
        targets: Targets of a regression; None of another loss.
    """

    name: str
    classes: int | None = None
    activation: str | None = None
    is_normalized: bool = True
    is_broadcast: bool = False
    value: float | None = None
    mass: tuple[float, float] | None = None
    targets: Targets | None = None


@dataclass(frozen=True)
class Nonfinite:
    """Place where NaN or infinities began."""

    where: str
    message: str
    count: int = 1


@dataclass(frozen=True)
class Observation:
    """One due step.

    Attributes:
        step: Step on the axis of all plots.
        loss: Mean loss of the steps since the last due step; None where there is no single loss.
        layers: By name, in the order of their first call.
        params: By name.
        inputs: By name of the first layer.
        losses: Loss functions, in the first due step.
        stacked: Weights of two layers with nothing between them.
        biases_before_norms: Biases that a BatchNorm subtracts again.
        optimizers: Class names of the optimizers.
        unoptimized: Trainable parameters that no optimizer has.
        foreign: Number of parameters of the optimizers that are none of the model's.
        unregistered: Shapes of the parameters that the loss is computed from, and that neither the model nor an
            optimizer has.
        dropped: Fraction of the values that each dropout drops.
        in_eval_mode: Modules with dropout or BatchNorm that are in eval mode, by class name.
        normalized_rows: Rows that a BatchNorm normalizes over, by name, where they are fewer than is good.
        norms_of_one: Norms whose statistics are of one value, by class name.
        gradient_norm: Norm of all gradients, before clipping.
        clip: Largest norm that the Trainer lets through; None without clipping.
        is_clipped: Whether clipping lowered the norm; None if that cannot be told.
        uses_scaler: Whether a gradient scaler is in use.
        was_skipped: Whether it skipped the step.
        nonfinite: Place where NaN or infinities began; None if there are none.
        has_single_loss: Whether Lightning steps the optimizer with the loss that `training_step` returns.
        progress: Fraction of the training's steps that have been made, this one among them; None where that is unknown.
    """

    step: int
    loss: float | None = None
    layers: Mapping[str, Layer] = field(default_factory=dict)
    params: Mapping[str, Parameter] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    losses: tuple[LossFunction, ...] = ()
    stacked: tuple[tuple[str, str], ...] = ()
    biases_before_norms: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    unoptimized: tuple[str, ...] = ()
    foreign: int = 0
    unregistered: tuple[tuple[int, ...], ...] = ()
    dropped: Mapping[str, float] = field(default_factory=dict)
    in_eval_mode: Mapping[str, str] = field(default_factory=dict)
    normalized_rows: Mapping[str, int] = field(default_factory=dict)
    norms_of_one: Mapping[str, str] = field(default_factory=dict)
    gradient_norm: float | None = None
    clip: float | None = None
    is_clipped: bool | None = None
    uses_scaler: bool = False
    was_skipped: bool = False
    nonfinite: Nonfinite | None = None
    has_single_loss: bool = True
    progress: float | None = None
