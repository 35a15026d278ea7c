"""Training diagnostics that a person drops into any Lightning project."""

from .activation_histogram import ActivationHistogram
from .coordinate_check import CoordinateCheck, coordinate_check
from .diagnose import diagnose
from .diagnosis import Diagnosis
from .grad_stats import GradStats
from .health.finding import Finding
from .health.health_report import HealthReport
from .health_check import HealthCheck, UnhealthyTraining
from .measure.histogram import Histogram
from .probe.selection import choose_layers, choose_params
from .saturation_map import SaturationMap
from .update_ratio import UpdateRatio

__all__ = [
    "ActivationHistogram",
    "CoordinateCheck",
    "Diagnosis",
    "Finding",
    "GradStats",
    "HealthCheck",
    "HealthReport",
    "Histogram",
    "SaturationMap",
    "UnhealthyTraining",
    "UpdateRatio",
    "choose_layers",
    "choose_params",
    "coordinate_check",
    "diagnose",
]
