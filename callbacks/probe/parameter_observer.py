"""Observation of parameters: their values before the step, their gradients, and how far the step moved them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ..measure.accumulate import Accumulator
from ..measure.norms import l2_norms
from ..measure.placement import copy_to_host, copy_together
from ..measure.statistic import MomentsOf, SaturationOf
from .context import FitContext
from .distributed import own_part
from .parameter_steps import ParameterSteps
from .plan import Plan
from .request import Key, Quantity
from .windows import versions_of

MOMENTS = MomentsOf()


@dataclass
class ParameterObserver:
    """Measures the parameters of a model in one step.

    Attributes:
        plan: What is to be measured.
        context: Facts of the fit.
        accumulator: Takes the measurements.
        steps: Facts of the optimizers' steps.
    """

    plan: Plan
    context: FitContext
    accumulator: Accumulator[Key]
    steps: ParameterSteps
    _before: dict[str, Tensor] = field(default_factory=dict)
    _versions: list[int] = field(default_factory=list)
    _contents: list[Tensor] | None = None
    _with_gradient: set[str] = field(default_factory=set)
    _with_step_norm: set[int] = field(default_factory=set)

    def read_parameters(self) -> None:
        """Measures parameters before the step, and copies those whose update is wanted."""
        self._versions = versions_of(self.plan.model.params.values())
        if not self.context.automatic and self.context.ranks == 1:
            self._contents = self.accumulator.attempt([], self._fingerprints)
        shards = dict(self._parts())
        copied = [name for name in shards if Quantity.UPDATE in self.plan.params[name]]
        self._before = dict(
            zip(copied, copy_together([shards[name] for name in copied]), strict=True)
        )
        due = [name for name in shards if self._has_due_weight(name)]
        self._measure(
            Quantity.WEIGHT,
            [(name, shards[name]) for name in due if name not in self._before],
        )
        self._measure(
            Quantity.WEIGHT,
            [(name, self._before[name]) for name in due if name in self._before],
            stable=True,
        )

    def read_gradients(self, optimizer: Optimizer) -> None:
        """Measures the gradients of an optimizer's parameters, those of its first step."""
        gradients = []
        for name, param in self.steps.params_of(optimizer):
            keys = self.plan.keys_of_param(Quantity.WEIGHT_GRAD, name)
            if param.grad is None or name in self._with_gradient or not keys:
                continue
            self._with_gradient.add(name)
            gradient = self.accumulator.attempt(
                keys, partial(self._own_gradient, param.grad, optimizer)
            )
            if gradient is not None:
                gradients.append((name, gradient))
        self._measure(Quantity.WEIGHT_GRAD, gradients)
        for name, gradient in gradients:
            self._measure_rows(name, gradient)

    def read_step_norm(self, optimizer: Optimizer) -> None:
        """Measures the norms of the gradients that an optimizer takes: after clipping, in its first step."""
        if id(optimizer) in self._with_step_norm:
            return
        self._with_step_norm.add(id(optimizer))
        key = Key(Quantity.STEP_NORM, "", MOMENTS)
        norms = self.accumulator.attempt([key], partial(self._step_norms, optimizer))
        self.accumulator.add_all([(key, MOMENTS, each) for each in norms or ()], True)

    def _step_norms(self, optimizer: Optimizer) -> list[Tensor]:
        """Returns the `(k,)` norms of an optimizer's gradients, unscaled, by device."""
        by_device: dict[torch.device, list[Tensor]] = {}
        for param in dict(self.steps.params_of(optimizer)).values():
            shard = None if param.grad is None else self._own_shard(param.grad)
            if shard is not None:
                values = shard.coalesce().values() if shard.is_sparse else shard
                by_device.setdefault(values.device, []).append(values.detach())
        return [
            self.context.scale.unscaled_weight_grad(l2_norms(shards), optimizer)
            for shards in by_device.values()
        ]

    def _measure_rows(self, name: str, gradient: Tensor) -> None:
        keys = self.plan.keys_of_param(Quantity.ROWS, name)
        # A shard of FSDP2 can be empty.
        if keys and gradient.ndim >= 2 and not gradient.is_sparse and len(gradient):
            fraction = self.accumulator.attempt(keys, partial(equal_rows, gradient))
            if fraction is not None:
                self._measure(Quantity.ROWS, [(name, fraction)])

    def read_leftovers(self) -> None:
        """Measures what is in the gradients before a backward pass, of a small parameter of each optimizer.

        After a `zero_grad` there is nothing, or zeros. The lowest number of a step tells: gradients may be added up
        over several backward passes, but not over steps.
        """
        for optimizer in self.context.optimizers():
            params = [
                (name, param)
                for name, param in self.steps.params_of(optimizer)
                if self.plan.keys_of_param(Quantity.LEFTOVER, name)
            ]
            if not params:
                continue
            name, param = min(params, key=lambda item: item[1].numel())
            gradient = param.grad
            if (
                gradient is None
                or gradient.is_sparse
                or hasattr(gradient, "placements")
            ):
                largest = torch.zeros(())
            else:
                largest = torch.linalg.vector_norm(gradient.detach(), float("inf"))
            self._measure(Quantity.LEFTOVER, [(name, largest)])

    def read_copies(self) -> None:
        """Measures a checksum of each parameter that every rank has a copy of; pooled, its extremes must be equal."""
        if self.context.ranks == 1:
            return
        sums = [
            (name, torch.linalg.vector_norm(param.detach().float()))
            for name, param in self.plan.model.params.items()
            if self.plan.keys_of_param(Quantity.COPIES, name)
            and not hasattr(param, "placements")
            and not has_no_values(param)
        ]
        self._measure(Quantity.COPIES, sums)

    def read_largest_gradients(self, names: Iterable[str]) -> None:
        """Measures the largest element of each gradient as the optimizer took it: after clipping."""
        for name in names:
            gradient = self.plan.model.params[name].grad
            if (
                Quantity.UPDATE not in self.plan.params.get(name, {})
                or gradient is None
            ):
                continue
            shard = own_part(gradient, self.context.rank)
            shard = (
                shard.coalesce().values()
                if shard is not None and shard.is_sparse
                else shard
            )
            if shard is not None and shard.numel():
                largest = torch.linalg.vector_norm(shard.detach(), float("inf"))
                self.accumulator.add(
                    Key(Quantity.STEP_GRAD, name, MOMENTS), MOMENTS, largest
                )

    def read_updates(self, names: Iterable[str] | None = None) -> None:
        """Measures the change of parameters since the step began, and the parameters after it.

        Args:
            names: Parameters; None = all. Those that have been measured, or were replaced, are left out.
        """
        changes, after = [], []
        is_last = names is None
        for name in list(self._before) if names is None else names:
            if (before := self._before.pop(name, None)) is None:
                continue
            shard = own_part(self.plan.model.params[name].detach(), self.context.rank)
            if (
                shard is not None
                and shard.shape == before.shape
                and shard.dtype == before.dtype
            ):
                for key in self.plan.keys_of_param(Quantity.UPDATE, name):
                    if not isinstance(key.statistic, SaturationOf):
                        changes.append((key, key.statistic, shard, before))
                after.append((Key(Quantity.UPDATED, name, MOMENTS), MOMENTS, shard))
        self.accumulator.attempt(
            [key for key, *_ in changes], partial(self.accumulator.add_changes, changes)
        )
        # The parameters after the update are measured before anything else can move them.
        self.accumulator.attempt(
            [key for key, *_ in after],
            partial(self.accumulator.add_all, after, stable=is_last),
        )

    def read_rates(self) -> None:
        """Adds learning rates that are on a device, to be copied with everything else."""
        rates = [
            (name, step.rate)
            for name, step in self.steps.steps.items()
            if isinstance(step.rate, Tensor)
        ]
        self.accumulator.add_all(
            (Key(Quantity.LEARNING_RATE, name, MOMENTS), MOMENTS, rate)
            for name, rate in rates
        )

    def have_moved(self) -> tuple[bool, bool]:
        """Returns whether parameters have moved without any optimizer of PyTorch, and whether that left no trace.

        An operation in place is counted by PyTorch; one on `param.data` is not, and needs all values to be compared.
        """
        if versions_of(self.plan.model.params.values()) != self._versions:
            return True, False
        if self._contents is None:
            return False, False
        before, after = copy_to_host(self._contents), copy_to_host(self._fingerprints())
        unseen = [number.tolist() for number in before] != [
            number.tolist() for number in after
        ]
        return unseen, unseen

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        """Yields what this rank measures of each parameter."""
        for name, wanted in self.plan.params.items():
            param = self.plan.model.params[name]
            if wanted.keys() & {Quantity.WEIGHT, Quantity.UPDATE} and not is_lazy(
                param
            ):
                keys = [
                    *self.plan.keys_of_param(Quantity.WEIGHT, name),
                    *self.plan.keys_of_param(Quantity.UPDATE, name),
                ]
                shard = self.accumulator.attempt(
                    keys, partial(own_part, param.detach(), self.context.rank)
                )
                if shard is not None:
                    yield name, shard

    def _has_due_weight(self, name: str) -> bool:
        """True of a parameter that trains, and of a frozen one the first time."""
        if not self.plan.keys_of_param(Quantity.WEIGHT, name):
            return False
        if self.plan.model.params[name].requires_grad:
            return True
        first = name not in self.context.measured_once
        self.context.measured_once.add(name)
        return first

    def _own_gradient(self, gradient: Tensor, optimizer: Optimizer) -> Tensor | None:
        shard = self._own_shard(gradient)
        if shard is None:
            return None
        return self.context.scale.unscaled_weight_grad(shard, optimizer)

    def _own_shard(self, gradient: Tensor) -> Tensor | None:
        """Returns what this rank measures of a gradient, real and imaginary parts as values of their own."""
        shard = own_part(gradient, self.context.rank)
        if shard is None or not shard.is_complex():
            return shard
        return torch.view_as_real(shard.resolve_conj())

    def _fingerprints(self) -> list[Tensor]:
        params = self.plan.model.params.values()
        return [
            fingerprint_of(param.detach())
            for param in params
            if not has_no_values(param)
        ]

    def _measure(
        self,
        quantity: Quantity,
        tensors: Iterable[tuple[str, Tensor]],
        stable: bool = False,
    ) -> None:
        items = []
        for name, values in tensors:
            for key in self.plan.keys_of_param(quantity, name):
                if not isinstance(key.statistic, SaturationOf):
                    items.append((key, key.statistic, values))
        self.accumulator.attempt(
            [key for key, *_ in items], partial(self.accumulator.add_all, items, stable)
        )


def has_no_values(param: Tensor) -> bool:
    """True of a lazy parameter, and of one on the meta device."""
    return is_lazy(param) or param.is_meta


def equal_rows(gradient: Tensor) -> Tensor:
    """Returns `()` the fraction of a gradient's rows, of those with a gradient, that equal its largest row.

    Units that begin alike have equal gradients and stay alike. Rows are compared by one number, their product with a
    fixed vector, up to rounding; waits for no device.
    """
    rows = gradient.detach().flatten(1)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    # No two elements of the vector are equal, and none is near zero: 0.618... is the golden ratio's fraction.
    places = torch.arange(rows.shape[1], device=rows.device, dtype=rows.dtype)
    numbers = rows @ (1 + (places * 0.6180339887) % 1)
    # Not by an index, which the host would wait for.
    largest = numbers.gather(0, numbers.abs().argmax(0, keepdim=True))
    is_live = numbers != 0
    is_equal = (numbers - largest).abs() <= 1e-5 * largest.abs()
    live, equal = is_live.sum(), (is_equal & is_live).sum()
    return (equal - 1).clamp(min=0).to(rows.dtype) / (live - 1).clamp(min=1)


def fingerprint_of(param: Tensor) -> Tensor:
    """Returns `()` a number that changes with any element, and with their order; waits for no device."""
    raw = param.contiguous().view(torch.uint8).reshape(-1).long()
    weights = torch.arange(1, 2 * len(raw), 2, device=raw.device)
    return (raw * weights).sum()
