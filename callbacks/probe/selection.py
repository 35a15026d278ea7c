"""Selection of layers and parameters by name, class name and default choice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from .._messages import InstrumentError
from ..measure.activations import FUNCTIONS, is_activation

WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Name parts that torch.compile, FSDP and activation checkpointing insert."""

FEWEST_BLOCKS = 3
"""Blocks of one class that a trend over depth can be seen in."""

LISTED = 40
"""Names that an error message lists at most."""

Candidate = TypeVar("Candidate", nn.Module, nn.Parameter)
Item = TypeVar("Item")


def choose_layers(
    root: nn.Module, patterns: Sequence[str] | None = None
) -> dict[str, nn.Module]:
    """Returns layers by clean name, in the order of their definition.

    Args:
        root: Model whose submodules are meant.
        patterns: Shell-style, against a module's qualified name or its class name; None = the activation modules or, if
            there are none, every leaf module with parameters.

    Raises:
        InstrumentError: If a pattern matches nothing; lists what there is.

    Example:
        >>> list(choose_layers(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), ["Linear"]))
        ['0']
    """
    layers = named_layers(root)
    if patterns is not None:
        check_matches(layers, patterns, "layers", class_name)
        return matching(layers, patterns, class_name)
    return activation_layers(layers) or leaf_layers(layers)


def choose_params(
    root: nn.Module, patterns: Sequence[str] | None = None
) -> dict[str, nn.Parameter]:
    """Returns real floating point parameters by clean name, in the order of their definition.

    Args:
        root: Model whose parameters are meant.
        patterns: Shell-style, against a parameter's qualified name; None = those of two and more axes, and those that
            have no shape yet.

    Raises:
        InstrumentError: If a pattern matches nothing; lists what there is.

    Example:
        >>> list(choose_params(nn.Linear(2, 2))), list(choose_params(nn.Linear(2, 2), ["*"]))
        (['weight'], ['weight', 'bias'])
    """
    params = {
        name: param
        for name, param in named_params(root).items()
        if param.is_floating_point()
    }
    if patterns is not None:
        check_matches(params, patterns, "params")
        return matching(params, patterns)
    return {
        name: param
        for name, param in params.items()
        if is_lazy(param) or param.ndim >= 2
    }


def named_layers(root: nn.Module) -> dict[str, nn.Module]:
    """Returns every submodule by clean name; of a wrapper and what it wraps, which share a name, the wrapper."""
    layers: dict[str, nn.Module] = {}
    for name, layer in root.named_modules():
        if name:
            layers.setdefault(clean_name(root, name), layer)
    return layers


def named_params(root: nn.Module) -> dict[str, nn.Parameter]:
    """Returns every parameter by clean name, a shared one by its first name."""
    return {clean_name(root, name): param for name, param in root.named_parameters()}


def activation_layers(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Returns the activation modules."""
    return {
        name: layer for name, layer in layers.items() if is_activation(unwrapped(layer))
    }


def leaf_layers(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Returns the modules with parameters and without children; parametrizations are part of their layer."""
    return {
        name: layer
        for name, layer in layers.items()
        if ".parametrizations." not in name and _is_leaf(layer)
    }


def repeated_blocks(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Returns the blocks that a model repeats: children of one class, each with layers, at least `FEWEST_BLOCKS`."""
    groups: dict[tuple[str, str], dict[str, nn.Module]] = {}
    for name, layer in layers.items():
        inner = unwrapped(layer)
        if any(True for _ in inner.children()) and any(
            True for _ in inner.parameters()
        ):
            parent = name.rpartition(".")[0]
            groups.setdefault((parent, class_name(layer)), {})[name] = layer
    blocks: dict[str, nn.Module] = {}
    for group in groups.values():
        if len(group) >= FEWEST_BLOCKS:
            blocks |= group
    return blocks


def matching(
    candidates: Mapping[str, Candidate],
    patterns: Sequence[str],
    kind: Callable[[Candidate], str] = lambda _: "",
) -> dict[str, Candidate]:
    """Returns the candidates whose name or kind at least one pattern matches."""
    return {
        name: candidate
        for name, candidate in candidates.items()
        if matches_any(patterns, name, kind(candidate))
    }


def matches_any(patterns: Sequence[str], *names: str) -> bool:
    """True if a pattern matches one of the names."""
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def check_matches(
    candidates: Mapping[str, Candidate],
    patterns: Sequence[str],
    argument: str,
    kind: Callable[[Candidate], str] = lambda _: "",
    more: Iterable[str] = (),
) -> None:
    """Checks that every pattern matches something.

    Args:
        candidates: By name.
        patterns: Shell-style.
        argument: Name of the argument that the patterns were given as.
        kind: Returns the class name of a candidate.
        more: Names that are not there yet, and may be matched.

    Raises:
        InstrumentError: If a pattern matches nothing.
    """
    for pattern in patterns:
        if any(
            matches_any([pattern], name, kind(candidate))
            for name, candidate in candidates.items()
        ):
            continue
        if any(fnmatchcase(name, pattern) for name in more):
            continue
        names = (
            f"{name} ({kind(candidate)})" if kind(candidate) else name
            for name, candidate in candidates.items()
        )
        raise InstrumentError(
            f"{argument}: no match for {pattern!r}; there are: {_listing(names)}"
        )


def check_patterns(argument: str, patterns: Sequence[str] | None) -> None:
    """Keeps a single string from being taken for a list of one-letter patterns.

    Raises:
        InstrumentError: If the argument is neither None nor a list of at least one string.
    """
    if patterns is None:
        return
    if (
        isinstance(patterns, str)
        or not patterns
        or not all(isinstance(pattern, str) for pattern in patterns)
    ):
        raise InstrumentError(
            f"{argument} must be None or a list of patterns such as ['*.tanh*'], got {patterns!r}"
        )


def names_of_functions(layers: Iterable[str]) -> Iterable[str]:
    """Yields the names that activation functions may have, by the modules that may call them, and their classes."""
    yield from FUNCTIONS
    yield from FUNCTIONS.values()
    for layer in layers:
        for function in FUNCTIONS:
            yield f"{layer}.{function}"
            yield f"{layer}.{function}_1"


def evenly_spread(items: Sequence[Item], most: int) -> list[Item]:
    """Returns at most so many items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def clean_name(root: nn.Module, name: str) -> str:
    """Returns a qualified name without the components that wrappers inserted, and encodable as UTF-8."""
    components, owner = [], root
    for component in name.split("."):
        wrapped = component == "module" and isinstance(
            owner, DataParallel | DistributedDataParallel
        )
        if component not in WRAPPERS and not wrapped:
            components.append(component)
        owner = getattr(owner, component, None)
    return encodable(".".join(components))


def encodable(name: str) -> str:
    """Escapes what UTF-8 cannot encode: a lone surrogate in one name would end TensorBoard's file for all."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def unwrapped(layer: nn.Module) -> nn.Module:
    """Returns the module inside a wrapper; any other as it is."""
    for name in WRAPPERS:
        if isinstance(inner := getattr(layer, name, None), nn.Module):
            return unwrapped(inner)
    return layer


def class_name(layer: nn.Module) -> str:
    """Returns a layer's class name; of the classes that FSDP2 and parametrizations derive, that of the original."""
    layer = unwrapped(layer)
    derived = is_parametrized(layer) or type(layer).__name__.startswith("FSDP")
    return type(layer).__mro__[1].__name__ if derived else type(layer).__name__


def _is_leaf(layer: nn.Module) -> bool:
    layer = unwrapped(layer)
    if is_parametrized(layer):
        return all(name == "parametrizations" for name, _ in layer.named_children())
    return not any(True for _ in layer.children()) and any(
        True for _ in layer.parameters(recurse=False)
    )


def _listing(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return (", ".join(listed[:LISTED]) or "none") + more
