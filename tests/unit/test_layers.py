"""The rooms of the package: who may import whom, read from the import statements."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "xenrr"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Rooms of the guest core from the bottom up; a room imports only from those it names.
MAY_IMPORT = {
    "errors": set(),
    "frozen": set(),
    "lean": set(),
    "units": {"errors"},
    "stats": {"frozen", "lean", "errors", "units"},
    "wire": {"frozen", "lean", "errors"},
    "engine": {"wire", "stats", "frozen", "lean", "errors", "units"},
    "cpu": {"frozen", "lean", "errors", "units"},
    "results": {"stats", "cpu", "frozen", "lean", "errors", "units"},
    "session": {"wire", "engine", "cpu", "results", "stats", "frozen", "lean", "errors",
                "units"},
    "netperf": {"session", "results", "stats", "engine", "cpu", "frozen", "lean",
                "units", "errors"},
    # The engine, to tell it that the process is theirs.
    "server": {"netperf", "session", "engine", "errors"},
    "client": {"netperf", "session", "engine", "lean", "errors"},
    "agent": {"netperf", "session", "engine", "errors"},
    "checks": {"results", "stats", "errors", "units"},
    "lab": {"units", "errors"},
    "campaign": {"lab", "session", "results", "stats", "errors", "units"},
    "report": {"results", "stats", "checks", "errors", "units"},
}
# The top of the house: they may import anything, __init__ and __main__ nothing but names.
TOP = {"cli", "__main__"}
GUEST_CORE = {"errors", "frozen", "lean", "units", "wire", "engine", "cpu", "results",
              "session", "netperf", "server", "client", "agent"}

def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_guest_core(path: Path) -> bool:
    return room(path) in GUEST_CORE or path == PACKAGE / "stats/histogram.py"


def type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(nodes: list[ast.stmt], path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that these statements import."""
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: a relative import"
                module = node.module or ""
                # "from xenrr.engine import base" names a module in its last part.
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run when the module is imported, without optional imports."""
    return [node for node in tree.body
            if not type_checking(node)
            and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Try))]


def rooms_imported(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    for line, name in imported(tree.body, path):
        parts = name.split(".")
        if parts[0] == "xenrr" and len(parts) > 1 and parts[1] != "__version__":
            yield line, parts[1]


def complaints(path: Path) -> list[str]:
    mine = room(path)
    if mine in TOP or mine == "__init__":
        return []
    allowed = MAY_IMPORT.get(mine)
    if allowed is None:
        return [f"{path}: room {mine} has no line in MAY_IMPORT"]
    return [f"{path}:{line}: {mine} imports {other}" for line, other in rooms_imported(path)
            if other != mine and other not in allowed]


def test_there_is_something_to_read():
    assert {"errors", "engine", "results"} <= {room(path) for path in SOURCES}


def test_imports_point_one_way():
    assert [text for path in SOURCES for text in complaints(path)] == []


def test_the_table_itself_has_no_circle():
    order = list(MAY_IMPORT)
    for name, below in MAY_IMPORT.items():
        assert below <= set(order[:order.index(name)]), name


@pytest.mark.skipif(sys.version_info < (3, 10), reason="sys.stdlib_module_names is from 3.10")
def test_guest_core_imports_only_the_standard_library_at_the_top():
    strangers = [
        f"{path}:{line}: {name}"
        for path in SOURCES if is_guest_core(path)
        for line, name in imported(at_import(ast.parse(path.read_text())), path)
        if name.split(".")[0] not in sys.stdlib_module_names | {"xenrr", "__future__"}
    ]
    assert strangers == []


def test_every_file_postpones_annotations():
    for path in SOURCES:
        body = [node for node in ast.parse(path.read_text()).body
                if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
        if not body:
            continue
        first = body[0]
        assert isinstance(first, ast.ImportFrom), path
        assert first.module == "__future__", path
        assert [alias.name for alias in first.names] == ["annotations"], path


@pytest.mark.parametrize("statement", [
    "from xenrr.session import sender", "import xenrr.session.sender",
    "def late():\n    from xenrr.session.sender import open_sender",
])
def test_an_import_that_points_down_is_found(tmp_path, monkeypatch, statement):
    bad = tmp_path / "wire" / "codec.py"
    bad.parent.mkdir()
    bad.write_text(f"from __future__ import annotations\n{statement}\n")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert [text.partition(": ")[2] for text in complaints(bad)] == ["wire imports session"]
