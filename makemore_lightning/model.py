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
    *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish", "ReLU"),
    *("ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh"),
)
"""The element-wise activations of `torch.nn` that need no argument and hold no parameter."""


class MLP(nn.Module):
    """Embeds each character of the context, joins the vectors, and sends them through hidden layers to logits.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model",
    https://www.jmlr.org/papers/v3/bengio03a.html; BatchNorm: Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167.

    Args:
        vocab_size: How many characters there are.
        block_size: How many characters of context.
        embedding_dim: Length of a character's vector.
        hidden_sizes: Width of each hidden layer, first to last.
        activation: Class name in `torch.nn`, such as "Tanh" or "ReLU".
        batchnorm: Puts a `BatchNorm1d` between each hidden layer and its activation; the layer then has no bias,
            which BatchNorm would only subtract again.
        head_batchnorm: Puts one after the head, too.
        batchnorm_momentum: Weight of the newest batch in BatchNorm's running mean and variance, above 0, at most 1.
        init: Name of an initialization scheme: naive, logits, tanh, kaiming or torch.
        gain: Kaiming's gain; None = the activation's own.
        head_scale: What the head's weights are multiplied by at the start; None = the scheme's own.
        generator: Source of the weights; None = PyTorch's global one.

    Raises:
        InputError: If a name is unknown or a number out of range; says what was given and what there is.

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
            raise InputError(f"batchnorm_momentum must be above 0 and at most 1, got {batchnorm_momentum}")
        scheme = find_scheme(init)
        self.embedding = _undrawn(nn.Embedding, vocab_size, embedding_dim)
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential()
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            self.hidden.add_module(f"linear{i}", _undrawn(nn.Linear, fan_in, fan_out, bias=not batchnorm))
            if batchnorm:
                self.hidden.add_module(f"batchnorm{i}", nn.BatchNorm1d(fan_out, momentum=batchnorm_momentum))
            self.hidden.add_module(f"{activation.lower()}{i}", make_activation(activation))
        self.head = _undrawn(nn.Linear, sizes[-1], vocab_size, bias=not head_batchnorm)
        self.head_norm = nn.BatchNorm1d(vocab_size, momentum=batchnorm_momentum) if head_batchnorm else None
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
        """Turns contexts `(N, block_size)` of ids into logits `(N, vocab_size)`."""
        embedded = self.flatten(self.embedding(contexts))  # (N, block_size * embedding_dim)
        logits = self.head(self.hidden(embedded))  # (N, vocab_size)
        return logits if self.head_norm is None else self.head_norm(logits)


def make_activation(name: str) -> nn.Module:
    """Builds the activation of that class name in `torch.nn`.

    Raises:
        InputError: If it is not among `ACTIVATIONS`; lists them.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"activation={name!r} is not among those of torch.nn offered here: {', '.join(ACTIVATIONS)}")
    return getattr(nn, name)()


def _undrawn(kind: Callable[..., Layer], *arguments: object, **options: object) -> Layer:
    """Makes a layer that draws no weights, so that the scheme alone draws: once, and in the order of the notes."""
    return skip_init(kind, *arguments, **options)  # type: ignore[arg-type,return-value]


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise InputError(f"vocab_size, block_size, embedding_dim and hidden_sizes must be 1 or more, got {sizes}")
