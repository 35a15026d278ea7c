"""The README's matrix of regimes, made by the tests that hold it: `python tests/matrix.py` runs them and prints it.

A cell is marked by what its tests show: that figures are right, that they are left out with a word, or, printed only
here, that a test fails.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
RIGHT, LEFT_OUT, FAILS = "✓", "said", "✗"


class Cell(NamedTuple):
    """A regime, the tests that hold it, and what they show when they pass."""

    regime: str
    tests: str
    mark: str = RIGHT


UPDATES, GRADIENTS, REGIMES = "test_update_ratio.py::", "test_grad_stats.py::", "test_regimes.py::"
INSTRUMENTS, WRITER, TOGETHER = "test_instruments.py::", "test_writer.py::", "test_distributed.py::"

MATRIX: dict[str, list[Cell]] = {
    "optimization": [
        Cell("automatic", GRADIENTS + "test_beside_a_plain_loop"),
        Cell("by hand, two optimizers", REGIMES + "TestOptimization::test_two_optimizers_by_hand"),
        Cell("LBFGS", REGIMES + "TestOptimization::test_lbfgs_is_looked_at_where_the_step_begins"),
        Cell("accumulation, short last window", REGIMES + "TestOptimization::test_a_short_last_window_of_accumulation"),
        Cell("clipping by norm and value", UPDATES + "test_is_the_true_one"),
        Cell("frozen, unused", UPDATES + "TestWhatDidNotMove::test_a_frozen_parameter"),
        Cell("sparse gradients", GRADIENTS + "TestEveryKindOfGradient::test_sparse"),
        Cell("tied weights", GRADIENTS + "TestEveryKindOfGradient::test_tied_weights_stand_once"),
        Cell("zero biases", GRADIENTS + "TestEveryKindOfGradient::test_a_zero_bias_has_no_ratio"),
        Cell("one element", UPDATES + "TestWhatDidNotMove::test_one_element_and_what_has_no_spread"),
    ],
    "precision": [
        Cell("32, 64, bf16-mixed, bf16-true", REGIMES + "TestPrecision::test_figures_are_those_of_single_precision"),
        Cell("16-mixed, skipped steps", REGIMES + "TestPrecision::test_a_scaler_that_skips_a_step"),
        Cell("fused optimizer under a scaler", GRADIENTS + "test_a_gradient_scaler_leaves_no_trace"),
    ],
    "strategy": [
        Cell("DDP", TOGETHER + "test_figures_are_those_of_the_whole_batch[ddp]"),
        Cell("FSDP2 (ModelParallelStrategy)", TOGETHER + "test_figures_are_those_of_the_whole_batch[fsdp2]"),
        Cell("processes that differ", TOGETHER + "test_a_layer_that_only_one_process_calls"),
        Cell("ddp_spawn", REGIMES + "TestTrainer::test_spawned_processes"),
        Cell("tensor parallel", TOGETHER + "test_what_cannot_be_right_is_told_and_left_out", mark=LEFT_OUT),
    ],
    "compile": [
        Cell("gradients, parameters, updates", REGIMES + "TestCompiled"),
        Cell("layers inside what is compiled", REGIMES + "TestCompiled", mark=LEFT_OUT),
    ],
    "module shapes": [
        Cell("in-place, residual, called twice", INSTRUMENTS + "TestNeutral::test_training_is_bit_equal"),
        Cell("tuples, dicts, dataclasses", "test_hooks.py::test_walks_through_outputs"),
        Cell("LSTM", "test_other_models.py::test_every_tensor_of_an_lstm_by_its_path"),
        Cell("MultiheadAttention", REGIMES + "TestShapes::test_attention_and_its_tuples"),
        Cell("activation checkpointing", REGIMES + "TestShapes::test_checkpointing_counts_nothing_twice"),
        Cell("weight_norm", REGIMES + "TestShapes::test_parametrizations"),
        Cell("torch.func.grad", REGIMES + "TestTransforms::test_within_grad"),
        Cell("empty batches", REGIMES + "TestShapes::test_batches_of_nothing"),
    ],
    "trainer": [
        Cell("sanity check, validation", INSTRUMENTS + "TestWhatIsNotSeen::test_validation_and_sanity_check"),
        Cell("weight averaging", REGIMES + "TestTrainer::test_averaged_weights"),
        Cell("fast_dev_run", INSTRUMENTS + "TestOddTrainers::test_fast_dev_run"),
        Cell("barebones", INSTRUMENTS + "TestOddTrainers::test_barebones"),
        Cell("several fits", INSTRUMENTS + "TestLatest::test_a_second_fit_begins_anew"),
        Cell("two of a class, resume", INSTRUMENTS + "test_two_of_a_class_with_different_arguments"),
        Cell("pickle, deepcopy", INSTRUMENTS + "TestNothingIsLeft::test_copies_and_pickles_in_the_middle_of_a_step"),
    ],
    "loggers": [
        Cell("TensorBoard", WRITER + "TestTensorBoard"),
        Cell("CSV, several at once", WRITER + "TestOtherLoggers::test_numbers_go_to_every_one"),
        Cell("W&B offline", WRITER + "TestLoggersOfOthers::test_weights_and_biases"),
        Cell("MLflow", WRITER + "TestLoggersOfOthers::test_mlflow"),
        Cell("none", INSTRUMENTS + "TestOddTrainers::test_no_logger"),
    ],
    "faults": [
        Cell("NaN, Inf forward", REGIMES + "TestFaults::test_in_the_forward_pass_of_a_layer"),
        Cell("in a gradient", REGIMES + "TestFaults::test_in_a_gradient"),
        Cell("in a parameter", REGIMES + "TestFaults::test_in_a_parameter"),
        Cell("exception, Ctrl-C", INSTRUMENTS + "TestNothingIsLeft::test_after_an_exception_and_after_ctrl_c"),
        Cell("full disk", REGIMES + "TestFaults::test_a_full_disk_under_the_event_file"),
        Cell("a statistic that raises", INSTRUMENTS + "TestAFailureOfOurs"),
    ],
    "hosts": [
        Cell("folder copied, any name; pytorch_lightning", REGIMES + "TestHosts"),
        Cell(
            "wheel beside a `callbacks/`", "project/test_wheel.py::test_works_beside_a_host_with_callbacks_of_its_own"
        ),
    ],
}


def table(failing: frozenset[Cell] = frozenset()) -> str:
    """Returns the matrix as Markdown, one line an axis."""
    lines = ["| axis | regimes |", "|---|---|"]
    for axis, cells in MATRIX.items():
        marked = (f"{c.regime} {FAILS if c in failing else c.mark}" for c in cells)
        lines.append(f"| {axis} | {' · '.join(marked)} |")
    return "\n".join(lines)


def passes(cell: Cell) -> bool:
    """Runs the tests of a cell."""
    node = str(HERE / cell.tests)
    return (
        subprocess.run([sys.executable, "-m", "pytest", "-q", node], cwd=HERE.parent, capture_output=True).returncode
        == 0
    )


if __name__ == "__main__":
    everything = [cell for cells in MATRIX.values() for cell in cells]
    print(table(frozenset(cell for cell in everything if not passes(cell))))
