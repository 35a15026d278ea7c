"""Specifications of what is measured of a tensor; equal ones are measured once."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from .casts import Casts
from .histogram import Histogram
from .saturation import Saturation

Only = TypeVar("Only", bound="OnlyOne")


class OnlyOne:
    """Base of classes with one instance, so that instances are equal and cheap to hash, also after unpickling."""

    _instance: ClassVar[Any] = None

    def __new__(cls: type[Only]) -> Only:
        if cls._instance is None:
            cls._instance = object.__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class MomentsOf(OnlyOne):
    """Asks for `Moments`."""


class HistogramOf(OnlyOne):
    """Asks for a `Histogram`, which holds `Moments`, too."""


class CastsOf(OnlyOne):
    """Asks for `Casts`, which hold a `Histogram`, too."""


@dataclass(frozen=True)
class SaturationOf:
    """Asks for a `Saturation`.

    Attributes:
        threshold: Output of tanh, in (0, 1), beyond which it counts as saturated.
        unit_dim: Axis of the units; None = the last of up to three axes, axis 1 of four and more.
        keep_map: Whether to keep the shades of a map.
    """

    threshold: float = 0.99
    unit_dim: int | None = None
    keep_map: bool = False


Distribution = MomentsOf | HistogramOf | CastsOf
"""Statistics of the values as a set; each holds the results of those before it."""

Statistic = Distribution | SaturationOf

DETAIL = {MomentsOf: 0, HistogramOf: 1, CastsOf: 2}
"""Order of the statistics of a distribution."""


def covers(statistic: Statistic, wanted: Statistic) -> bool:
    """True if the result of one statistic holds that of the wanted one."""
    if statistic is wanted:
        return True
    if isinstance(statistic, SaturationOf) and isinstance(wanted, SaturationOf):
        return statistic == wanted or statistic == replace(wanted, keep_map=True)
    if isinstance(statistic, SaturationOf) or isinstance(wanted, SaturationOf):
        return False
    return DETAIL[type(statistic)] >= DETAIL[type(wanted)]


def result_as(statistic: Statistic, result: Any) -> Any:
    """Returns a covering result as the result of a statistic."""
    if isinstance(statistic, MomentsOf) and isinstance(result, Histogram | Casts):
        return result.moments
    if isinstance(statistic, HistogramOf) and isinstance(result, Casts):
        return result.histogram
    if (
        isinstance(statistic, SaturationOf)
        and isinstance(result, Saturation)
        and not statistic.keep_map
    ):
        return replace(result, map=None)
    return result
