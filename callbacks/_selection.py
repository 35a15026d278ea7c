"""Which layers and parameters an instrument looks at, and what they are called."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from ._activations import is_activation
from ._errors import InstrumentError

WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What torch.compile, FSDP and activation checkpointing insert into the names of what they wrap."""

LISTED = 40
"""Names that an error message lists at most."""

Chosen = TypeVar("Chosen", nn.Module, nn.Parameter)


def choose_layers(root: nn.Module, patterns: Sequence[str] | None) -> dict[str, nn.Module]:
    """Returns the layers to look at, by clean name, in the order of their definition.

    Args:
        root: Whose submodules are meant.
        patterns: Shell-style, against a module's name or its class name; None = the activation modules or, if there
            are none, every leaf module with parameters.

    Raises:
        InstrumentError: If a pattern matches nothing; lists what there is.
    """
    layers: dict[str, nn.Module] = {}
    for name, layer in root.named_modules():
        if name:  # of a wrapper and what it wraps, which have one name, the wrapper
            layers.setdefault(clean_name(root, name), layer)
    if patterns is not None:
        return match(layers, patterns, "layers", lambda layer: type(unwrapped(layer)).__name__)
    activations = {name: layer for name, layer in layers.items() if is_activation(unwrapped(layer))}
    return activations or {name: layer for name, layer in layers.items() if _is_leaf_with_parameters(layer)}


def choose_params(root: nn.Module, patterns: Sequence[str] | None) -> dict[str, nn.Parameter]:
    """Returns the parameters to look at, by clean name, in the order of their definition.

    Args:
        root: Whose parameters are meant.
        patterns: Shell-style, against a parameter's name; None = those of two and more axes, and those that have
            no shape yet. Only real floating point numbers are looked at: no complex ones, no integers.

    Raises:
        InstrumentError: If a pattern matches nothing; lists what there is.
    """
    params = {name: param for name, param in named_params(root).items() if param.is_floating_point()}
    if patterns is not None:
        return match(params, patterns, "params")
    return {name: param for name, param in params.items() if is_lazy(param) or param.ndim >= 2}


def named_params(root: nn.Module) -> dict[str, nn.Parameter]:
    """Returns every parameter by clean name, one that is used twice by its first."""
    return {clean_name(root, name): param for name, param in root.named_parameters()}


def match(
    there: dict[str, Chosen],
    patterns: Sequence[str],
    argument: str,
    kind: Callable[[Chosen], str] = lambda _: "",
) -> dict[str, Chosen]:
    """Returns what at least one pattern matches, by name or kind.

    Raises:
        InstrumentError: If a pattern matches nothing.
    """

    def matched(name: str, pattern: str) -> bool:
        return fnmatchcase(name, pattern) or fnmatchcase(kind(there[name]), pattern)

    for pattern in patterns:
        if not any(matched(name, pattern) for name in there):
            known = _listing(f"{name} ({kind(one)})" if kind(one) else name for name, one in there.items())
            raise InstrumentError(f"{argument}: no match for {pattern!r}; there are: {known}")
    return {name: one for name, one in there.items() if any(matched(name, pattern) for pattern in patterns)}


def check_patterns(argument: str, patterns: Sequence[str] | None) -> None:
    """Keeps a single string from being taken for a list of one-letter patterns.

    Raises:
        InstrumentError: If it is neither None nor a list of strings that holds something.
    """
    if patterns is None:
        return
    if isinstance(patterns, str) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise InstrumentError(f"{argument} must be None or a list of patterns such as ['*.tanh*'], got {patterns!r}")


def clean_name(root: nn.Module, name: str) -> str:
    """Returns a module's or parameter's name without what wrappers inserted."""
    kept, owner = [], root
    for part in name.split("."):
        wrapped = part == "module" and isinstance(owner, DataParallel | DistributedDataParallel)
        if part not in WRAPPERS and not wrapped:
            kept.append(part)
        owner = getattr(owner, part, None)
    return ".".join(kept)


def unwrapped(layer: nn.Module) -> nn.Module:
    """Returns what a wrapper wraps, anything else as it is."""
    for name in WRAPPERS:
        if isinstance(inner := getattr(layer, name, None), nn.Module):
            return unwrapped(inner)
    return layer


def _is_leaf_with_parameters(layer: nn.Module) -> bool:
    layer = unwrapped(layer)
    return not any(True for _ in layer.children()) and any(True for _ in layer.parameters(recurse=False))


def _listing(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return (", ".join(found[:LISTED]) or "none") + more
