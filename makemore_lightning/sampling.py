"""Names from a trained network."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from makemore_lightning.errors import InputError
from makemore_lightning.vocabulary import Vocabulary

LONGEST_NAME = 100
"""A name is cut there: an untrained network may never draw the end."""


@dataclass
class SampleRequest:
    """Which names are wanted.

    Args:
        count: How many names.
        seed: The same seed gives the same names.
        temperature: Divides the logits: below 1 the names are safer, above 1 wilder; 0 takes the likeliest
            character each time.

    Raises:
        InputError: If count is below 1 or temperature below 0.
    """

    count: int = 20
    seed: int = 2147483657
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count must be 1 or more, got {self.count}")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")


@torch.no_grad()
def sample_names(network: nn.Module, vocabulary: Vocabulary, block_size: int, request: SampleRequest) -> list[str]:
    """Draws names character by character, all of them side by side.

    Args:
        network: Turns contexts `(N, block_size)` into logits `(N, vocab_size)`; should be in eval mode.
        vocabulary: What the ids stand for.
        block_size: How many characters of context.
        request: How many, from which seed, at which temperature.

    Returns:
        `request.count` names without the "." that ends them, at most `LONGEST_NAME` characters each.
    """
    generator = torch.Generator().manual_seed(request.seed)
    device = next(network.parameters()).device
    contexts = torch.zeros(request.count, block_size, dtype=torch.int64)
    drawn: list[Tensor] = []
    ended = torch.zeros(request.count, dtype=torch.bool)
    while not ended.all() and len(drawn) < LONGEST_NAME:
        logits = network(contexts.to(device)).float().cpu()
        following = _draw(logits, request.temperature, generator)  # (count,)
        drawn.append(following)
        ended |= following == 0
        contexts = torch.cat([contexts[:, 1:], following[:, None]], dim=1)
    return [_until_end(vocabulary.decode(ids)) for ids in torch.stack(drawn, dim=1).tolist()]


def _draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(dim=1)
    # Without the maximum, a small temperature would make infinities of which softmax makes NaN.
    below = logits - logits.max(dim=1, keepdim=True).values
    probabilities = torch.softmax(below.double() / temperature, dim=1)
    return torch.multinomial(probabilities, num_samples=1, generator=generator).squeeze(1)


def _until_end(text: str) -> str:
    return text.partition(".")[0]
