"""Time that `import callbacks` adds to importing Lightning.

    python benchmarks/import_time.py                two lines, about a minute and a half
    python benchmarks/import_time.py --rounds 1     to see that it works

Each import is a process of its own; the two kinds of process take turns. A number is the median over rounds of the
processor's time, which depends less on what else a machine does than the time of a clock.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

PROGRAMS = {
    "import lightning.pytorch": "import lightning.pytorch",
    "... and callbacks": "import lightning.pytorch, callbacks",
}


def seconds_of(program: str) -> float:
    """Runs a program in a process of its own; returns the time that the processor worked for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> dict[str, float]:
    """Returns the median seconds of each program."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for program in PROGRAMS.values():
        seconds_of(program)  # compiles what is not compiled yet
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            seconds[name].append(seconds_of(program))
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    medians = measure(parser.parse_args().rounds)
    bare = medians["import lightning.pytorch"]
    for name, median in medians.items():
        print(f"{name:26} {median:6.3f} s   ratio {median / bare:.3f}")


if __name__ == "__main__":
    main()
