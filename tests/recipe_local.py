"""A module of a recipe's local/, which is no package: recipes have modules of the same name."""

import importlib
import sys
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def load(recipe, *names, monkeypatch):
    """Import modules of recipes/RECIPE/local until the test ends; what they import beside them must be among them."""
    monkeypatch.syspath_prepend(str(RECIPES / recipe / "local"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules = [importlib.import_module(name) for name in names]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return modules
