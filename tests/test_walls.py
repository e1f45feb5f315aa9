"""The walls between the rooms: who may import whom, read off the syntax trees."""

import ast
import collections
import functools
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = r"style\.(losses|terms|objective|optimize|tracker|engine|job|running|faster(\..*)?)"
# (who, what it must not import, but for): patterns of whole module names
WALLS = [
    (r"minivgg(\..*)?", r"(style|weights)(\..*)?", r"$"),
    (r"weights(?!\.distill)(\..*)?", r"(style|minivgg)(\..*)?", r"minivgg(\.(start|table|files|program))"),
    (CORE, r"minivgg\.(fast_cpu|fast_gpu|kernels)(\..*)?", r"$"),
    (r"(?!minivgg\.backend$).*", r"cupyx?(\..*)?", r"$"),
    (r"(?!style\.report\.(page|plots)$).*", r"(jinja2|markupsafe|matplotlib)(\..*)?", r"$"),  # extras
    (r"(?!style\.preview$).*", r"(rich|textual_image)(\..*)?", r"$"),
    (r"study(\..*)?", r"weights(\..*)?", r"$"),
    (r"(?!style\.cluster).*", r"mpi4py(\..*)?", r"$"),
    (r"(?!study).*", r"study(\..*)?", r"$"),
    (r"(?!style\.web(\.|$)).*", r"(style\.web|starlette|uvicorn)(\..*)?", r"$"),
]
LAZY = {  # imports within functions that close a circle, or load what few need, and those for a checker of types alone
    ("style.events", "style.job"),
    ("style.events", "style.result"),
    ("style.events", "style.schedule"),
    ("style.pictures.images", "style.samples"),
    ("style.run", "style.cluster.run"),
}


def sources():
    """{module: (is it a package, its text)}"""
    found = {}
    for folder in ("minivgg", "style", "weights", "study"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = parts[-1] == "__init__"
            found[".".join(parts[:-1] if package else parts)] = package, path.read_text(encoding="utf-8")
    return found


@functools.cache  # all planted imports are looked for in the same files
def statements(text):
    """The import statements of a text, and its calls of import_module."""

    def counts(node):
        if isinstance(node, ast.Call):
            return getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
        return isinstance(node, ast.Import | ast.ImportFrom)

    return [node for node in ast.walk(ast.parse(text)) if counts(node)]


def imports(module, package, text, modules):
    """The modules that one imports, wherever in its text, by statement or by a name given to import_module."""
    for node in statements(text):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) + package - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else base for name in names)
        else:
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def arrows(found):
    """[(who, whom), …], each once."""
    return sorted({(who, whom) for who, (p, text) in found.items() for whom in imports(who, p, text, found)})


def offences(found):
    """What breaks a wall, as "who imports whom", and the first circle if there is one."""
    pairs = arrows(found)
    bad = [
        f"{who} imports {whom}"
        for who, whom in pairs
        for left, right, but in WALLS
        if re.fullmatch(left, who) and re.fullmatch(right, whom) and not re.fullmatch(but, whom)
    ]
    graph = collections.defaultdict(set)
    for who, whom in pairs:
        if whom in found and (who, whom) not in LAZY:
            graph[who].add(whom)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        bad.append("circle: " + " -> ".join(e.args[1][::-1]))
    return bad


def test_the_walls_stand():
    found = sources()
    assert len(found) > 40
    assert offences(found) == []
    assert set(arrows(found)) >= LAZY  # none that is not needed any more


@pytest.mark.parametrize(
    "module, line, said",
    [
        ("minivgg.vgg", "import style.losses", "minivgg.vgg imports style.losses"),
        ("minivgg.gradcheck", "def f():\n    from weights import store", "minivgg.gradcheck imports weights.store"),
        ("weights.store", "from minivgg import VGG", "weights.store imports minivgg"),
        ("weights.store", "from minivgg.fast_cpu import memory", "weights.store imports minivgg.fast_cpu.memory"),
        ("weights", "from style import run", "weights imports style.run"),
        ("style.losses", "from minivgg import fast_cpu", "style.losses imports minivgg.fast_cpu"),
        ("style.faster.pairs", "from minivgg.kernels import Kernels", "style.faster.pairs imports minivgg.kernels"),
        ("style.run", "import cupy", "style.run imports cupy"),
        ("style.many.worker", "from ..web import desk", "style.many.worker imports style.web.desk"),
        ("style.report.listener", "from jinja2 import Environment", "style.report.listener imports jinja2"),
        ("style.printing", "def f():\n    import rich.console", "style.printing imports rich.console"),
        ("study.child", "from weights import store", "study.child imports weights.store"),
        ("minivgg.gradcheck", "import study.checks", "minivgg.gradcheck imports study.checks"),
        ("minivgg.vgg", "import importlib\nimportlib.import_module('cupyx.scipy')", "minivgg.vgg imports cupyx.scipy"),
        ("minivgg.threads", "from . import backend", "circle: "),
        ("minivgg.table", "def f():\n    from .vgg import VGG", "circle: "),
    ],
)
def test_a_planted_import_is_found(module, line, said):
    found = sources()
    package, text = found[module]
    found[module] = package, f"{text}\n{line}\n"
    assert any(said in bad and module in bad for bad in offences(found)), offences(found)


# tests of a benchmark, and of the program that made golden.json
BENCHMARKED = {
    *(
        "test_benchmark_cluster",
        "test_benchmark_gpu",
        "test_benchmark_losses",
        "test_benchmark_memory",
        "test_benchmark_programs",
        "test_benchmark_step",
        "test_fidelity",
        "test_golden",
    ),
    "test_quality",
}


def test_tests_import_no_tests_and_no_benchmarks():
    for path in (ROOT / "tests").glob("*.py"):
        found = set(imports(path.stem, False, path.read_text(encoding="utf-8"), {}))
        assert not [name for name in found if name.startswith("test_")], path.name
        if path.stem not in BENCHMARKED:
            assert not [name for name in found if name.partition(".")[0] == "benchmarks"], path.name
