"""Structure of a model, read from the autograd graph of its loss: loss functions, their inputs, and stacked layers.

Nothing is hooked, and nothing of the graph is kept.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor
from torch.nn import Parameter

from .autograd_graph import (
    DROPOUTS,
    MOST_NODES,
    VIEWS,
    Node,
    ends_of,
    inputs_of,
    operation,
    parameter_at,
    past,
    walk,
)

PRODUCTS = {
    *("Addmm", "Mm", "Addmv", "Mv", "Bmm", "Baddbmm"),
    *("Convolution", "Linear", "MkldnnConvolution"),
}
"""Operations of linear and convolutional layers, and of `torch.einsum`."""

SCALINGS = {"Mul", "Div", "Add", "Sub", "Neg"}
"""Operations that change the scale and the zero of logits."""

BATCH_NORMS = {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNorm"}

LOSSES = {
    "NllLoss": "cross_entropy",
    "NllLoss2D": "cross_entropy",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
    "BinaryCrossEntropy": "binary_cross_entropy",
    "MseLoss": "mse_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "L1Loss": "l1_loss",
    "HuberLoss": "huber_loss",
}
"""Loss functions by operation; `nll_loss` is taken for the end of a cross entropy."""

ALIKE = 16
"""Neighboring pixels that count as one value of a BatchNorm's statistics."""

UNNAMED = ""
"""Name of a weight that is not the model's own tensor."""

OLD_PARAMETRIZATIONS = ("weight_g", "weight_v", "weight_orig")
"""Names of parameters of `torch.nn.utils.weight_norm` and `spectral_norm`."""

MOST_OF_A_WEIGHT = 64
"""Nodes that a parametrization computes a weight with at most."""


@dataclass(frozen=True)
class Product:
    """Linear or convolutional layer in the graph.

    Attributes:
        weight: Name of its weight; `UNNAMED` of a copy of one.
        bias: Name of its bias; None without one.
        sources: Nodes of its inputs that are no parameters.
    """

    weight: str
    bias: str | None
    sources: tuple[Node, ...]


@dataclass
class LossGraph:
    """Autograd graph of one loss.

    Attributes:
        loss: Loss that is about to be backpropagated.
        names: Names of parameters by identity.
        layers: Names of observed layers by the node of their output.
        nodes: All nodes, from the loss on.
        outputs: Nodes between the loss and the last products: no weights come after them.
    """

    loss: Tensor
    names: Mapping[int, str]
    layers: Mapping[Node, str]
    nodes: list[Node] = field(default_factory=list)
    outputs: set[Node] = field(default_factory=set)
    _products: dict[Node, Product | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = list(islice(walk(self.loss.grad_fn), MOST_NODES))
        nodes = walk(self.loss.grad_fn, lambda node: not self.product(node))
        self.outputs = set(islice(nodes, MOST_NODES))

    def product(self, node: Node) -> Product | None:
        """Returns the layer that a node computes; None if it is no product with a weight of the model."""
        if node not in self._products:
            is_product = operation(node) in PRODUCTS
            self._products[node] = self._as_product(node) if is_product else None
        return self._products[node]

    def _as_product(self, node: Node) -> Product | None:
        weight, bias, sources = None, None, []
        for source in inputs_of(node):
            param = parameter_at(source)
            # FSDP2 computes with gathered copies of the model's parameters.
            is_copy = isinstance(param, Parameter) and id(param) not in self.names
            name = UNNAMED if is_copy else self.names.get(id(param))
            if self._is_parametrized(source):
                weight = UNNAMED
            elif param is None or name is None:
                sources.append(source)
            elif param.ndim >= 2:
                weight = name
            else:
                bias = name or None
        return None if weight is None else Product(weight, bias, tuple(sources))

    def is_similarity(self, node: Node) -> bool:
        """True if a node is a product of two things that are computed, up to a scale and a margin.

        Such are the logits of contrastive losses and of classes by their angle: the scale is chosen, and the loss of
        an untrained model with it.
        """
        node = past(node, VIEWS)
        while operation(node) in SCALINGS:
            computed = [
                source
                for source in inputs_of(node)
                if operation(source) != "AccumulateGrad"
            ]
            if not computed:
                return False
            node = past(computed[0], VIEWS)
        return operation(node) in PRODUCTS | {"Cdist"} and not self.product(node)

    def unregistered(self) -> list[Tensor]:
        """Returns the parameters that the loss is computed from, and that are none of the model's."""
        leaves = [getattr(node, "variable", None) for node in self.nodes]
        return [
            leaf
            for leaf in leaves
            if isinstance(leaf, Parameter) and id(leaf) not in self.names
        ]

    def _is_parametrized(self, source: Node) -> bool:
        """True of a weight that a parametrization computes, such as `weight_norm`, from parameters of its own."""
        names = set()
        for count, node in enumerate(walk(source)):
            if node in self.layers or count == MOST_OF_A_WEIGHT:
                return False
            param = getattr(node, "variable", None)
            if param is not None:
                names.add(self.names.get(id(param), UNNAMED))
        return bool(names) and all(map(is_of_parametrization, names))

    def losses(self) -> Iterator[tuple[str, Node]]:
        """Yields the loss functions by name, from the end of the loss."""
        for node in self.nodes:
            if node in self.outputs and operation(node) in LOSSES:
                yield LOSSES[operation(node)], node

    def has_crossed_difference(self) -> bool:
        """True if the loss has a difference of outputs `(n, 1)` and targets `(n,)`, which is `(n, n)`."""
        return any(
            operation(node) in ("Sub", "Rsub") and is_crossed(node)
            for node in self.nodes
            if node in self.outputs
        )

    def output_layers(self) -> set[str]:
        """Returns the observed layers that no weight comes after: activations of the model's output."""
        return {name for node, name in self.layers.items() if node in self.outputs}

    def gates(self) -> set[str]:
        """Returns the observed layers whose output is multiplied by another value that has a gradient."""
        factors: set[Node] = set()
        for node in self.nodes:
            sources = inputs_of(node)
            if operation(node) in ("Mul", "Div") and len(sources) > 1:
                factors |= {past(source, VIEWS) for source in sources}
        return {name for node, name in self.layers.items() if node in factors}

    def stacked(self) -> list[tuple[str, str]]:
        """Returns the weights of two layers with nothing but views and dropout between them, the earlier first.

        A convolution in groups before or after one of single pixels is a separable one, on purpose. A layer whose
        output is used for something else as well, as by a residual connection, is no part of the next one.
        """
        pairs = []
        for node in self.nodes:
            product = self.product(node)
            for source in product.sources if product else ():
                first = past(source, VIEWS | DROPOUTS)
                earlier = self.product(first)
                if product is None or earlier is None or has_groups(first, node):
                    continue
                is_whole_input = all(map(self.product, ends_of(first, self.users)))
                names = {earlier.weight, product.weight}
                if len(names) > 1 and UNNAMED not in names and is_whole_input:
                    pairs.append((earlier.weight, product.weight))
        return pairs

    @cached_property
    def users(self) -> dict[Node, list[Node]]:
        """Nodes that are computed from each node."""
        users: dict[Node, list[Node]] = {}
        for node in self.nodes:
            for source in inputs_of(node):
                users.setdefault(source, []).append(node)
        return users

    def normalized_rows(self) -> dict[str, int]:
        """Returns the number of values that each BatchNorm normalizes a channel over, by the name of its weight.

        Neighboring pixels are alike: `ALIKE` of an example count as one value.
        """
        rows = {}
        for node in self.nodes:
            if operation(node) not in BATCH_NORMS:
                continue
            shape = getattr(node, "_saved_input", torch.empty(0, 0)).shape
            params = [parameter_at(source) for source in inputs_of(node)[1:]]
            names = [self.names.get(id(param)) for param in params]
            if names and names[0] and getattr(node, "_saved_training", True):
                values = shape.numel() // max(shape[1], 1)
                rows[names[0]] = max(shape[0], values // ALIKE)
        return rows

    def biases_before_norms(self) -> list[str]:
        """Returns the biases that a BatchNorm in training mode subtracts again, and that nothing else sees."""
        biases = []
        for node in self.nodes:
            if operation(node) in BATCH_NORMS and getattr(
                node, "_saved_training", True
            ):
                source = past(inputs_of(node)[0], VIEWS)
                product = self.product(source)
                is_seen = any(
                    operation(user) not in BATCH_NORMS
                    for user in ends_of(source, self.users)
                )
                if product is not None and product.bias is not None and not is_seen:
                    biases.append(product.bias)
        return biases


def is_crossed(node: Node) -> bool:
    """True if an operation of n outputs, and of numbers without gradient, has n x n results.

    An axis that is added just before, as for all pairs on purpose, tells that this is meant.
    """
    sources = inputs_of(node)
    if len(sources) != 1 or operation(sources[0]) == "Unsqueeze":
        return False
    result, outputs = shape_of(node), shape_of(sources[0])
    count = math.prod(outputs)
    return count > 1 and result[-2:] == (count, count)


def shape_of(node: Node) -> tuple[int, ...]:
    """Returns the shape of an operation's result; PyTorch has no public name for it."""
    metadata = getattr(node, "_input_metadata", None)
    return tuple(metadata[0].shape) if metadata else ()


def is_of_parametrization(name: str) -> bool:
    """True of the name of a parameter that a weight is computed from."""
    return ".parametrizations." in name or name.endswith(OLD_PARAMETRIZATIONS)


def has_groups(*nodes: Node) -> bool:
    """True if one of several nodes is a convolution in groups."""
    return any(getattr(node, "_saved_groups", 1) > 1 for node in nodes)
