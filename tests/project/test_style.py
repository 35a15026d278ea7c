"""Tests of the style of callbacks: docstring openers, names of variables, nodes a line, and lengths of functions."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

CALLBACKS = Path(__file__).parents[2] / "callbacks"
FILES = sorted(CALLBACKS.rglob("*.py"))
EACH_FILE = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(CALLBACKS))
)

OPENERS = {"What", "How", "Which", "Where", "When", "Whether", "Has", "Looks"}
"""Words that a docstring does not begin with: its first line names the object."""

VAGUE = {
    "found",
    "held",
    "said",
    "given",
    "now",
    "part",
    "other",
    "kept",
    "one",
    "there",
}
"""Names that say nothing of what they stand for."""

OPERATORS = {"__add__", "__and__", "__eq__", "__or__", "add"}
"""Methods that join two objects of a class: Python's documentation calls the second `other`."""

MOST_NODES = 10.0
"""AST nodes a line of code, averaged over the package; ten codebases of the field have 6.3 to 10.5."""

MOST_LINES = 40
"""Lines of a function, without its docstring."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Definition


def documented(tree: ast.AST) -> Iterator[Documented]:
    """Yields the nodes that may have a docstring."""
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            yield node


def docstring_of(node: Documented) -> ast.Expr | None:
    """Returns the statement that is the docstring."""
    first = node.body[0] if node.body else None
    return (
        first
        if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None
        else None
    )


def name_of(node: Documented) -> str:
    return "module" if isinstance(node, ast.Module) else node.name


@EACH_FILE
def test_docstrings_name_their_object(path: Path) -> None:
    wrong = []
    for node in documented(ast.parse(path.read_text())):
        text = ast.get_docstring(node)
        if text and text.split()[0].strip(".,:") in OPENERS:
            wrong.append(f"{path.name}: {name_of(node)}: {text.splitlines()[0]}")
    assert not wrong


def vague_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the line and the name of each variable, argument and attribute with a vague name, where it is bound."""
    operands = {
        id(argument)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in OPERATORS
        for argument in function.args.args
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.id.strip("_") in VAGUE
        ):
            yield node.lineno, node.id
        elif (
            isinstance(node, ast.arg)
            and id(node) not in operands
            and node.arg.strip("_") in VAGUE
        ):
            yield node.lineno, node.arg
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and node.attr.strip("_") in VAGUE
        ):
            yield node.lineno, node.attr


@EACH_FILE
def test_names_say_what_they_stand_for(path: Path) -> None:
    names = [
        f"{path.name}:{line} {name}"
        for line, name in vague_names(ast.parse(path.read_text()))
    ]
    assert not names


def lines_of_code(path: Path) -> int:
    """Counts lines with code: no blank lines, comments or docstrings."""
    text = path.read_text()
    tree = ast.parse(text)
    strings: set[int] = set()
    for node in ast.walk(tree):
        # Docstrings, and the strings that document a constant or a field.
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            strings |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - strings)


def nodes_of_code(path: Path) -> int:
    """Counts the nodes of the syntax tree, without those of docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    strings = [
        node
        for node in nodes
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    return len(nodes) - 2 * len(strings)


def test_code_is_not_dense() -> None:
    counts = {path: (nodes_of_code(path), lines_of_code(path)) for path in FILES}
    nodes, lines = (sum(column) for column in zip(*counts.values(), strict=True))
    dense = sorted(counts, key=lambda path: -counts[path][0] / max(counts[path][1], 1))
    worst = [
        f"{path.name} {counts[path][0] / max(counts[path][1], 1):.1f}"
        for path in dense[:8]
    ]
    print(
        f"{nodes / lines:.2f} nodes a line: {nodes} nodes, {lines} lines; {', '.join(worst)}"
    )
    assert nodes / lines <= MOST_NODES


def length_of(function: Definition) -> int:
    """Counts the lines of a function, from its `def` to its end, without its docstring."""
    docstring = docstring_of(function)
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return (
        lines
        if docstring is None
        else lines - ((docstring.end_lineno or 0) - docstring.lineno + 1)
    )


@EACH_FILE
def test_functions_are_short(path: Path) -> None:
    functions = [
        node
        for node in documented(ast.parse(path.read_text()))
        if isinstance(node, Definition)
    ]
    long = [
        f"{path.name}: {each.name} {length_of(each)}"
        for each in functions
        if length_of(each) > MOST_LINES
    ]
    assert not long


class TestTheRules:
    """The rules of this file, on code that breaks them."""

    CODE = '''
"""Where things are."""

def f(given, other):
    """Has a number."""
    found = given  # a comment
    self.said = found


    return other

class A:
    def __add__(self, other):
        return other
'''

    def test_openers(self, tmp_path: Path) -> None:
        path = tmp_path / "wrong.py"
        path.write_text(self.CODE)
        with pytest.raises(AssertionError, match="Where things are"):
            test_docstrings_name_their_object(path)

    def test_names(self) -> None:
        names = {name for _, name in vague_names(ast.parse(self.CODE))}
        assert names == {"given", "other", "found", "said"}
        assert [
            line for line, name in vague_names(ast.parse(self.CODE)) if name == "other"
        ] == [4]

    def test_lines_and_nodes(self, tmp_path: Path) -> None:
        path = tmp_path / "counted.py"
        path.write_text(self.CODE)
        assert lines_of_code(path) == 7
        path.write_text('"""Text."""\nX = 1\n"""Text."""\n')
        assert (nodes_of_code(path), lines_of_code(path)) == (
            5,
            1,
        )  # module, assignment, name, store, constant

    def test_lengths(self) -> None:
        function = ast.parse(
            "def f():\n" + '    """Text.\n\n    More.\n    """\n' + "    x = 1\n" * 40
        ).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert length_of(function) == 41
