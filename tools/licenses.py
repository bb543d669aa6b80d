"""The packages of a lock file with their licenses: a table in Markdown, and an SBOM in CycloneDX's JSON.

    python tools/licenses.py tools/lock/runtime.txt dist

writes dist/third-party-runtime.md and dist/sbom-runtime.cdx.json. Licenses are those that the installed packages
declare; a package that is not installed here, such as one for another system or Python, has none in the lists.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

UNKNOWN = "not installed here"
LONGEST = 60  # characters of a license field; some packages put the whole text there


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    marker: str  # systems and Pythons that it is for; empty: all
    hashes: tuple[str, ...]  # SHA-256 of its files

    @property
    def license(self) -> str:
        """What the installed package declares, of any version."""
        try:
            fields = metadata(self.name)
        except PackageNotFoundError:
            return UNKNOWN
        classifiers = [line.rpartition(":: ")[2] for line in fields.get_all("Classifier", []) if "License ::" in line]
        declared = fields.get("License-Expression") or "; ".join(classifiers) or (fields.get("License") or "").strip()
        return declared.splitlines()[0][:LONGEST] if declared else "not declared"


def read_lock(path: Path) -> Iterator[Package]:
    """The packages of a lock with hashes, as uv and pip-compile write it."""
    for block in re.split(r"\n(?=[a-z0-9])", path.read_text(encoding="utf-8")):
        if found := re.match(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", block):
            name, version, marker = found.groups()
            yield Package(name, version, (marker or "").strip(), tuple(re.findall(r"sha256:([0-9a-f]{64})", block)))


def table(packages: list[Package], lock: Path) -> str:
    rows = [f"| {one.name} | {one.version} | {one.license} | {one.marker or 'all'} |" for one in packages]
    head = f"# Third-party packages\nAll packages of `{lock.name}`, with the licenses that they declare.\n"
    return "\n".join([head, "| package | version | license | for |", "|---|---|---|---|", *rows, ""])


def sbom(packages: list[Package]) -> dict[str, Any]:
    """CycloneDX 1.6, without time and random numbers, so that equal locks give equal files."""
    components = []
    for one in packages:
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": f"pkg:pypi/{one.name}@{one.version}",
            "name": one.name,
            "version": one.version,
            "purl": f"pkg:pypi/{one.name}@{one.version}",
        }
        if one.license not in (UNKNOWN, "not declared"):
            component["licenses"] = [{"license": {"name": one.license}}]
        properties = [{"name": "sha256 of a file", "value": digest} for digest in one.hashes]
        properties += [{"name": "marker", "value": one.marker}] if one.marker else []
        components.append(component | ({"properties": properties} if properties else {}))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path, help="lock file")
    parser.add_argument("output", type=Path, help="folder for the lists")
    arguments = parser.parse_args()
    packages = list(read_lock(arguments.lock))
    if not packages:
        sys.exit(f"error: {arguments.lock}: has no packages; a lock file such as tools/lock/runtime.txt")
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = arguments.lock.stem
    (arguments.output / f"third-party-{name}.md").write_text(table(packages, arguments.lock), encoding="utf-8")
    text = json.dumps(sbom(packages), indent=1, ensure_ascii=False) + "\n"
    (arguments.output / f"sbom-{name}.cdx.json").write_text(text, encoding="utf-8")
    print(f"{arguments.output}: third-party-{name}.md, sbom-{name}.cdx.json: {len(packages)} packages")


if __name__ == "__main__":
    main()
