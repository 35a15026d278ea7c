"""Command-line entry point: `python train.py fit|validate|test|predict|diagnose --config configs/kaiming.yaml`,
`python train.py report|compare runs/kaiming`, and `python train.py replay runs/kaiming/.../flight_recorder/step_...`.
"""

# A config can name a class without its module (`class_path: GradStats`) only if the class has been imported.
import callbacks
from makemore_lightning import cli

FUNCTIONS = {
    "coordinate_check": callbacks.coordinate_check,
    "compare_runs": callbacks.compare_runs,
    "diagnose": callbacks.diagnose,
    "diff_runs": callbacks.diff_runs,
    "replay": callbacks.replay,
    "write_report": callbacks.write_report,
}


def main() -> None:
    """Runs `sys.argv`, with the functions that only this file knows of both halves."""
    cli.main(FUNCTIONS)


if __name__ == "__main__":
    main()
