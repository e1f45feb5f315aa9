"""Entry under a name that nobody else has: the packages minivgg, weights and style beside this file, and no others.

Python looks into the working folder first, and `style` is a common name: a style.py or weights.py there, or another
project's package of that name, would be taken for ours. After `minivgg_style.claim()`, `import style` is ours.
`python -m minivgg_style` and the command minivgg-style are `python -m style.run`; minivgg-weights is
`python -m weights`.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = {"minivgg": "VGG", "weights": "load", "style": "transfer"}  # and something that each of them has


def claim(*names: str) -> None:
    """Load the packages that lie beside this file, all or these; ImportError names the file that is in the way."""
    for name in names or PACKAGES:
        module = sys.modules.get(name)
        if module is None:
            module = _load(name)
        elif not _is_ours(module, name):
            where = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "a module")
            raise ImportError(
                f"{where}: stands in for minivgg-style's package {name!r}; rename it, or claim() before it"
            )
        spec = getattr(module, "__spec__", None)
        loading = getattr(spec, "_initializing", False)
        if not loading and not hasattr(module, PACKAGES[name]):
            raise ImportError(
                f"{module.__file__}: of another package {name!r}, installed over minivgg-style's; "
                f"pip uninstall {name}, then pip install --force-reinstall minivgg-style"
            )


def main() -> int:
    """`python -m style.run`; returns the exit code."""
    return _program("style.run")


def weights_main() -> int:
    """`python -m weights`; returns the exit code."""
    return _program("weights.__main__")


def _program(name):
    try:
        claim()
        module = __import__(name, fromlist=["main"])
    except ImportError as error:
        print(f"minivgg-style: {error}", file=sys.stderr or open(os.devnull, "w"))  # noqa: SIM115  the last words
        return 1
    return module.main()


def _load(name):
    spec = PathFinder.find_spec(name, [str(HERE)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{HERE / name}: is missing; pip install --force-reinstall minivgg-style")
    module = sys.modules[name] = module_from_spec(spec)
    spec._initializing = True  # as the import statement does; another's import waits, a circular one is seen
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        spec._initializing = False
    return module


def _is_ours(module, name):
    return any(Path(p).resolve() == HERE / name for p in getattr(module, "__path__", []))


if __name__ == "__main__":
    sys.exit(main())
