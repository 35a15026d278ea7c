"""Tests of CharacterMetrics."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from makemore_lightning.metrics import CharacterMetrics


def test_equal_to_numpy_over_batches_of_unequal_size() -> None:
    logits, targets = torch.randn(100, 27), torch.randint(27, (100,))
    metrics = CharacterMetrics(27)
    for rows in (slice(0, 64), slice(64, 100)):
        loss = F.cross_entropy(logits[rows], targets[rows])
        metrics.update(loss, logits[rows], targets[rows])
    values = {name: value.item() for name, value in metrics.compute().items()}

    z = logits.double().numpy()
    log_normalizer = np.log(np.exp(z).sum(axis=1))
    nats = (log_normalizer - z[np.arange(100), targets]).mean()
    accuracy = (z.argmax(axis=1) == targets.numpy()).mean()
    assert values["loss"] == pytest.approx(nats, rel=1e-5)
    assert values["bits_per_character"] == pytest.approx(nats / math.log(2), rel=1e-5)
    assert values["perplexity"] == pytest.approx(math.exp(nats), rel=1e-5)
    assert values["accuracy"] == pytest.approx(accuracy)


def test_reset_clears_earlier_batches() -> None:
    metrics = CharacterMetrics(3)
    metrics.update(torch.tensor(9.0), torch.eye(3), torch.tensor([1, 2, 0]))
    metrics.reset()
    metrics.update(torch.tensor(1.0), torch.eye(3), torch.tensor([0, 1, 2]))
    values = metrics.compute()
    assert values["loss"] == 1
    assert values["accuracy"] == 1
