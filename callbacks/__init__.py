"""Training diagnostics that a person drops into any Lightning project."""

from .activation_histogram import ActivationHistogram
from .compare_runs import compare_runs
from .coordinate_check import CoordinateCheck, coordinate_check
from .diagnose import diagnose
from .diagnosis import Diagnosis
from .diff_runs import diff_runs
from .flight_recorder import FlightRecorder
from .grad_stats import GradStats
from .health.finding import Finding
from .health.health_report import HealthReport
from .health_check import HealthCheck, UnhealthyTraining
from .measure.histogram import Histogram
from .number_range import NumberRange
from .page.run_difference import RunDifference
from .probe.selection import choose_layers, choose_params
from .ranges.range_table import RangeTable
from .recorder.replay_result import ReplayResult
from .replay import replay
from .saturation_map import SaturationMap
from .update_ratio import UpdateRatio
from .write_report import write_report

__all__ = [
    "ActivationHistogram",
    "CoordinateCheck",
    "Diagnosis",
    "Finding",
    "FlightRecorder",
    "GradStats",
    "HealthCheck",
    "HealthReport",
    "Histogram",
    "NumberRange",
    "RangeTable",
    "ReplayResult",
    "RunDifference",
    "SaturationMap",
    "UnhealthyTraining",
    "UpdateRatio",
    "choose_layers",
    "choose_params",
    "compare_runs",
    "coordinate_check",
    "diagnose",
    "diff_runs",
    "replay",
    "write_report",
]
