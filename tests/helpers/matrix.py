"""Tables of docs/regimes.md, made of the tests that cover the regimes: `python tests/helpers/matrix.py` prints them.

The command runs the tests of each cell. A cell is marked by what its tests show when they pass: that numbers or
verdicts are right, or that they are left out with a warning. A cell whose tests fail is marked in the printed tables
alone.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parents[1]
"""Folder of the tests."""
RIGHT, LEFT_OUT, FAILS = "✓", "*left out*", "✗"


class Cell(NamedTuple):
    """A regime, the tests that cover it, and what they show when they pass."""

    regime: str
    tests: str
    """Node ID of pytest, relative to the folder of the tests."""
    mark: str = RIGHT


def in_file(name: str) -> str:
    """Returns the beginning of the node IDs of a file of tests/callbacks."""
    return f"callbacks/test_{name}.py::"


UPDATES, GRADIENTS, REGIMES = (
    in_file("update_ratio"),
    in_file("grad_stats"),
    in_file("regimes"),
)
INSTRUMENT, WRITER, RANKS = (
    in_file("instrument"),
    "callbacks/report/test_writer.py::",
    in_file("distributed"),
)
BY_HAND, SHAPES, COMPILED = (
    in_file("manual_optimization"),
    in_file("module_shapes"),
    in_file("compiled"),
)
TRAINERS, FAULTS, FUNCTIONS = (
    in_file("trainers"),
    in_file("faults"),
    in_file("functional"),
)
FAILURES = in_file("failures")
BITS, MODELS = in_file("bit_equality"), in_file("other_models")

MATRIX: dict[str, list[Cell]] = {
    "optimization": [
        Cell("automatic", REGIMES + "TestAllNumbers::test_in_automatic_optimization"),
        Cell("by hand, two optimizers", BY_HAND + "TestTwoOptimizers::test_gan"),
        Cell("raw optimizers", BY_HAND + "test_a_raw_optimizer_has_gradients"),
        Cell(
            "several steps in a batch",
            BY_HAND + "TestSeveralStepsInABatch::test_values_are_those_of_the_first",
        ),
        Cell(
            "LBFGS",
            REGIMES + "TestOptimization::test_lbfgs_is_observed_where_its_step_begins",
        ),
        Cell(
            "accumulation, short last window",
            REGIMES + "TestOptimization::test_a_short_last_window_of_accumulation",
        ),
        Cell("clipping by norm and value", UPDATES + "test_is_the_true_change"),
        Cell("norm after clipping", "callbacks/test_clipping.py"),
        Cell("frozen", GRADIENTS + "TestFrozenParameters"),
        Cell("unused", REGIMES + "TestOptimization::test_a_parameter_without_gradient"),
        Cell("sparse gradients", GRADIENTS + "TestEveryKindOfGradient::test_sparse"),
        Cell(
            "tied weights",
            GRADIENTS + "TestEveryKindOfGradient::test_tied_weights_have_one_name",
        ),
        Cell(
            "zero biases",
            GRADIENTS + "TestEveryKindOfGradient::test_a_zero_bias_has_no_ratio",
        ),
        Cell("one element", UPDATES + "TestUnmoved::test_one_element_and_no_spread"),
    ],
    "precision": [
        Cell("32, 64", REGIMES + "TestAllNumbers::test_in_automatic_optimization"),
        Cell(
            "bf16-mixed, bf16-true", REGIMES + "TestAllNumbers::test_in_half_precision"
        ),
        Cell("16-mixed, skipped steps", REGIMES + "test_a_scaler_that_skips_a_step"),
        Cell(
            "fused optimizer under a scaler",
            GRADIENTS + "test_a_gradient_scaler_has_no_effect",
        ),
    ],
    "strategy": [
        Cell("DDP", RANKS + "test_numbers_are_those_of_the_whole_batch[ddp]"),
        Cell(
            "FSDP2 (ModelParallelStrategy)",
            RANKS + "test_numbers_are_those_of_the_whole_batch[fsdp2]",
        ),
        Cell("ranks that differ", RANKS + "test_a_layer_that_only_one_rank_calls"),
        Cell("ddp_spawn", TRAINERS + "test_spawned_processes"),
        Cell(
            "tensor parallel",
            RANKS + "test_tensor_parallelism_is_not_measured_and_warned_of",
            mark=LEFT_OUT,
        ),
    ],
    "compile": [
        Cell(
            "gradients, parameters, updates",
            COMPILED + "test_parameters_are_measured_and_layers_left_out",
        ),
        Cell(
            "layers inside compiled code",
            COMPILED + "test_parameters_are_measured_and_layers_left_out",
            mark=LEFT_OUT,
        ),
    ],
    "module shapes": [
        Cell("in-place, residual, called twice", BITS + "test_training_is_bit_equal"),
        Cell(
            "functional activations",
            FUNCTIONS + "test_all_numbers_are_those_of_a_plain_loop",
        ),
        Cell(
            "tuples, dicts, dataclasses",
            "callbacks/probe/test_layer_hooks.py::test_walks_through_outputs",
        ),
        Cell("LSTM", MODELS + "test_each_tensor_of_an_lstm_by_its_path"),
        Cell("MultiheadAttention", SHAPES + "test_attention_and_its_tuples"),
        Cell(
            "activation checkpointing",
            SHAPES + "test_checkpointing_counts_nothing_twice",
        ),
        Cell("weight_norm", SHAPES + "test_parametrizations"),
        Cell("replaced layers", SHAPES + "TestReplacedLayers"),
        Cell("torch.func.grad", SHAPES + "TestTransforms::test_inside_grad"),
        Cell(
            "torch.func.vmap",
            SHAPES + "TestTransforms::test_inside_vmap",
            mark=LEFT_OUT,
        ),
        Cell("empty batches", SHAPES + "test_an_empty_batch_beside_a_full_one"),
    ],
    "trainer": [
        Cell(
            "sanity check, validation",
            INSTRUMENT
            + "TestCallsThatAreNotTraining::test_validation_and_sanity_check",
        ),
        Cell("weight averaging", TRAINERS + "test_averaged_weights"),
        Cell("fast_dev_run", INSTRUMENT + "TestTrainers::test_fast_dev_run"),
        Cell("barebones", INSTRUMENT + "TestTrainers::test_barebones"),
        Cell("several fits", INSTRUMENT + "TestLatest::test_a_second_fit_begins_anew"),
        Cell(
            "two of a class, resume",
            INSTRUMENT + "test_two_of_a_class_with_different_arguments",
        ),
        Cell(
            "pickle, deepcopy",
            INSTRUMENT + "TestTraces::test_copies_and_pickles_in_the_middle_of_a_step",
        ),
    ],
    "loggers": [
        Cell(
            "TensorBoard",
            "callbacks/report/test_tensorboard.py::test_a_record_and_a_picture_are_read_back",
        ),
        Cell(
            "several at once",
            WRITER + "test_numbers_go_to_all_loggers_and_pictures_to_some",
        ),
        Cell("W&B offline", WRITER + "TestLoggersOfOthers::test_weights_and_biases"),
        Cell("MLflow", WRITER + "TestLoggersOfOthers::test_mlflow"),
        Cell("none", INSTRUMENT + "TestTrainers::test_no_logger"),
    ],
    "faults": [
        Cell("NaN, Inf forward", FAULTS + "test_in_the_forward_pass_of_a_layer"),
        Cell("in a gradient", FAULTS + "test_in_a_gradient"),
        Cell("in a parameter", FAULTS + "test_in_a_parameter"),
        Cell(
            "exception, Ctrl-C",
            INSTRUMENT + "TestTraces::test_after_an_exception_and_after_ctrl_c",
        ),
        Cell("full disk", FAULTS + "test_a_full_disk_under_the_event_file"),
        Cell("a measurement that raises", FAILURES + "TestAMeasurementThatRaises"),
        Cell("an instrument that raises", FAILURES + "TestAnInstrumentThatRaises"),
    ],
    "hosts": [
        Cell(
            "folder copied, any name; pytorch_lightning",
            TRAINERS + "test_the_folder_copied_under_any_name",
        ),
        Cell(
            "wheel beside a `callbacks/`",
            "project/test_wheel.py::test_works_beside_a_host_with_callbacks_of_its_own",
        ),
    ],
}


HEALTH, VERDICTS = in_file("health_check"), in_file("health_check_regimes")

HEALTH_MATRIX: dict[str, list[Cell]] = {
    "optimization": [
        Cell("automatic", HEALTH + "TestReport"),
        Cell("by hand, raw optimizers", VERDICTS + "TestOptimization::test_by_hand"),
        Cell("two optimizers, GAN", VERDICTS + "TestOptimization::test_two_optimizers"),
        Cell(
            "several steps in a batch",
            VERDICTS + "TestOptimization::test_several_steps_in_a_batch",
        ),
        Cell("LBFGS", VERDICTS + "TestOptimization::test_lbfgs"),
        Cell(
            "accumulation, short last window",
            VERDICTS + "TestOptimization::test_by_the_trainer[accumulation]",
        ),
        Cell(
            "accumulation by hand",
            VERDICTS + "TestOptimization::test_accumulation_by_hand",
        ),
        Cell(
            "clipping by norm and value",
            VERDICTS + "TestOptimization::test_by_the_trainer",
        ),
        Cell("frozen", VERDICTS + "TestOptimization::test_a_frozen_layer"),
        Cell("unused", HEALTH + "TestFacts::test_an_unused_parameter"),
    ],
    "precision": [
        Cell("32", HEALTH + "TestReport"),
        Cell(
            "64, bf16-mixed, bf16-true",
            VERDICTS + "TestPrecision::test_by_the_trainer",
        ),
        Cell(
            "16-mixed, skipped steps, fused optimizer",
            VERDICTS + "TestPrecision::test_a_scaler_that_skips_a_step",
        ),
    ],
    "strategy": [
        Cell("DDP", VERDICTS + "test_ranks[ddp]"),
        Cell("FSDP2 (ModelParallelStrategy)", VERDICTS + "test_ranks[fsdp2]"),
        Cell(
            "ranks that differ",
            RANKS + "test_ranks_with_different_parameters_are_found",
        ),
    ],
    "compile": [
        Cell("parameters, updates", VERDICTS + "TestCompiled"),
        Cell(
            "layers inside compiled code",
            COMPILED + "test_parameters_are_measured_and_layers_left_out",
            mark=LEFT_OUT,
        ),
    ],
    "module shapes": [
        Cell(
            "functional activations, checkpointing, in-place, called twice, attention, empty batches",
            VERDICTS + "TestModuleShapes::test_of_modules",
        ),
        Cell("LSTM", VERDICTS + "TestModuleShapes::test_lstm"),
        Cell("weight_norm", VERDICTS + "TestModuleShapes::test_weight_norm"),
        Cell("replaced layers", VERDICTS + "TestModuleShapes::test_a_replaced_layer"),
        Cell("torch.func.grad", VERDICTS + "TestModuleShapes::test_inside_grad"),
        Cell(
            "updates under torch.func.vmap",
            VERDICTS + "TestModuleShapes::test_inside_vmap",
        ),
    ],
    "trainer": [
        Cell(
            "sanity check, validation",
            VERDICTS + "TestTrainers::test_validation_and_sanity_check",
        ),
        Cell("weight averaging", VERDICTS + "TestTrainers::test_averaged_weights"),
        Cell("fast_dev_run", VERDICTS + "TestTrainers::test_without_a_logger"),
        Cell("barebones", VERDICTS + "TestTrainers::test_barebones"),
        Cell(
            "several fits", HEALTH + "TestReport::test_is_empty_again_in_a_second_fit"
        ),
        Cell("resume", HEALTH + "test_a_resumed_run_goes_on_with_the_report"),
    ],
    "loggers": [
        Cell("TensorBoard", HEALTH + "TestWriting::test_numbers_and_text_page"),
        Cell("several at once", VERDICTS + "TestTrainers::test_several_loggers"),
        Cell("W&B offline", VERDICTS + "TestTrainers::test_loggers_of_others[wandb]"),
        Cell("MLflow", VERDICTS + "TestTrainers::test_loggers_of_others[mlflow]"),
        Cell("none", VERDICTS + "TestTrainers::test_without_a_logger"),
    ],
    "faults": [
        Cell(
            "NaN between due steps",
            HEALTH + "TestFacts::test_where_nan_began_between_due_steps",
        ),
        Cell(
            "exception",
            HEALTH + "TestReport::test_is_there_during_the_fit_and_after_an_exception",
        ),
    ],
    "hosts": [
        Cell("pytorch_lightning", VERDICTS + "test_under_the_other_name_of_lightning"),
    ],
}


RECORDER, BUNDLES = in_file("flight_recorder"), in_file("flight_recorder_regimes")

RECORDER_MATRIX: dict[str, list[Cell]] = {
    "optimization": [
        Cell("automatic", RECORDER + "test_a_fault_is_placed_and_comes_again"),
        Cell("by hand", BUNDLES + "TestOptimization::test_by_hand"),
        Cell(
            "by hand, two optimizers",
            RECORDER + "test_a_fault_is_placed_and_comes_again[by_hand]",
        ),
        Cell(
            "raw optimizers",
            BUNDLES + "TestOptimization::test_by_hand_with_raw_optimizers",
        ),
        Cell("LBFGS", BUNDLES + "TestOptimization::test_lbfgs"),
        Cell(
            "accumulation, short last window",
            BUNDLES + "TestOptimization::test_accumulation",
        ),
        Cell(
            "clipping by norm and value",
            BUNDLES + "TestOptimization::test_by_the_trainer",
        ),
        Cell(
            "frozen, unused",
            BUNDLES + "TestOptimization::test_a_frozen_layer_and_an_unused_one",
        ),
        Cell("schedules", BUNDLES + "TestOptimization::test_a_schedule"),
        Cell(
            "accumulation that changes",
            BUNDLES + "TestFaultsOfOthers::test_an_accumulation_that_changes",
        ),
        Cell(
            "clipping by a hook",
            BUNDLES + "TestFaultsOfOthers::test_norms_after_clipping_by_a_hook",
        ),
        Cell(
            "states with queues and functions",
            BUNDLES
            + "TestFaultsOfOthers::test_objects_in_the_states_of_optimizers_and_schedules",
        ),
    ],
    "precision": [
        Cell("32", RECORDER + "test_a_fault_is_placed_and_comes_again"),
        Cell(
            "64, bf16-mixed, bf16-true, 16-true",
            BUNDLES + "TestPrecision::test_precision",
        ),
        Cell(
            "16-mixed, skipped steps",
            BUNDLES + "TestPrecision::test_a_scaler_and_its_skipped_steps",
        ),
    ],
    "strategy": [
        Cell("DDP", BUNDLES + "TestRanks::test_ddp_names_the_batch_on_its_rank"),
        Cell("FSDP2", BUNDLES + "TestRanks::test_shards_leave_out_norms_and_state"),
        Cell(
            "gradient norms and state under FSDP2",
            BUNDLES + "TestRanks::test_shards_leave_out_norms_and_state",
            mark=LEFT_OUT,
        ),
    ],
    "compile": [
        Cell("step, loss, gradients", BUNDLES + "TestModules::test_compiled"),
        Cell("replay", BUNDLES + "TestFaultsOfOthers::test_compiled_submodules"),
        Cell(
            "outputs inside compiled code",
            BUNDLES + "TestModules::test_compiled",
            mark=LEFT_OUT,
        ),
    ],
    "module shapes": [
        Cell(
            "BatchNorm, spectral_norm, dropout",
            BUNDLES + "TestModules::test_buffers_that_a_forward_pass_changes",
        ),
        Cell(
            "activation checkpointing",
            BUNDLES + "TestModules::test_activation_checkpointing",
        ),
        Cell("LSTM", BUNDLES + "TestModules::test_an_lstm_has_an_entry_an_output"),
        Cell(
            "buffers that grow",
            BUNDLES
            + "TestFaultsOfOthers::test_buffers_that_grow_or_begin_to_change_late",
        ),
        Cell(
            "replaced layers",
            BUNDLES + "TestFaultsOfOthers::test_gradients_of_a_layer_that_was_replaced",
        ),
        Cell(
            "generators and helpers of the model",
            BUNDLES + "test_the_second_run_in_a_training_leaves_no_trace",
        ),
    ],
    "trainer": [
        Cell("validation", BUNDLES + "TestTrainers::test_validation_and_its_exception"),
        Cell("weight averaging", BUNDLES + "TestTrainers::test_weight_averaging"),
        Cell(
            "fast_dev_run, barebones",
            BUNDLES + "TestTrainers::test_fast_dev_run_and_barebones",
        ),
        Cell("several fits", BUNDLES + "TestTrainers::test_a_second_fit_begins_anew"),
        Cell("pickle, deepcopy", BUNDLES + "TestTrainers::test_copies_and_pickles"),
        Cell("beside HealthCheck", BUNDLES + "TestTrainers::test_beside_health_check"),
    ],
    "faults": [
        Cell(
            "data, forward, backward, optimizer, fp16",
            RECORDER + "test_a_fault_is_placed_and_comes_again",
        ),
        Cell("learning rate", BUNDLES + "TestFaultsOfOthers::test_a_rate_that_jumped"),
        Cell(
            "before the first step",
            BUNDLES
            + "TestFaultsOfOthers::test_weights_that_were_nan_before_the_first_step",
        ),
        Cell(
            "in the last step",
            BUNDLES + "TestFaultsOfOthers::test_the_last_update_of_a_training",
        ),
        Cell("detect_anomaly", BUNDLES + "TestFaultsOfOthers::test_detect_anomaly"),
        Cell(
            "exception",
            RECORDER + "TestBundles::test_an_exception_is_recorded_and_goes_on",
        ),
        Cell("Ctrl-C", RECORDER + "TestBundles::test_an_end_by_hand_is_no_fault"),
        Cell(
            "a folder that cannot be written",
            RECORDER
            + "TestBundles::test_a_bundle_that_cannot_be_written_is_warned_of_once",
        ),
    ],
}


RANGES = in_file("number_range")
CASTING = RANGES + "TestNumbersAreThoseOfCasting::"

RANGE_MATRIX: dict[str, list[Cell]] = {
    "optimization": [
        Cell("automatic, accumulation", CASTING + "test_in_automatic_optimization"),
        Cell("by hand", CASTING + "test_in_manual_optimization"),
        Cell("clipping", CASTING + "test_gradients_are_not_clipped_and_updates_are"),
        Cell("frozen", RANGES + "TestTable::test_a_frozen_parameter_keeps_its_row"),
    ],
    "precision": [
        Cell(
            "32, 64, bf16-mixed, bf16-true", CASTING + "test_in_automatic_optimization"
        ),
        Cell("16-mixed, fused optimizer", CASTING + "test_gradients_are_unscaled"),
        Cell("skipped steps", CASTING + "test_a_step_that_the_scaler_skips"),
        Cell(
            "casts of every type",
            "callbacks/measure/test_casts.py::TestEqualToCasting",
        ),
    ],
    "strategy": [
        Cell("DDP", RANKS + "test_numbers_are_those_of_the_whole_batch[ddp]"),
        Cell(
            "FSDP2 (ModelParallelStrategy)",
            RANKS + "test_numbers_are_those_of_the_whole_batch[fsdp2]",
        ),
        Cell("ranks that differ", RANKS + "test_a_layer_that_only_one_rank_calls"),
        Cell("the path of accelerators", CASTING + "test_as_on_an_accelerator"),
    ],
    "compile": [
        Cell(
            "gradients, parameters, updates",
            CASTING + "test_of_compiled_layers_parameters_alone",
        ),
        Cell(
            "layers inside compiled code",
            CASTING + "test_of_compiled_layers_parameters_alone",
            mark=LEFT_OUT,
        ),
    ],
    "module shapes": [
        Cell(
            "functional activations, called twice",
            CASTING + "test_of_functions_and_of_a_layer_called_twice",
        ),
        Cell("torch.func.grad", CASTING + "test_inside_a_transform_of_functorch"),
    ],
    "trainer": [
        Cell(
            "several fits", RANGES + "TestTable::test_a_frozen_parameter_keeps_its_row"
        ),
        Cell("beside the other callbacks", RANGES + "TestMeasuredOnce"),
        Cell(
            "pickle, deepcopy",
            INSTRUMENT + "TestTraces::test_copies_and_pickles_in_the_middle_of_a_step",
        ),
    ],
    "loggers": [
        Cell(
            "TensorBoard",
            RANGES + "test_the_text_page_has_the_first_and_the_last_step",
        ),
        Cell("numbers alone", RANGES + "TestLogged"),
        Cell("none", RANGES + "TestTable::test_before_and_after_a_fit"),
    ],
    "faults": [
        Cell("NaN", RANGES + "TestTable::test_json_is_strict_and_complete"),
        Cell("a measurement that raises", FAILURES + "TestAMeasurementThatRaises"),
        Cell("an instrument that raises", FAILURES + "TestAnInstrumentThatRaises"),
    ],
}


MATRICES = (MATRIX, HEALTH_MATRIX, RECORDER_MATRIX, RANGE_MATRIX)
"""All tables of the document."""


def table(matrix: dict[str, list[Cell]], failing: frozenset[Cell] = frozenset()) -> str:
    """Returns a matrix as Markdown, one line an axis."""
    lines = ["| axis | regimes |", "|---|---|"]
    for axis, cells in matrix.items():
        marked = (
            f"{cell.regime} {FAILS if cell in failing else cell.mark}" for cell in cells
        )
        lines.append(f"| {axis} | {' · '.join(marked)} |")
    return "\n".join(lines)


def passes(cell: Cell) -> bool:
    """Runs the tests of a cell."""
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / cell.tests)]
    return subprocess.run(command, cwd=HERE.parent, capture_output=True).returncode == 0


if __name__ == "__main__":
    for matrix in MATRICES:
        every_cell = [cell for cells in matrix.values() for cell in cells]
        failing = frozenset(cell for cell in every_cell if not passes(cell))
        print(table(matrix, failing), end="\n\n")
