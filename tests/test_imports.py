"""The modules of the package import each other without circles."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "seq2onnx").rglob("*.py"))
}


def import_statements(tree: ast.Module, in_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run; those for type checkers alone do not."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
        elif in_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)


def imports(in_functions: bool) -> dict[str, set[str]]:
    """For each module, the modules of the package that it imports."""
    graph = {}
    for name, path in FILES.items():
        graph[name] = targets = set()
        for node in import_statements(ast.parse(path.read_text(encoding="utf-8")), in_functions):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            else:
                assert node.level == 0, f"{name}: import by the full name"
                targets |= {
                    inner if (inner := f"{node.module}.{alias.name}") in FILES else str(node.module)
                    for alias in node.names
                }
        targets &= FILES.keys() - {name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return None


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    tree = ast.parse("if typing.TYPE_CHECKING:\n import a\nelse:\n import b\ndef f():\n import c")
    assert [node.names[0].name for node in import_statements(tree, False)] == ["b"]
    assert sorted(node.names[0].name for node in import_statements(tree, True)) == ["b", "c"]


@pytest.mark.parametrize("in_functions", [False, True])
def test_no_module_imports_itself_through_others(in_functions):
    graph = imports(in_functions)
    assert sum(map(len, graph.values())) > 1000
    assert circle(graph) is None


def test_no_folder_imports_itself_through_others():
    """The folders of the package and the modules beside them, with what they import when they are imported."""
    folders: dict[str, set[str]] = {}
    for name, targets in imports(in_functions=False).items():
        folder = name.split(".")[1:2]
        if folder:
            others = {target.split(".")[1] for target in targets if "." in target}
            folders.setdefault(folder[0], set()).update(others - {*folder})
    assert {"runtime", "training", "contract"} <= folders.keys()
    assert circle(folders) is None
