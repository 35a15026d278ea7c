"""Program of the drawing process. Its last argument is the file descriptor of the connection to its parent.

It loads the folder of figures alone: the package would take seconds, and the memory of PyTorch.
"""

import importlib
import importlib.util
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib

NAME = "_figures_of_callbacks"
"""Name of the folder of figures in this process, which no other module has."""


def load_figures() -> ModuleType:
    """Returns `figures.draw`, whose parents are not imported."""
    path = Path(__file__).with_name("figures") / "__init__.py"
    spec: Any = importlib.util.spec_from_file_location(NAME, path)
    package = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{NAME}.draw")


def serve(connection: Connection, figures: ModuleType) -> None:
    """Draws figures until the other end of the connection is closed.

    Args:
        connection: Carries arguments of `draw_png` in, and out the PNG or, as a string, an error.
        figures: `figures.draw`.
    """
    matplotlib.rcdefaults()  # not the settings of a matplotlibrc in the working directory
    warnings.simplefilter("ignore")
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            answer: bytes | str = figures.draw_png(*request)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[-1])), load_figures())
