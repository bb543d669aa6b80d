"""The server's benchmark and soak test with a tiny model for some seconds, and the arithmetic behind their figures."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tiny

from recitative.errors import UsageError
from recitative.model.export import export_model

ROOT = Path(__file__).resolve().parents[2]
BUSY_S = 100.0  # that a busy machine may take for what takes none


@pytest.fixture(autouse=True)
def tools_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setattr(tool("bench_serve"), "PATIENCE_S", BUSY_S)
    monkeypatch.setattr(tool("bench_soak"), "PATIENCE_S", BUSY_S)


def tool(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export_model(tiny.talker(layers=2), path)
    return path


def partial(text: str, end_s: float, stable: str = "", utterance: int = 1) -> dict[str, object]:
    return {"type": "partial", "utterance": utterance, "start": 0.0, "end": end_s, "text": text, "stable": stable}


def final(text: str, end_s: float) -> dict[str, object]:
    words = [{"word": word, "start": 0.0, "end": end_s} for word in text.split()]
    return {"type": "final", "utterance": 1, "start": 0.0, "end": end_s, "text": text, "words": words}


def test_every_measurement_of_the_server_runs_and_nothing_that_streams_say_is_wrong(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = tool("bench_serve")
    serve.bench_serve(serve.ServeOptions(str(model), None, 0.01, 2.0, 2))
    out = capsys.readouterr().out
    assert "KB for each of 2 streams that have heard 1 s" in out
    assert out.count(" ms after the speech") == 2
    assert "2 streams, 0 wrong" in out
    for title in ("tiny.onnx, its own decoding", "tiny.onnx, --lm none --beam 1"):
        assert f"{title}:    2 streams: partials p50 " in out
        assert f"{title}: 2 streams with partials within" in out or f"{title}: 0 streams" in out
    assert out.count("CPU s per stream second") == out.count(" MB, 0 wrong, generator") == 2


def test_clients_of_every_kind_get_what_they_should(model: Path) -> None:
    soak, serve = tool("bench_soak"), tool("bench_serve")
    result = soak.soak(serve.ServeOptions(str(model), None, 0.01, 1.0, 17))
    assert (result.wrong, result.errors, result.live) == ([], 0, 0), "\n".join(result.log)
    assert len(result.done) == 12, "every client began with another action"


def test_a_peer_speaks_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    python = os.environ.get("RECITATIVE_PEERS") or sys.executable
    if subprocess.run([python, "-c", "import pocketsphinx"], capture_output=True, check=False).returncode:
        pytest.skip("pocketsphinx is not installed; RECITATIVE_PEERS=PYTHON names the Python of another environment")
    serve, peers = tool("bench_serve"), tool("bench_serve_peers")
    options = serve.ServeOptions("", None, 0.01, 2.0, 1, peers=python)
    name, measure = next(peers.peers(options, serve.read_recordings(None, 2)))
    trial = measure(1)
    assert (name, trial.early) == ("pocketsphinx", [])
    assert trial.changes.final > 0


def test_an_environment_of_peers_is_made_only_at_a_new_path(tmp_path: Path) -> None:
    peers = tool("bench_serve_peers")
    peers.environment(Path(sys.executable))  # is there
    for path in (tmp_path / "bin" / "python", tmp_path / "peers"):
        with pytest.raises(UsageError, match="is no Python; give one that exists, or a new path such as"):
            peers.environment(path)


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 37, 64, 100, 500])
def test_the_largest_number_of_streams_is_found_by_doubling_and_bisection(limit: int) -> None:
    tried: list[int] = []

    def passes(streams: int) -> bool:
        tried.append(streams)
        return streams <= limit

    good, bad = tool("bench_serve").largest(passes, 8, 100, lambda: True)
    assert good <= limit
    assert good == 100 if limit >= 100 else good < bad <= good + max(1, good // 10)
    assert bad is None or bad > limit
    assert len(set(tried)) == len(tried) <= 9


def test_when_time_is_up_the_best_so_far_stands() -> None:
    assert tool("bench_serve").largest(lambda streams: True, 8, 100, lambda: False) == (8, None)
    assert tool("bench_serve").largest(lambda streams: False, 8, 100, lambda: False) == (0, 8)


def test_latencies_count_from_the_message_that_an_event_needed() -> None:
    load = tool("bench_load")
    expected = [
        load.Expected(3, partial("a", 0.2)),
        load.Expected(5, partial("a b", 0.4)),
        load.Expected(9, final("a b", 0.9)),
    ]
    played = load.Played(0, start=100.0, arrivals=[100.45, 101.2])
    played.messages = [load.json.dumps(expected[0].event), load.json.dumps(expected[2].event)]
    heard, wrong = load.compare(played, expected)
    assert [one.latency_s for one in heard] == pytest.approx([0.05, 0.2])  # messages end at 100.4 and 101.0
    assert [one.behind_s for one in heard] == pytest.approx([0.25, 0.3])
    assert wrong == 0, "a partial result may be left out"


def test_results_that_differ_or_do_not_come_are_wrong() -> None:
    load = tool("bench_load")
    expected = [load.Expected(3, partial("a", 0.2)), load.Expected(9, final("a b", 0.9))]
    played = load.Played(0, start=100.0, arrivals=[100.45, 101.2])
    played.messages = [load.json.dumps(partial("b", 0.2)), load.json.dumps(final("a c", 0.9))]
    heard, wrong = load.compare(played, expected)
    assert (heard, wrong) == ([], 3)


def test_words_of_partials_that_change_are_counted_once_a_partial() -> None:
    changes = tool("bench_load").Changes()
    changes.add(
        [partial("a", 0.1), partial("b c", 0.2, stable="b"), partial("b d", 0.3, stable="b"), final("b e", 0.9)]
    )
    changes.add([partial("never final", 0.1)])
    assert (changes.shown, changes.changed, changes.revised, changes.final, changes.unstable) == (5, 3, 3, 2, 0)
    changes.add([partial("a", 0.1, stable="a"), final("b", 0.9)])
    assert changes.unstable == 1


def test_the_end_of_speech_is_that_of_the_recording_whose_words_a_final_has() -> None:
    serve, load = tool("bench_serve"), tool("bench_load")
    heard = [load.Heard(final("a", 1.9), 0.1, 0.5, 13.4), load.Heard(final("b", 3.0), 0.1, 0.5, 15.0)]
    assert serve.final_delays(heard, 10.0, [2.0, 5.0]) == [pytest.approx(1.4), None]
