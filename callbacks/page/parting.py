"""Parting: the first step at which two runs differ beyond a tolerance."""

from collections.abc import Sequence
from dataclasses import dataclass

from .tag_differences import Difference, TagDifferences


@dataclass(frozen=True)
class Parting:
    """First step with a difference beyond the tolerance.

    Attributes:
        step: The step.
        tags: Tags at this step, in the order of computation.
        differing: Those that differ beyond the tolerance.
        before: Last common step before it; None if it is the first.
    """

    step: int
    tags: Sequence[TagDifferences]
    differing: Sequence[TagDifferences]
    before: int | None

    @property
    def first(self) -> TagDifferences:
        """The tag that differs first in the order of computation."""
        return self.differing[0]

    @property
    def difference(self) -> Difference:
        """The difference of the first tag."""
        return self.first.differences[self.step]

    def of_stage(self, stage: str) -> list[TagDifferences]:
        """Returns the tags of a stage."""
        return [each for each in self.tags if each.stage == stage]

    def sizes(self, stage: str) -> list[float]:
        """Returns the relative differences of the tags of a stage."""
        return [each.differences[self.step].size for each in self.of_stage(stage)]

    def excesses(self, stage: str) -> list[float]:
        """Returns the differences of the tags of a stage in units of the tolerance's."""
        return [each.excess(self.step) for each in self.of_stage(stage)]

    def places(self, stage: str) -> list[str]:
        """Returns the layers or parameters of a stage, in the order of computation."""
        return list(dict.fromkeys(each.where for each in self.of_stage(stage)))
