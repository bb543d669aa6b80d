"""Licenses of the locked packages, and what the archive of the recipes needs."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = """# made by a program
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:{0} \\
    --hash=sha256:{1}
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:{1}
no-such-package==1.0 \\
    --hash=sha256:{0}
""".format("a" * 64, "b" * 64)


def lists(lock: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/licenses.py", lock, output]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_package_of_a_lock_has_a_row_and_a_component(tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text(LOCK)
    assert lists(tmp_path / "small.txt", tmp_path / "out").returncode == 0
    rows = [line for line in (tmp_path / "out/third-party-small.md").read_text().splitlines() if line.startswith("| n")]
    assert "BSD" in rows[0]
    assert [row.split("|")[1].strip() for row in rows] == ["numpy", "numpy", "no-such-package"]
    assert rows[2] == "| no-such-package | 1.0 | not installed here | all |"
    bom = json.loads((tmp_path / "out/sbom-small.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert [one["purl"] for one in bom["components"]] == [
        "pkg:pypi/numpy@2.4.6", "pkg:pypi/numpy@2.5.5", "pkg:pypi/no-such-package@1.0",
    ]  # fmt: skip
    hashes = [one["value"][0] for one in bom["components"][0]["properties"] if one["name"] == "sha256 of a file"]
    assert hashes == ["a", "b"]


def test_the_lock_of_the_runtime_has_a_license_for_each_installed_package(tmp_path: Path) -> None:
    assert lists(ROOT / "tools/lock/runtime.txt", tmp_path).returncode == 0
    assert "not declared" not in (tmp_path / "third-party-runtime.md").read_text()


def test_a_file_that_is_no_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("hello\n")
    made = lists(tmp_path / "other.txt", tmp_path / "out")
    assert (made.returncode, made.stderr) == (
        1,
        f"error: {tmp_path}/other.txt: has no packages; a lock file such as tools/lock/runtime.txt\n",
    )


def test_an_address_that_is_none_is_refused() -> None:
    made = subprocess.run([ROOT / "tools/dist.sh", "example"], capture_output=True, text=True, check=False)
    assert made.returncode == 2
    assert made.stderr == "error: tools/dist.sh 'example': must be an address that begins with https://\n"


@pytest.mark.parametrize("recipe", ["digits", "chorales", "esc10"])
def test_a_recipe_runs_from_the_archive(recipe: str, tmp_path: Path) -> None:
    """The archive has the folders that 'make dist' packs, and no others."""
    for name in ("recipes", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tools").mkdir()
    for path in (ROOT / "tools").glob("*stages.sh"):
        (tmp_path / "tools" / path.name).write_bytes(path.read_bytes())
    made = subprocess.run(
        [tmp_path / "recipes" / recipe / "run.sh", "--list"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def test_distributions_that_were_built_hold_the_models_and_no_tests() -> None:
    built = sorted((ROOT / "dist").glob("recitative-recipes-*.tar.gz")) if (ROOT / "dist").exists() else []
    if not built:
        pytest.skip("nothing was built; 'make dist' builds")
    with tarfile.open(built[0]) as tar:
        tops = {name.split("/")[1] for name in tar.getnames() if "/" in name}
    assert tops == {"recipes", "conf", "tools", "LICENSE"}
