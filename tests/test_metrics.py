import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from makemore_lightning.metrics import CharacterMetrics


def test_against_numpy_over_uneven_batches() -> None:
    logits, targets = torch.randn(100, 27), torch.randint(27, (100,))
    metrics = CharacterMetrics(27)
    for rows in (slice(0, 64), slice(64, 100)):
        metrics.update(F.cross_entropy(logits[rows], targets[rows]), logits[rows], targets[rows])
    values = {name: value.item() for name, value in metrics.compute().items()}

    z = logits.double().numpy()
    nats = np.log(np.exp(z).sum(axis=1)) - z[np.arange(100), targets]
    assert values["loss"] == pytest.approx(nats.mean(), rel=1e-5)
    assert values["bits_per_character"] == pytest.approx(nats.mean() / math.log(2), rel=1e-5)
    assert values["perplexity"] == pytest.approx(math.exp(nats.mean()), rel=1e-5)
    assert values["accuracy"] == pytest.approx((z.argmax(axis=1) == targets.numpy()).mean())


def test_reset_forgets() -> None:
    metrics = CharacterMetrics(3)
    metrics.update(torch.tensor(9.0), torch.eye(3), torch.tensor([1, 2, 0]))
    metrics.reset()
    metrics.update(torch.tensor(1.0), torch.eye(3), torch.tensor([0, 1, 2]))
    assert metrics.compute()["loss"] == 1
    assert metrics.compute()["accuracy"] == 1
