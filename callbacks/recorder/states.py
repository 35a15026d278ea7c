"""State of a training before a step: parameters, buffers and optimizers."""

import pickle
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..measure.placement import copy_together
from ..probe.selection import clean_name, named_params

FULL_READS = 4
"""Steps in which all buffers are copied; after them only those that have changed."""

State = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Copy of the state before a step.

    Attributes:
        step: The step.
        state: See `read_state`.
    """

    step: int
    state: State


class Snapshots:
    """The last copies of the state.

    Args:
        every_n_steps: Steps between copies; None = no copies.
        reach: Steps back from the current one for which there is to be a copy.
    """

    def __init__(self, every_n_steps: int | None, reach: int) -> None:
        self.every_n_steps = every_n_steps
        most = 1 if every_n_steps is None else 1 + -(-reach // every_n_steps)
        self._snapshots: deque[Snapshot] = deque(maxlen=most)

    def is_due(self, step: int) -> bool:
        """True if the state before a step is to be copied."""
        return self.every_n_steps is not None and step % self.every_n_steps == 0

    def add(self, step: int, state: State) -> None:
        """Keeps the state before a step; the oldest copy may be dropped for it."""
        self._snapshots.append(Snapshot(step, state))

    def before(self, step: int) -> Snapshot | None:
        """Returns the last copy of a state from before a step."""
        before = [each for each in self._snapshots if each.step <= step]
        return before[-1] if before else None


class ChangingBuffers:
    """Copies of the buffers that forward passes change, such as the statistics of BatchNorm, from before a step.

    Args:
        root: The model.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._reads = 0
        self._versions: dict[str, tuple[int, int]] = {}
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        self._others: dict[str, tuple[nn.Module, str]] = {}
        self.copies: dict[str, Tensor] = {}

    def read(self) -> None:
        """Copies the buffers; after a few steps only those that have changed so far."""
        self._find_changing()
        if self._reads < FULL_READS:
            self._reads += 1
            self.copies = cloned(named_buffers(self._root))
        elif self._owners:
            buffers = [owner._buffers[key] for owner, key in self._owners.values()]
            present = {
                name: each
                for name, each in zip(self._owners, buffers, strict=True)
                if each is not None
            }
            copies = copy_together(list(present.values()))
            self.copies = dict(zip(present, copies, strict=True))

    def _find_changing(self) -> None:
        """Compares each buffer with that of the step before, by identity and by PyTorch's count of changes."""
        if self._reads < FULL_READS:
            self._others = _owned_buffers(self._root)
        for name, (owner, key) in list(self._others.items()):
            buffer = owner._buffers.get(key)
            version = id(buffer), 0 if buffer is None else buffer._version
            if self._versions.get(name, version) != version:
                self._owners[name] = self._others.pop(name)
            self._versions[name] = version


def _owned_buffers(root: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Returns the module of each buffer, and its name there, by its clean name."""
    return {
        clean_name(root, f"{name}.{key}" if name else key): (module, key)
        for name, module in root.named_modules()
        for key, buffer in module._buffers.items()
        if buffer is not None
    }


def read_state(
    root: nn.Module, trainer: Any, buffers: Mapping[str, Tensor] | None = None
) -> State:
    """Returns the state of a training, by reference.

    Args:
        root: The model.
        trainer: Its Trainer.
        buffers: Buffers from before the step, by name; those of now stand for the others.

    Returns:
        Parameters and buffers by name, and the states of optimizers, schedulers of their rates, and the gradient
        scaler.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    configs = trainer.lr_scheduler_configs
    return {
        "params": named_params(root),
        "buffers": named_buffers(root) | dict(buffers or {}),
        "optimizers": [each.state_dict() for each in trainer.optimizers],
        "schedulers": [each.scheduler.state_dict() for each in configs],
        "scaler": None if scaler is None else scaler.state_dict(),
    }


def named_buffers(root: nn.Module) -> dict[str, Tensor]:
    """Returns every buffer by clean name, as `named_params` does."""
    return {clean_name(root, name): each for name, each in root.named_buffers()}


def cloned(value: Any) -> Any:
    """Copies nested containers and the tensors in them; other objects are passed on."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: cloned(member) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(cloned(member) for member in value)
    if isinstance(value, deque):
        return deque(map(cloned, value), value.maxlen)
    return value


@torch.no_grad()
def write_state(root: nn.Module, trainer: Any, state: State) -> None:
    """Sets a training to a state of `read_state`."""
    tensors = named_params(root) | named_buffers(root)
    owners = _owned_buffers(root)
    for name, values in (state["params"] | state["buffers"]).items():
        if name in owners and tensors[name].shape != values.shape:
            owner, key = owners[name]  # a buffer that grows
            owner._buffers[key] = values.to(tensors[name].device, copy=True)
        elif name in tensors:
            tensors[name].copy_(values)
    for optimizer, values in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    configs = trainer.lr_scheduler_configs
    for config, values in zip(configs, state["schedulers"], strict=True):
        config.scheduler.load_state_dict(values)
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])


def checkpoint_state(path: str) -> Snapshot | None:
    """Returns the state in a checkpoint of Lightning, as `read_state` does; None if it cannot be had from the file."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        step = _step_after(checkpoint["loops"]["fit_loop"])
        state = {
            "params": checkpoint["state_dict"],
            "buffers": {},
            "optimizers": checkpoint["optimizer_states"],
            "schedulers": checkpoint["lr_schedulers"],
            "scaler": checkpoint.get("MixedPrecision"),
        }
    except (OSError, EOFError, LookupError, TypeError, ValueError):
        return None
    except (RuntimeError, pickle.UnpicklingError):
        return None
    return Snapshot(step, state)


def _step_after(loop: dict[str, Any]) -> int:
    """Returns the step that a checkpoint is the state before.

    One that is saved at the end of a batch is written before Lightning counts that batch.
    """
    stepped = loop["epoch_loop.state_dict"]["_batches_that_stepped"]
    batches = loop["epoch_loop.batch_progress"]["total"]
    return stepped + (batches["processed"] > batches["completed"])
