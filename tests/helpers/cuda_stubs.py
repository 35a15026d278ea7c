"""Stubs of the CUDA libraries that a CUDA build of PyTorch loads, so that it runs on a CPU without gigabytes of them.

The dynamic loader refuses to load PyTorch while a library or one of its symbols is missing. A stub has the symbols that
PyTorch refers to; each of them is a function that returns "no device".
"""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

LIBRARY = re.compile(r"lib(cu|nv|nccl)\w*\.so(\.\d+)*")
"""Names of CUDA libraries."""

SYMBOL = re.compile(r"\b(?:__)?(?:cu|nv|nccl)\w*")
"""Names of their functions."""

NO_DEVICE = 100
"""`cudaErrorNoDevice` and `CUDA_ERROR_NO_DEVICE`."""


def stub_cuda_libraries(folder: Path) -> list[str]:
    """Makes stubs of the libraries that are missing, in the folder that PyTorch loads its own libraries from.

    Args:
        folder: `torch/lib` of an installed PyTorch.

    Returns:
        Names of the stubs; none of a CPU build.
    """
    missing: set[str] = set()
    symbols: dict[str, set[str]] = defaultdict(set)
    for library in folder.glob("*.so*"):
        needed = re.findall(r"NEEDED.*\[(.*)\]", _output("readelf", "-d", str(library)))
        missing |= {name for name in needed if LIBRARY.fullmatch(name)}
        undefined = _output("nm", "-D", "--undefined-only", str(library))
        for symbol in re.findall(r" U (\S+)$", undefined, re.MULTILINE):
            name, _, version = symbol.partition("@")
            if SYMBOL.fullmatch(name):
                symbols[version.strip("@")].add(name)
    missing -= {library.name for library in folder.glob("*.so*")}
    for name in sorted(missing):
        # Symbols without a version are found in whichever library is loaded.
        _make_stub(folder, name, symbols[name] | symbols[""])
    return sorted(missing)


def _make_stub(folder: Path, library: str, symbols: set[str]) -> None:
    code = "".join(f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in symbols)
    script = folder / f"{library}.map"
    script.write_text(f"{library} {{ global: *; }};\n")
    command = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", "-x", "c", "-"]
    command += [f"-Wl,-soname,{library}", f"-Wl,--version-script,{script}"]
    subprocess.run(
        [*command, "-o", str(folder / library)], input=code, text=True, check=True
    )
    script.unlink()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
