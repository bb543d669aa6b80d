"""What tests of recipes share. A recipe's local/ is no package: recipes have modules of the same name."""

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


def assert_done(done, *stages):
    """A run has ended well and did these stages."""
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    for stage in stages:
        assert f"({stage}): done in" in done.stderr, done.stderr[-3000:]


def assert_rows_are_replaced(folder, run_recipe, recipe, *options):
    """The score stage runs alone on what is there, and adds no row to the results."""
    results = folder / "exp" / "results.jsonl"
    before = results.read_text().splitlines()
    assert_done(run_recipe(recipe, folder, "--stage", "8", "--stop-stage", "8", *options))
    assert len(results.read_text().splitlines()) == len(before)
