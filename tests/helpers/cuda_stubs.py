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
    missing: dict[str, set[str]] = defaultdict(set)
    symbols: dict[str, set[str]] = defaultdict(set)
    for library in folder.glob("*.so*"):
        for name, versions in versions_needed(library).items():
            if LIBRARY.fullmatch(name) and not (folder / name).exists():
                missing[name] |= versions
        for name, version in symbols_needed(library):
            symbols[version].add(name)
    for name, versions in missing.items():
        # Symbols without a version are found in whichever library is loaded.
        _make_stub(
            folder / name, {version: symbols[version] for version in {"", *versions}}
        )
    return sorted(missing)


def versions_needed(library: Path) -> dict[str, set[str]]:
    """Returns the libraries that a library needs, and the versions of symbols that it needs of each."""
    description = _output("objdump", "-p", str(library))
    needed: dict[str, set[str]] = {
        name: set() for name in re.findall(r"NEEDED +(\S+)", description)
    }
    sections = re.findall(r"required from (\S+):\n((?:    .*\n)*)", description)
    for name, lines in sections:
        needed.setdefault(name, set()).update(
            line.split()[-1] for line in lines.splitlines()
        )
    return needed


def symbols_needed(library: Path) -> list[tuple[str, str]]:
    """Returns the functions of CUDA libraries that a library needs, each with its version, or with ""."""
    symbols = re.findall(
        r" U (\S+)$",
        _output("nm", "-D", "--undefined-only", str(library)),
        re.MULTILINE,
    )
    pairs = [symbol.replace("@@", "@").partition("@") for symbol in symbols]
    return [(name, version) for name, _, version in pairs if SYMBOL.fullmatch(name)]


def _make_stub(library: Path, symbols: dict[str, set[str]]) -> None:
    names = set().union(*symbols.values())
    code = "".join(
        f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in sorted(names)
    )
    script = library.with_name(f"{library.name}.map")
    nodes = [
        f"{version} {{ global: {' '.join(f'{name};' for name in sorted(symbols[version]))} }};"
        for version in sorted(symbols.keys() - {""})
    ]
    script.write_text("\n".join(nodes))
    command = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", "-x", "c", "-"]
    command += [f"-Wl,-soname,{library.name}", "-o", str(library)]
    command += [f"-Wl,--version-script,{script}"] if nodes else []
    subprocess.run(command, input=code, text=True, check=True)
    script.unlink()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
