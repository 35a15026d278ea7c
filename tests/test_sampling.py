from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from makemore_lightning import MLP, InputError
from makemore_lightning.sampling import LONGEST_NAME, SampleRequest, sample_names
from makemore_lightning.vocabulary import Vocabulary

VOCABULARY = Vocabulary(".ab")


class Fixed(nn.Module):
    """Gives the same logits whatever the context."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, contexts: Tensor) -> Tensor:
        return self.logits.expand(len(contexts), -1)


class Chain(nn.Module):
    """Says a, then b, then the end, by the last character."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, contexts: Tensor) -> Tensor:
        return nn.functional.one_hot((contexts[:, -1] + 1) % 3, 3) * self.scale


def sample(network: nn.Module, **request: Any) -> list[str]:
    return sample_names(network, VOCABULARY, 3, SampleRequest(**request))


def test_each_character_follows_the_one_before() -> None:
    assert sample(Chain(), count=3) == ["ab", "ab", "ab"]


def test_seed_decides() -> None:
    network = Fixed([0.0, 0.0, 0.0])
    assert sample(network, seed=1) == sample(network, seed=1)
    assert sample(network, seed=1) != sample(network, seed=2)


def test_frequencies_are_those_of_the_softmax() -> None:
    network = Fixed([0.0, 1.0, 2.0])
    firsts = Counter(name[:1] for name in sample(network, count=20_000))
    expected = torch.softmax(network.logits, 0)
    for character, probability in zip(["", "a", "b"], expected.tolist(), strict=True):
        assert firsts[character] / 20_000 == pytest.approx(probability, abs=0.01)


def test_temperature() -> None:
    network = Fixed([0.0, 1.0, 2.0])
    firsts = Counter(name[:1] for name in sample(network, count=20_000, temperature=2.0))
    assert firsts["b"] / 20_000 == pytest.approx(torch.softmax(network.logits / 2, 0)[2].item(), abs=0.01)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sample(Fixed([1.0, 0.0, 0.0]), temperature=0.0) == [""] * 20


def test_temperature_near_zero_is_no_danger() -> None:
    assert sample(Chain(), temperature=1e-300) == sample(Chain(), temperature=0.0)


def test_a_name_without_end_is_cut() -> None:
    assert sample(Fixed([0.0, 9.0, 0.0]), count=1, temperature=0.0) == ["a" * LONGEST_NAME]


def test_leaves_the_global_generator_alone() -> None:
    network = MLP(3, 3)
    state = torch.get_rng_state()
    sample(network)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"count": 0}, "count must be 1 or more, got 0"),
        ({"temperature": -1.0}, "temperature must be 0 or more, got -1"),
        ({"temperature": float("nan")}, "temperature must be 0 or more, got nan"),
        ({"seed": 2**64}, "seed must be from 0 to"),
    ],
)
def test_bad_request(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SampleRequest(**request_)
