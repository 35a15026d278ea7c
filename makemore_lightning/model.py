"""The network: a character MLP after Bengio et al. 2003, as a plain `nn.Module`."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from makemore_lightning.errors import InputError
from makemore_lightning.initialization import activation_gain, find_scheme, initialize

Layer = TypeVar("Layer", bound=nn.Module)

ACTIVATIONS = (
    *(
        "CELU",
        "ELU",
        "GELU",
        "Hardsigmoid",
        "Hardswish",
        "Hardtanh",
        "Identity",
        "LeakyReLU",
        "LogSigmoid",
        "Mish",
        "ReLU",
    ),
    *("ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh"),
)
"""The element-wise activations of `torch.nn` without required arguments and parameters; Identity = a linear network."""


class MLP(nn.Module):
    """MLP over the concatenated embeddings of the context characters, with the logits of the next as output.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model",
    https://www.jmlr.org/papers/v3/bengio03a.html; BatchNorm: Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167.

    Args:
        vocab_size: Number of characters in the vocabulary.
        block_size: Number of characters in a context.
        embedding_dim: Length of a character's embedding.
        hidden_sizes: Width of each hidden layer, first to last.
        activation: Class name in `torch.nn`, such as "Tanh" or "ReLU".
        batchnorm: Adds a `BatchNorm1d` between each hidden layer and its activation; the layer then has no bias,
            which BatchNorm would subtract again.
        head_batchnorm: Adds a `BatchNorm1d` after the head.
        batchnorm_momentum: Weight of the newest batch in BatchNorm's running mean and variance, above 0, at most 1.
        init: Name of an initialization scheme: naive, logits, tanh, kaiming or torch.
        gain: Gain in Kaiming's rule; None = the gain of the activation.
        head_scale: Factor on the head's weights at initialization; None = the default of the scheme.
        generator: Random number generator of the weights; None = PyTorch's global generator.

    Raises:
        InputError: If a name is unknown or a number is out of range.

    Example:
        >>> network = MLP(vocab_size=27, block_size=3)
        >>> sum(p.numel() for p in network.parameters())
        11897
        >>> import torch
        >>> network(torch.zeros(32, 3, dtype=torch.int64)).shape
        torch.Size([32, 27])
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: int,
        *,
        embedding_dim: int = 10,
        hidden_sizes: Sequence[int] = (200,),
        activation: str = "Tanh",
        batchnorm: bool = False,
        head_batchnorm: bool = False,
        batchnorm_momentum: float = 0.1,
        init: str = "kaiming",
        gain: float | None = None,
        head_scale: float | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = [block_size * embedding_dim, *hidden_sizes]
        _check_sizes(vocab_size, block_size, embedding_dim, *hidden_sizes)
        if not 0 < batchnorm_momentum <= 1:
            raise InputError(
                f"batchnorm_momentum must be above 0 and at most 1, got {batchnorm_momentum}"
            )
        scheme = find_scheme(init)
        self.embedding = _without_init(nn.Embedding, vocab_size, embedding_dim)
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential()
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            self.hidden.add_module(
                f"linear{i}",
                _without_init(nn.Linear, fan_in, fan_out, bias=not batchnorm),
            )
            if batchnorm:
                self.hidden.add_module(
                    f"batchnorm{i}",
                    nn.BatchNorm1d(fan_out, momentum=batchnorm_momentum),
                )
            self.hidden.add_module(
                f"{activation.lower()}{i}", make_activation(activation)
            )
        self.head = _without_init(
            nn.Linear, sizes[-1], vocab_size, bias=not head_batchnorm
        )
        self.head_norm = (
            nn.BatchNorm1d(vocab_size, momentum=batchnorm_momentum)
            if head_batchnorm
            else None
        )
        initialize(
            self.embedding,
            [layer for layer in self.hidden if isinstance(layer, nn.Linear)],
            self.head,
            self.head_norm,
            scheme=scheme,
            gain=activation_gain(make_activation(activation)) if gain is None else gain,
            head_scale=head_scale,
            generator=generator,
        )

    def forward(self, contexts: Tensor) -> Tensor:
        """Maps contexts `(N, block_size)` of ids to logits `(N, vocab_size)`."""
        embedded = self.flatten(
            self.embedding(contexts)
        )  # (N, block_size * embedding_dim)
        logits = self.head(self.hidden(embedded))  # (N, vocab_size)
        return logits if self.head_norm is None else self.head_norm(logits)


def make_activation(name: str) -> nn.Module:
    """Builds an activation module.

    Args:
        name: Class name in `torch.nn`.

    Raises:
        InputError: If the name is not in `ACTIVATIONS`; the message lists them.
    """
    if name not in ACTIVATIONS:
        raise InputError(
            f"activation={name!r} is not among those of torch.nn offered here: {', '.join(ACTIVATIONS)}"
        )
    return getattr(nn, name)()


def _without_init(
    layer_class: Callable[..., Layer], *arguments: object, **options: object
) -> Layer:
    """Builds a layer with uninitialized parameters: only the scheme may draw random numbers, in the notes' order."""
    return skip_init(layer_class, *arguments, **options)  # type: ignore[arg-type,return-value]


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise InputError(
            f"vocab_size, block_size, embedding_dim and hidden_sizes must be 1 or more, got {sizes}"
        )
