"""Command-line entry point: `python train.py fit|validate|test|predict --config configs/kaiming.yaml`."""

# A config can name a class without its module (`class_path: GradStats`) only if the class has been imported.
import callbacks  # noqa: F401
from makemore_lightning.cli import main

if __name__ == "__main__":
    main()
