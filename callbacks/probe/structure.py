"""Structure of a model and its losses, as far as a training can be judged by it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .autograd_graph import VIEWS, inputs_of, operation, past
from .loss_graph import LossGraph

SATURATING = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
BOUNDED = {
    "Relu": "ReLU",
    "Tanh": "Tanh",
    "Hardtanh": "Hardtanh",
}

REGRESSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse_loss": functional.mse_loss,
    "l1_loss": functional.l1_loss,
    "smooth_l1_loss": functional.smooth_l1_loss,
    "huber_loss": functional.huber_loss,
}


@dataclass(frozen=True)
class LossTerm:
    """Loss function that a loss is made of.

    Attributes:
        name: Name of the function, with a number where it is called again: "cross_entropy", "cross_entropy_1".
        classes: Number of classes; None of a regression.
        activation: Activation that its input comes straight from, such as "softmax" or "ReLU"; None without one.
        is_normalized: Whether `log_softmax` came before, of `nll_loss`; True of other losses.
        is_broadcast: Whether each output is compared with several targets, as of `(n, 1)` outputs and `(n,)` targets.
    """

    name: str
    classes: int | None = None
    activation: str | None = None
    is_normalized: bool = True
    is_broadcast: bool = False


@dataclass(frozen=True)
class Structure:
    """Structure of a model, from the losses of one step.

    Attributes:
        terms: Loss functions.
        output_layers: Observed activations that no weight comes after.
        gates: Observed activations that something else is multiplied by.
        stacked: Weights of two layers with nothing between them, the earlier first.
        biases_before_norms: Biases that a BatchNorm subtracts again.
        normalized_rows: BatchNorms and the number of values that they normalize a channel over.
        unregistered: Shapes of the parameters that the loss is computed from, and that are none of the model's, by
            identity.
    """

    terms: tuple[LossTerm, ...] = ()
    output_layers: frozenset[str] = frozenset()
    gates: frozenset[str] = frozenset()
    stacked: tuple[tuple[str, str], ...] = ()
    biases_before_norms: tuple[str, ...] = ()
    normalized_rows: tuple[tuple[str, int], ...] = ()
    unregistered: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __or__(self, other: "Structure") -> "Structure":
        """Joins the structures of two losses of one model."""
        return Structure(
            self.terms + other.terms,
            self.output_layers | other.output_layers,
            self.gates | other.gates,
            tuple(dict.fromkeys(self.stacked + other.stacked)),
            tuple(dict.fromkeys(self.biases_before_norms + other.biases_before_norms)),
            tuple(dict.fromkeys(self.normalized_rows + other.normalized_rows)),
            tuple(dict.fromkeys(self.unregistered + other.unregistered)),
        )


def read_structure(
    loss: Tensor,
    params: Mapping[str, Tensor],
    layers: Mapping[Any, str],
    terms: int = 0,
) -> tuple[Structure, dict[str, dict[str, Tensor]]]:
    """Reads the graph of a loss that is about to be backpropagated.

    Args:
        loss: The loss.
        params: Parameters of the model by name.
        layers: Names of observed layers by the autograd node of their output.
        terms: Number of loss functions that were read before, of other losses of the step.

    Returns:
        The structure, and by loss function what is to be measured of it: "value", `()`, its mean over the batch;
        "mass", the sum of the probabilities of each example, which is 1 of a cross entropy; "targets" of a regression.
    """
    names = {id(param): name for name, param in params.items()}
    graph = LossGraph(loss, names, layers)
    loss_terms: list[LossTerm] = []
    measured: dict[str, dict[str, Tensor]] = {}
    for function, node in graph.losses():
        number = terms + len(loss_terms)
        name = f"{function}_{number}" if number else function
        loss_terms.append(read_term(name, function, node, graph))
        measured[name] = values_of(function, node)
    if graph.has_crossed_difference():
        loss_terms.append(LossTerm("The difference", is_broadcast=True))
    structure = Structure(
        tuple(loss_terms),
        frozenset(graph.output_layers()),
        frozenset(graph.gates()),
        tuple(without_factorizations(graph.stacked(), params)),
        tuple(graph.biases_before_norms()),
        tuple(
            (name.rpartition(".")[0], rows)
            for name, rows in graph.normalized_rows().items()
        ),
        unregistered_in(graph, params),
    )
    return structure, measured


def unregistered_in(
    graph: LossGraph, params: Mapping[str, Tensor]
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Returns identity and shape of the parameters that are none of the model's.

    FSDP2 computes with copies of its parameters, which cannot be told from those.
    """
    if any(hasattr(param, "placements") for param in params.values()):
        return ()
    return tuple((id(leaf), tuple(leaf.shape)) for leaf in graph.unregistered())


def read_term(name: str, function: str, node: Any, graph: LossGraph) -> LossTerm:
    """Reads one loss function from its node."""
    direct = inputs_of(node)[0] if inputs_of(node) else node
    source = past(direct, VIEWS)
    if function == "cross_entropy":
        is_normalized = operation(source) == "LogSoftmax"
        if is_normalized and inputs_of(source):
            source = past(inputs_of(source)[0], VIEWS)
        classes = None if graph.is_similarity(source) else _classes(node._saved_self)
        return LossTerm(name, classes, activation_at(source), is_normalized)
    classes = 2 if function.startswith("binary") else None
    is_broadcast = function in REGRESSIONS and is_expanded(direct, node._saved_self)
    return LossTerm(name, classes, activation_at(source), is_broadcast=is_broadcast)


def is_expanded(node: Any, output: Tensor) -> bool:
    """True if a node repeats its input, as where the shapes of outputs and targets differ.

    Args:
        node: Node that may be an expansion.
        output: Its output.
    """
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if operation(node) != "Expand" or sizes is None:
        return False
    return output.numel() > math.prod(sizes)


def activation_at(node: Any) -> str | None:
    """Returns the name of the activation that a node computes; None of any other operation."""
    return (SATURATING | BOUNDED).get(operation(node))


def values_of(function: str, node: Any) -> dict[str, Tensor]:
    """Returns what is to be measured of a loss function, from the tensors that its node has saved."""
    with torch.no_grad():
        if function == "cross_entropy":
            log_probabilities, targets = node._saved_self, node._saved_target
            ignored = node._saved_ignore_index
            ignored -= 2**64 if ignored >= 2**63 else 0  # the node has it unsigned
            value = functional.nll_loss(
                log_probabilities.float(), targets, ignore_index=ignored
            )
            axis = 1 if log_probabilities.ndim > 1 else 0
            return {"value": value, "mass": log_probabilities.float().exp().sum(axis)}
        if function == "binary_cross_entropy_with_logits":
            return {
                "value": functional.binary_cross_entropy_with_logits(
                    node._saved_self, node._saved_target
                )
            }
        if function == "binary_cross_entropy":
            return {
                "value": functional.binary_cross_entropy(
                    node._saved_self, node._saved_target
                )
            }
        if function in REGRESSIONS:
            value = REGRESSIONS[function](node._saved_self, node._saved_target)
            return {"value": value, "targets": node._saved_target}
    return {}


def without_factorizations(
    pairs: list[tuple[str, str]], params: Mapping[str, Tensor]
) -> list[tuple[str, str]]:
    """Drops pairs of weights with few units between them: a low rank on purpose (LoRA, a factorized embedding)."""
    redundant = []
    for earlier, later in pairs:
        first, second = params[earlier].shape, params[later].shape
        if first[0] != second[1] or first[0] < min(first[1], second[0]):
            continue
        redundant.append((earlier, later))
    return redundant


def _classes(log_probabilities: Tensor) -> int:
    return log_probabilities.shape[1 if log_probabilities.ndim > 1 else 0]
