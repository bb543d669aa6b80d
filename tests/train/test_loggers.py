"""Curves in TensorBoard, Weights & Biases and MLflow. The services are stand-ins that record what they are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import tiny

from command_line import run
from recitative.config import dump_settings
from recitative.errors import RunError
from recitative.train.log import open_logger

SETTINGS = {"kind": "recognizer", "train": {"epochs": 3, "max_batch_s": []}}


class Service(ModuleType):
    """Has the functions of both packages that are used."""

    def __init__(self, name: str, fails: str = "") -> None:
        super().__init__(name)
        self.calls: list[tuple] = []
        self.fails = fails

    def init(self, **options):
        if self.fails:
            raise ValueError(self.fails)
        self.calls.append(("init", options["id"], options["name"], options["config"]))
        log = lambda values, step: self.calls.append(("log", values, step))  # noqa: E731
        return SimpleNamespace(id=options["id"] or "new", log=log, finish=lambda: self.calls.append(("finish",)))

    def set_experiment(self, name: str) -> None:
        self.calls.append(("experiment", name))

    def start_run(self, run_id, run_name):
        if self.fails:
            raise ValueError(self.fails)
        self.calls.append(("start", run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "new"))

    def log_params(self, values) -> None:
        self.calls.append(("params", values))

    def log_metrics(self, values, step) -> None:
        self.calls.append(("log", values, step))

    def end_run(self) -> None:
        self.calls.append(("finish",))


@pytest.fixture
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    for variable in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    made = Service(request.param)
    monkeypatch.setitem(sys.modules, request.param, made)
    return made


@pytest.mark.parametrize("service", ["wandb", "mlflow"], indirect=True)
def test_a_resumed_run_goes_on_in_the_same_curves(service: Service, tmp_path: Path) -> None:
    for step in (0, 7):
        logger = open_logger(service.__name__, tmp_path, step, SETTINGS)
        logger.scalars({"train/loss": 2.0}, step + 1)
        logger.close()
    if service.__name__ == "wandb":
        starts = [[("init", run_id, tmp_path.name, SETTINGS)] for run_id in (None, "new")]
    else:
        params = ("params", {"kind": "recognizer", "train.epochs": 3, "train.max_batch_s": []})
        starts = [[("experiment", "recitative"), ("start", None, tmp_path.name), params]]
        starts += [[("start", "new", tmp_path.name), params]]
    logs = [[("log", {"train/loss": 2.0}, step), ("finish",)] for step in (1, 8)]
    assert service.calls == [*starts[0], *logs[0], *starts[1], *logs[1]]
    assert json.loads((tmp_path / "loggers.json").read_text()) == {service.__name__: "new"}


@pytest.mark.parametrize("service", ["wandb", "mlflow"], indirect=True)
def test_a_service_that_does_not_start_is_told_in_one_line(service: Service, tmp_path: Path) -> None:
    service.fails = "no api key\n  configured"
    with pytest.raises(
        RunError, match=rf"^--log {service.__name__}: .* does not start \(no api key configured\); set "
    ):
        open_logger(service.__name__, tmp_path, 0, SETTINGS)


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_training_sends_the_curves_of_tensorboard(service: Service, tmp_path: Path) -> None:
    recurrent = {"direction": "forward", "layers": 1, "hidden": 8}
    config = tiny.settings(model={"recurrent": recurrent}, train={"epochs": 2})
    inputs = tiny.write_inputs(tmp_path, config, train=6, dev=3)
    (tmp_path / "conf.yaml").write_text(dump_settings(config))
    given = [part for name in ("train", "dev", "tokens", "cmvn") for part in (f"--{name}", inputs[name])]
    output = ["--output", tmp_path / "exp", "--quiet"]
    run("train", tmp_path / "conf.yaml", *given, *output, "--log", "wandb")
    logged = [call for call in service.calls if call[0] == "log"]
    names = {name for _, values, _ in logged for name in values}
    assert {"train/loss", "train/lr", "train/grad_norm", "epoch/train_loss", "epoch/dev_wer"} <= names
    assert service.calls[-1] == ("finish",)
    lines = [json.loads(line) for line in (tmp_path / "exp" / "train.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "step"]
    assert [values["train/loss"] for _, values, _ in logged if "train/loss" in values] == losses
    assert list((tmp_path / "exp" / "tensorboard").iterdir())


def test_a_package_that_is_missing_is_told_before_the_data_is_read(recitative, tmp_path: Path) -> None:
    made = recitative("train", "--train", "no", "--dev", "no", "--tokens", "no", "--output", tmp_path / "exp",
                      "--log", "mlflow")  # fmt: skip
    assert made.returncode == 2
    found = "error: this needs the package 'mlflow', which is not installed"
    assert made.stderr == f"{found}; pip install mlflow, or leave out --log mlflow\n"
    assert not (tmp_path / "exp").exists()
