"""`import sr` has no side effects, and any module of sr can be imported first in a plain Python process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sr
from sr.runtime import torchvision_shim

ROOT = Path(sr.__file__).parent
LIBRARIES = ("pytorch_lightning", "torchmetrics", "torchvision", "spandrel")  # import torchvision where it is installed


def test_importing_sr_changes_nothing_in_the_process() -> None:
    program = """
import sys
finders = list(sys.meta_path)
import sr
assert sr.__version__
assert sys.meta_path == finders, sys.meta_path
assert not [name for name in sys.modules if name.startswith("sr.")], "imported eagerly"
assert not {"torch", "numpy", "PIL"} & set(sys.modules), "imported eagerly"
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_install_adds_one_import_hook_however_often_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    others = [finder for finder in sys.meta_path if not isinstance(finder, torchvision_shim.TorchvisionFinder)]
    monkeypatch.setattr(sys, "meta_path", list(others))
    monkeypatch.setattr(torchvision_shim.TorchvisionFinder, "library", None)  # of another test
    torchvision_shim.install()
    torchvision_shim.install()
    assert len(sys.meta_path) == len(others) + 1


def test_every_module_that_imports_lightning_or_torchmetrics_imports_the_shim_before_them() -> None:
    """Otherwise `from sr.model.cnn import CNN` fails where torchvision does not match torch."""
    late = []
    for path in ROOT.rglob("*.py"):
        names = list_imports(ast.parse(path.read_text(encoding="utf-8")))
        heavy = [k for k, name in enumerate(names) if name.partition(".")[0] in LIBRARIES]
        shim = [k for k, name in enumerate(names) if name == "sr.runtime.torchvision_shim"]
        if heavy and not (shim and shim[0] < heavy[0]):
            late.append(path.relative_to(ROOT).as_posix())
    assert not late, f"add `import sr.runtime.torchvision_shim  # noqa: F401` as the first import of {', '.join(late)}"


def list_imports(tree: ast.Module) -> list[str]:
    """Return the modules that a file imports at its top level, in order."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names
