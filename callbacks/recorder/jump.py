"""Rule for a jump: a number far above its own running mean."""

import math


class JumpRule:
    """Judges a number a step against the running mean and spread of the steps before.

    A number jumps if it is larger than `factor` times its running mean, and if it is more than `deviations` standard
    deviations above it. The first condition is that of Lightning's `SpikeDetection`, the second that of ZClip; each
    alone alarms on healthy trainings: the first where the mean is near zero, the second where the noise is small.
    `benchmarks/jump_thresholds.py` counts the alarms.

    Args:
        factor: Multiple of the running mean; None = nothing is a jump.
        deviations: Standard deviations above the running mean.
        decay: Weight of the past in the running mean and variance.
        first: Numbers that are averaged before one is judged.

    Source:
        Kumar et al., "ZClip: Adaptive Spike Mitigation for LLM Pre-Training" (arXiv 2504.02507); Lightning's
        `lightning.fabric.utilities.spike`.

    Example:
        >>> rule = JumpRule(factor=2.0)
        >>> any([rule.judge(1.0 + step % 2 / 10) for step in range(100)])
        False
        >>> rule.judge(5.0)
        True
    """

    def __init__(
        self,
        factor: float | None,
        deviations: float = 10.0,
        decay: float = 0.97,
        first: int = 20,
    ) -> None:
        self.factor, self.deviations = factor, deviations
        self.decay, self.first = decay, first
        self.reset()

    def reset(self) -> None:
        """Forgets the numbers so far, as after a jump: what follows may be of another size."""
        self.mean = self.variance = 0.0
        self._count = 0

    def judge(self, number: float) -> bool:
        """Returns True if a number jumps, and averages it otherwise; one that is not finite does neither."""
        if self.factor is None or not math.isfinite(number):
            return False
        if self._count >= self.first and number > self.limit:
            return True
        self._add(number)
        return False

    @property
    def limit(self) -> float:
        """Number from which there is a jump; also right where the mean is negative."""
        rise = ((self.factor or 0.0) - 1) * abs(self.mean)
        return self.mean + max(rise, self.deviations * math.sqrt(self.variance))

    def _add(self, number: float) -> None:
        self._count += 1
        weight = max(1 - self.decay, 1 / self._count)
        difference = number - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)
