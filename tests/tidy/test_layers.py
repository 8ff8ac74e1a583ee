"""The rule of the layers: a module imports only from lines above its own."""

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tallystick"

# The structure, from the top. A package stands for all that is in it.
LAYERS = (
    "errors",
    "money",
    "clock",
    "counts",
    "request_usage",
    "usage",
    "attribution",
    "wire",
    "pricing",
    "ledger",
    "budget",
    "recorder",
    "judgement",
    "request",
    "run",
    "integrations",
    "tally",
    "report",
    "testing",
    "demo",
    "cli",
)

# What may be imported where, beside the standard library and the project itself.
HOSTS = {
    "agents": "integrations/openai_agents/",
    "httpx": None,
    "httpx2": None,
    "sqlite3": "ledger/sqlite.py",
}


def layer_of(module: str) -> str:
    """Return the layer of a module such as ``tallystick.wire.sse``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(source: str) -> list[tuple[str, int, bool]]:
    """Return what a file imports: the module, the line, and whether only for the type checker."""
    found = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for inner in child.body:
                    visit_one(inner, True)
                for inner in child.orelse:
                    visit_one(inner, typing_only)
            else:
                visit_one(child, typing_only)

    def visit_one(child: ast.AST, typing_only: bool) -> None:
        if isinstance(child, ast.Import):
            found.extend((alias.name, child.lineno, typing_only) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
            if child.module == "tallystick":
                found.extend(
                    (f"tallystick.{alias.name}", child.lineno, typing_only) for alias in child.names
                )
            else:
                found.append((child.module, child.lineno, typing_only))
        visit(child, typing_only)

    visit(ast.parse(source), False)
    return found


def violations(name: str, source: str) -> list[str]:
    """Return what is wrong with the imports of a file, named from the package's folder."""
    module = "tallystick." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    own = layer_of(module)
    problems = []
    if own and own not in LAYERS:
        problems.append(f"{name}: the layer {own!r} is not in the structure")
        return problems
    for imported, line, typing_only in imports_of(source):
        top = imported.split(".")[0]
        if top == "tallystick":
            other = layer_of(imported)
            below = other in LAYERS and LAYERS.index(other) > LAYERS.index(own)
            if below and not typing_only:
                problems.append(f"{name}:{line}: {own} imports {other}, which is below it")
        elif (
            top in HOSTS
            and not name.startswith(HOSTS[top] or "-")
            and own not in ("testing", "demo", "cli")
        ):
            problems.append(f"{name}:{line}: only {HOSTS[top]} imports {top}")
    return problems


def test_no_module_imports_from_below_itself():
    problems = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name == "__init__.py":
            continue
        problems += violations(name, path.read_text())
    assert problems == []


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("usage.py", "from tallystick.run import Run", "usage imports run"),
        ("ledger/writer.py", "import tallystick.tally", "ledger imports tally"),
        ("wire/sse.py", "from tallystick import pricing", "wire imports pricing"),
        ("money.py", "def f():\n    from tallystick.usage import Usage", "money imports usage"),
        ("integrations/http.py", "import agents", "only integrations/openai_agents/"),
        ("ledger/writer.py", "import sqlite3", "only ledger/sqlite.py"),
        ("report/tables.py", "from agents import Runner", "only integrations/openai_agents/"),
        ("helpers/misc.py", "", "not in the structure"),
    ],
)
def test_a_planted_violation_is_caught(name, source, complaint):
    assert complaint in "\n".join(violations(name, textwrap.dedent(source)))


def test_an_import_for_the_type_checker_alone_may_point_anywhere():
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tallystick.run import Run"
    )
    assert violations("request.py", source) == []


def test_the_core_is_imported_without_any_third_party_package():
    """Importing the package and its façade loads nothing but the standard library."""
    import subprocess
    import sys

    program = (
        "import sys; before = set(sys.modules); import tallystick; tallystick.open; "
        "tallystick.Usage; tallystick.Run; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split()) - set(sys.stdlib_module_names)
    assert {name for name in loaded if not name.startswith("_")} == {"tallystick"}
