"""The shape of the library: who may import whom, who may import torch, and that there is one recurrent core.

Each rule is a function from a source tree to the lines that break it, and is first tried on a tree that breaks it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "recitative"

# A module imports from its own folder and from the layers above it in this list. The first layer is one folder.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__init__", "errors", "reading", "config", "stage", "atomic", "terminal"}),
    frozenset({"audio", "data", "text"}),
    frozenset({"features", "nn", "score", "report"}),
    frozenset({"model", "pretrained"}),
    frozenset({"train"}),
    frozenset({"lm"}),
    frozenset({"decoding", "music", "punctuation"}),
    frozenset({"asr", "classification", "anomaly", "sound", "ctcdecode"}),
    frozenset({"kinds"}),
    frozenset({"keywords", "client"}),
    frozenset({"serve"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
# Neighbors in one layer: a check of data reads audio and text, and a report shows what a model gets.
ALSO_ALLOWED = {("data", "audio"), ("data", "text"), ("report", "features"), ("report", "score")}

# Only these may import torch when they are loaded: the layers that train, and in a capability the modules whose names
# say that they train. Everything else works without it, and whatever it imports.
TORCH_FOLDERS = ("nn", "train", "model.export", "model.graph", "model.graph_stages", "model.folder", "cli", "ctcdecode")
TORCH_FOLDERS += ("asr.adaptation", "asr.presets", "asr.tuning")
TORCH_NAMES = re.compile(r"(.*_)?(network|data|task)")


def needs_no_torch(name: str) -> bool:
    """By its name, such as asr.recognizer."""
    in_folder = any(name == folder or name.startswith(f"{folder}.") for folder in TORCH_FOLDERS)
    return not in_folder and not TORCH_NAMES.fullmatch(name.rsplit(".", 1)[-1]) and name != "__main__"


TORCH = {"torch", "torchaudio"}

RECURRENT_CORE = "nn.recurrent"
RECURRENT_CODE = {"RNNBase", "RNN", "LSTM", "GRU", "RNNCellBase", "RNNCell", "LSTMCell", "GRUCell", "lstm", "gru"}
RECURRENT_CODE |= {f"{cell}{part}" for cell in ("rnn_tanh", "rnn_relu", "lstm", "gru") for part in ("", "_cell")}

Module = tuple[str, ast.Module]  # ("decoding.greedy", its syntax tree)


def read_modules(source: Path) -> dict[str, ast.Module]:
    """Dotted name within the package, such as decoding.greedy or decoding.__init__ -> syntax tree."""
    return {
        ".".join(path.relative_to(source / PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((source / PACKAGE).rglob("*.py"))
    }


def imports_of(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = [PACKAGE, *name.split(".")][: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def layer_faults(modules: dict[str, ast.Module]) -> list[str]:
    """Imports of a folder that doesn't stand above the importing one."""
    faults = []
    for name, tree in modules.items():
        for line, imported in imports_of(name, tree):
            if imported.split(".")[0] == PACKAGE and not _may_import(_folder(name), _imported_folder(imported)):
                faults.append(f"{name}:{line} imports {imported}")
    return faults


def _folder(name: str) -> str:
    return name.split(".")[0]


def _imported_folder(imported: str) -> str:
    _, *parts = imported.split(".")
    return "__init__" if not parts or parts[0].startswith("__") else parts[0]  # recitative.__version__


def _may_import(importer: str, imported: str) -> bool:
    if importer == imported or {importer, imported} <= LAYERS[0] or (importer, imported) in ALSO_ALLOWED:
        return True
    return _layer(imported) < _layer(importer)


def _layer(folder: str) -> int:
    for number, layer in enumerate(LAYERS):
        if folder in layer:
            return number
    raise AssertionError(f"'{folder}' stands in no layer; add it to the list in {Path(__file__).name}")


def torch_faults(modules: dict[str, ast.Module], root: str = "") -> list[str]:
    """Imports of torch in the modules that need none, of one folder or of all, and in whatever they import in turn."""
    waiting = [name for name in modules if needs_no_torch(name) and name.startswith(root)]
    seen: set[str] = set()
    faults = []
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for line, imported in imports_of(name, _without_opening(name, modules[name])):
            if imported.split(".")[0] in TORCH:
                faults.append(f"{name}:{line} imports {imported}")
            waiting += _modules_loaded_by(imported, modules)
    return sorted(faults)


def _without_opening(name: str, tree: ast.Module) -> ast.Module:
    """``kinds`` without the function that opens a model, which imports torch when it gets a folder."""
    if name != "kinds":
        return tree
    kept = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "open_stage")]
    return ast.Module(kept, [])


def _modules_loaded_by(imported: str, modules: dict[str, ast.Module]) -> list[str]:
    """recitative.decoding.beam.collapse loads recitative, recitative.decoding and recitative.decoding.beam."""
    first, *parts = imported.split(".")
    prefixes = [parts[:end] for end in range(len(parts) + 1)] if first == PACKAGE else []
    names = [".".join(name) for prefix in prefixes for name in (prefix, [*prefix, "__init__"])]
    return [name for name in names if name in modules]


def stale_imports(modules: dict[str, ast.Module], scripts: dict[str, ast.Module]) -> list[str]:
    """Names that scripts import from modules of the library and that these no longer have."""
    known = {f"{PACKAGE}.{name}".removesuffix(".__init__"): _names_in(tree) for name, tree in modules.items()}
    faults = []
    for name, tree in scripts.items():
        for line, imported in imports_of(name, tree):
            module, _, last = imported.rpartition(".")
            if module.startswith(f"{PACKAGE}.") and imported not in known and last not in known.get(module, ()):
                faults.append(f"{name}:{line} imports {imported}")
    return faults


def _names_in(tree: ast.Module) -> set[str]:
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {(node.asname or node.name) for node in ast.walk(tree) if isinstance(node, ast.alias)}


def recurrent_faults(modules: dict[str, ast.Module]) -> list[str]:
    """Uses of torch's recurrent code outside the core."""
    faults = []
    for name, tree in modules.items():
        uses_torch = any(imported.split(".")[0] in TORCH for _, imported in imports_of(name, tree))
        if name != RECURRENT_CORE and uses_torch:
            faults += [f"{name}:{line} uses {used}" for line, used in _recurrent_names(name, tree)]
    return faults


def _recurrent_names(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in RECURRENT_CODE and _is_torch(node.value):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and _absolute(name, node).split(".")[0] in TORCH:
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in RECURRENT_CODE)


def _is_torch(node: ast.expr) -> bool:
    """torch, nn, torch.nn, torch.nn.modules.rnn, _VF: whatever an import can call torch's modules."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in {"torch", "nn", "rnn", "_VF", "torchaudio", "F"}


@pytest.fixture(scope="module")
def library() -> dict[str, ast.Module]:
    return read_modules(ROOT / "pipeline")


def test_modules_import_only_from_layers_above(library: dict[str, ast.Module]) -> None:
    assert layer_faults(library) == []


def test_what_the_runtime_shares_imports_no_torch(library: dict[str, ast.Module]) -> None:
    assert torch_faults(library) == []


def test_there_is_no_recurrent_code_outside_the_core(library: dict[str, ast.Module]) -> None:
    assert recurrent_faults(library) == []
    assert RECURRENT_CORE in library


def test_tests_recipes_and_tools_import_what_is_there(library: dict[str, ast.Module]) -> None:
    """mypy checks the library alone."""
    paths = [path for folder in ("tests", "recipes", "tools") for path in (ROOT / folder).rglob("*.py")]
    scripts = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    assert stale_imports(library, scripts) == []


def test_the_recipes_and_tools_have_no_recurrent_code_of_their_own() -> None:
    scripts = [*ROOT.glob("recipes/*/local/*.py"), *ROOT.glob("tools/*.py")]
    own = [path for path in scripts if not path.name.startswith("bench")]  # those measure bare LSTMs as peers
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in own}
    assert trees
    assert recurrent_faults(trees) == []


def test_the_shared_modules_and_the_command_line_load_without_torch(library: dict[str, ast.Module]) -> None:
    """The same rule seen from outside: the interpreter's own list of what was loaded."""
    names = [name for name in library if needs_no_torch(name)]
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'pipeline')!r})\n"
        + "".join(f"import {PACKAGE}.{name}\n" for name in [*names, "cli.main"])
        + "heavy = {'torch', 'torchaudio', 'librosa', 'matplotlib', 'jinja2'} & sys.modules.keys()\n"
        + "sys.exit(f'loaded: {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _tree(folder: Path, sources: dict[str, str]) -> dict[str, ast.Module]:
    for name, source in sources.items():
        path = folder / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return read_modules(folder)


def test_the_checker_finds_imports_from_below_and_beside(tmp_path: Path) -> None:
    modules = _tree(
        tmp_path,
        {
            "errors": "import recitative.audio.files\n",
            "audio/files": "from recitative.errors import DataError\nfrom recitative.data import tables\n",
            "data/check": "from recitative.audio.files import inspect\nfrom . import tables\nfrom ..cli import main\n",
            "data/__init__": "from . import tables\nfrom .. import __version__\nfrom ..nn import stages\n",
            "train/loop": "def f():\n    from recitative.asr.task import Task\n",
            "model/folder": "from recitative import __version__\nfrom recitative.nn.stages import Chain\n",
        },
    )
    assert layer_faults(modules) == [
        "audio.files:2 imports recitative.data.tables",
        "data.__init__:3 imports recitative.nn.stages",
        "data.check:3 imports recitative.cli.main",
        "errors:1 imports recitative.audio.files",
        "train.loop:2 imports recitative.asr.task.Task",
    ]


def test_the_checker_refuses_a_folder_that_stands_in_no_layer(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="'utils' stands in no layer"):
        layer_faults(_tree(tmp_path, {"cli/main": "from recitative.utils import things\n"}))


def test_the_checker_finds_torch_however_far_away(tmp_path: Path) -> None:
    modules = _tree(
        tmp_path,
        {
            "audio/files": "def f():\n    import torchaudio.functional\n",
            "decoding/__init__": "from recitative.decoding.loss import loss\n",
            "decoding/greedy": "import numpy\n",
            "decoding/loss": "from torch import nn\n",
            "score/wer": "from recitative.decoding.greedy import collapse\n",
        },
    )
    assert torch_faults(modules, "audio") == ["audio.files:2 imports torchaudio.functional"]
    assert torch_faults(modules, "score") == ["decoding.loss:1 imports torch.nn"]


def test_only_the_function_that_opens_a_model_may_import_torch_when_called(tmp_path: Path) -> None:
    source = "def open_stage():\n    import torch\ndef describe():\n    import torch\n"
    modules = _tree(tmp_path, {"kinds": source, "lm/other": source})
    assert torch_faults(modules) == [
        "kinds:4 imports torch",
        "lm.other:2 imports torch",
        "lm.other:4 imports torch",
    ]


def test_the_checker_finds_names_that_are_gone(tmp_path: Path) -> None:
    modules = _tree(tmp_path, {"nn/stages": "from math import pi as circle\nclass Chain: ...\n"})
    source = "from recitative.nn import stages, heads\nfrom recitative.nn.stages import Chain, circle, pi\n"
    assert stale_imports(modules, {"test_stages": ast.parse(source)}) == [
        "test_stages:1 imports recitative.nn.heads",
        "test_stages:2 imports recitative.nn.stages.pi",
    ]


def test_the_checker_finds_recurrent_code_by_any_of_its_names(tmp_path: Path) -> None:
    modules = _tree(
        tmp_path,
        {
            "nn/recurrent": "from torch import nn\ncore = nn.LSTM\n",
            "models/one": "from torch import nn\ncell = nn.GRUCell(1, 1)\n",
            "models/two": "import torch\nrun = torch.nn.modules.rnn.RNN\n",
            "models/three": "from torch.nn import LSTM as Memory\n",
            "models/four": "import torch\nrun = torch._VF.lstm\n",
            "models/five": "class Settings:\n    lstm = 1\nprint(Settings.lstm)\n",
        },
    )
    assert [fault.split(":")[0] for fault in recurrent_faults(modules)] == [
        "models.four", "models.one", "models.three", "models.two",
    ]  # fmt: skip
