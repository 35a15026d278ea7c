"""Tests of CharacterMetrics, RunningLoss and mean_loss."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from makemore_lightning import MLP
from makemore_lightning.metrics import CharacterMetrics, RunningLoss, mean_loss


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


class TestRunningLoss:
    def test_mean_of_the_losses_since_the_reset(self) -> None:
        loss = RunningLoss()
        for value in (5.0, 3.0):
            loss.add(torch.tensor(value))
        assert float(loss.mean()) == 4.0
        loss.reset()
        loss.add(torch.tensor(1.0))
        assert float(loss.mean()) == 1.0

    def test_does_not_stop_growing_in_the_longest_interval(self) -> None:
        loss = RunningLoss()
        loss.load_state_dict({"sum": 2.0**24, "count": 2**24})
        loss.to(torch.device("cpu"))
        for _ in range(1000):
            loss.add(torch.tensor(0.5))
        assert loss.state_dict() == {"sum": 2.0**24 + 500, "count": 2**24 + 1000}

    def test_a_restored_mean_goes_on(self) -> None:
        first, second = RunningLoss(), RunningLoss()
        first.add(torch.tensor(4.0))
        second.load_state_dict(first.state_dict())
        second.add(torch.tensor(2.0))
        assert float(second.mean()) == 3.0


@pytest.mark.parametrize("row_count", [1, 7, 8, 9, 17])
def test_mean_loss_is_that_of_one_batch_for_any_number_of_rows(row_count: int) -> None:
    network = MLP(27, 3, init="naive")
    contexts = torch.randint(27, (row_count, 3))
    targets = torch.randint(27, (row_count,))
    expected = F.cross_entropy(network(contexts), targets).item()
    loss = mean_loss(network, contexts, targets, batch_size=8)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_mean_loss_leaves_no_row_alone_for_batchnorm() -> None:
    network = MLP(27, 3, batchnorm=True)
    rows = torch.zeros(17, 3, dtype=torch.int64)
    assert mean_loss(network, rows, rows[:, 0], batch_size=8) > 0
