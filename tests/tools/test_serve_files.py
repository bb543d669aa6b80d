"""The files that run the server elsewhere: their command lines, paths and ports are those of the server."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from recitative.cli.main import app
from recitative.serve.app import Server, build_app
from recitative.serve.models import ServedModel
from test_printed_commands import problem

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tools" / "serve"


def instructions() -> dict[str, list[str]]:
    """Of the Dockerfile: name -> its arguments."""
    found: dict[str, list[str]] = {}
    text = re.sub(r"\\\n *", "", (FILES / "Dockerfile").read_text())
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name.isupper():
            found.setdefault(name, []).append(rest)
    return found


def compose() -> dict[str, Any]:
    return yaml.safe_load((FILES / "compose.yaml").read_text())


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(FILES / "recitative.service")
    return parser["Service"]


def command_lines() -> dict[str, list[str]]:
    [entry] = instructions()["ENTRYPOINT"]
    image = json.loads(entry)
    unit = shlex.split(service()["ExecStart"])
    return {
        "Dockerfile": image,
        "compose.yaml": [*image, *compose()["services"]["recitative"]["command"]],
        "recitative.service": [Path(unit[0]).name, *unit[1:]],
    }


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml", "recitative.service"])
def test_the_command_line_is_one_that_the_server_takes(file):
    line = command_lines()[file]
    assert line[:2] == ["recitative", "serve"]
    assert problem(shlex.join(line)) == ""
    assert problem(shlex.join([*line, "--no-such-option"])) == "No such option: --no-such-option"


def test_ports_and_paths_are_those_of_the_server():
    port = command_lines()["Dockerfile"][command_lines()["Dockerfile"].index("--port") + 1]
    assert instructions()["EXPOSE"] == [port]
    services = compose()["services"]
    assert [mapping.split(":")[-1] for mapping in services["recitative"]["ports"]] == [port]
    [job] = yaml.safe_load((FILES / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"recitative:{port}"]}]
    [check] = instructions()["HEALTHCHECK"]
    address, path = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", check).groups()
    paths = {route.path for route in build_app(Server([ServedModel.load("an4-streaming")])).routes}
    assert address == port
    assert {path, "/metrics"} <= paths  # the latter is Prometheus' own choice


def test_the_secret_reaches_the_server_and_prometheus():
    serve = typer.main.get_command(app).commands["serve"]
    variable = next(one for one in serve.params if one.name == "token").envvar
    assert variable in compose()["services"]["recitative"]["environment"]
    [name] = compose()["services"]["prometheus"]["secrets"]
    assert compose()["secrets"][name] == {"environment": variable}
    [job] = yaml.safe_load((FILES / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{name}"}
    assert variable in (FILES / "recitative.service").read_text()


def test_there_is_time_to_drain_before_the_kill():
    for file, patience in (
        ("compose.yaml", compose()["services"]["recitative"]["stop_grace_period"].removesuffix("s")),
        ("recitative.service", service()["TimeoutStopSec"]),
    ):
        line = command_lines()[file]
        assert float(line[line.index("--drain-s") + 1]) < float(patience)


def test_what_the_image_copies_is_there_and_no_training_is_installed():
    for copied in instructions()["COPY"]:
        *sources, _ = copied.split()
        if not copied.startswith("--from"):
            assert all((ROOT / source).exists() for source in sources), copied
    [install] = instructions()["RUN"]
    assert re.search(r"'\.\[(.*)\]'", install)[1].split(",") == ["serve", "media"]
