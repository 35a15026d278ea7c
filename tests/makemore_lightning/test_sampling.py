"""Tests of sampling names, with networks of known probabilities."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from makemore_lightning import MLP, InputError
from makemore_lightning.sampling import LONGEST_NAME, SampleRequest, sample_names
from makemore_lightning.vocabulary import Vocabulary

VOCABULARY = Vocabulary(".ab")


class ConstantLogits(nn.Module):
    """Outputs the same logits for every context."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, contexts: Tensor) -> Tensor:
        return self.logits.expand(len(contexts), -1)


class Cycle(nn.Module):
    """Predicts the id after that of the last character: "a", "b", then the end."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, contexts: Tensor) -> Tensor:
        return nn.functional.one_hot((contexts[:, -1] + 1) % 3, 3) * self.scale


def sample(network: nn.Module, **request: Any) -> list[str]:
    return sample_names(network, VOCABULARY, 3, SampleRequest(**request))


def test_each_character_depends_on_the_previous() -> None:
    assert sample(Cycle(), count=3) == ["ab", "ab", "ab"]


def test_names_depend_on_the_seed() -> None:
    network = ConstantLogits([0.0, 0.0, 0.0])
    assert sample(network, seed=1) == sample(network, seed=1)
    assert sample(network, seed=1) != sample(network, seed=2)


def test_frequencies_equal_the_softmax_probabilities() -> None:
    network = ConstantLogits([0.0, 1.0, 2.0])
    first_characters = Counter(name[:1] for name in sample(network, count=20_000))
    expected = torch.softmax(network.logits, 0)
    for character, probability in zip(["", "a", "b"], expected.tolist(), strict=True):
        assert first_characters[character] / 20_000 == pytest.approx(
            probability, abs=0.01
        )


def test_temperature() -> None:
    network = ConstantLogits([0.0, 1.0, 2.0])
    first_characters = Counter(
        name[:1] for name in sample(network, count=20_000, temperature=2.0)
    )
    expected = torch.softmax(network.logits / 2, 0)[2].item()
    assert first_characters["b"] / 20_000 == pytest.approx(expected, abs=0.01)


def test_temperature_zero_takes_the_most_likely_character() -> None:
    assert sample(ConstantLogits([1.0, 0.0, 0.0]), temperature=0.0) == [""] * 20


def test_temperature_near_zero_makes_no_nan() -> None:
    assert sample(Cycle(), temperature=1e-300) == sample(Cycle(), temperature=0.0)


def test_a_name_without_end_is_cut_at_the_maximum_length() -> None:
    assert sample(ConstantLogits([0.0, 9.0, 0.0]), count=1, temperature=0.0) == [
        "a" * LONGEST_NAME
    ]


def test_does_not_use_the_global_generator() -> None:
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
