"""Sampling of names from a trained network."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from makemore_lightning.errors import InputError
from makemore_lightning.vocabulary import END, Vocabulary

LONGEST_NAME = 100
"""Maximum length in characters: an untrained network may never draw the end of a name."""


@dataclass
class SampleRequest:
    """Parameters of sampling.

    Args:
        count: Number of names.
        seed: Seed of the random numbers, from 0 to 2^63 - 1.
        temperature: Divisor of the logits: below 1, likely characters become more likely, above 1 less; 0 always
            takes the most likely character.

    Raises:
        InputError: If an argument is out of range.
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
def sample_names(
    network: nn.Module, vocabulary: Vocabulary, block_size: int, request: SampleRequest
) -> list[str]:
    """Draws names character by character, all names in one batch.

    Args:
        network: Maps contexts `(N, block_size)` to logits `(N, vocab_size)`; should be in eval mode.
        vocabulary: Characters of the ids.
        block_size: Number of characters in a context.
        request: Number of names, seed and temperature.

    Returns:
        `request.count` names without the "." that ends them, at most `LONGEST_NAME` characters each.
    """
    generator = torch.Generator().manual_seed(request.seed)
    device = next(network.parameters()).device
    contexts = torch.zeros(request.count, block_size, dtype=torch.int64)
    columns: list[Tensor] = []  # one character of every name
    ended = torch.zeros(request.count, dtype=torch.bool)
    while not ended.all() and len(columns) < LONGEST_NAME:
        logits = network(contexts.to(device)).float().cpu()
        next_ids = _draw(logits, request.temperature, generator)  # (count,)
        columns.append(next_ids)
        ended |= next_ids == 0
        contexts = torch.cat([contexts[:, 1:], next_ids[:, None]], dim=1)
    rows = torch.stack(columns, dim=1).tolist()
    return [_until_end(vocabulary.decode(ids)) for ids in rows]


def _draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(dim=1)
    # A small temperature can make infinities of positive logits, and softmax NaN of these.
    maxima = logits.max(dim=1, keepdim=True).values
    scaled = (logits - maxima).double() / temperature
    probabilities = torch.softmax(scaled, dim=1)
    draws = torch.multinomial(probabilities, num_samples=1, generator=generator)
    return draws.squeeze(1)


def _until_end(text: str) -> str:
    name, _, _ = text.partition(END)
    return name
