"""``recitative listen`` with a real PortAudio, whose microphone is what is played to a sink of PulseAudio."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
import tiny

from recitative.audio.files import write_wav
from recitative.model.export import export_model

NEEDS = {
    "the package sounddevice": importlib.util.find_spec("sounddevice"),
    "libportaudio2": find_library("portaudio"),
    "pulseaudio": shutil.which("pulseaudio"),
    "pulseaudio-utils": shutil.which("pactl") and shutil.which("paplay"),
    "libasound2-plugins": next(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so"), None),
}
MISSING = [name for name, found in NEEDS.items() if not found]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

ALSA = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a sound system of its own: what is played in it is heard by its microphone."""
    home = tmp_path_factory.mktemp("home")
    (home / ".asoundrc").write_text(ALSA)
    socket = home / "socket"
    environment = os.environ | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PULSE_SERVER": f"unix:{socket}"}
    modules = ["module-native-protocol-unix auth-anonymous=1 socket=" + str(socket), "module-null-sink sink_name=room"]
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    server = subprocess.Popen(
        [*command, *(f"--load={module}" for module in modules)], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while subprocess.run(["pactl", "info"], env=environment, capture_output=True, check=False).returncode:
            assert server.poll() is None, "PulseAudio has ended"
            threading.Event().wait(0.1)
        yield environment
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tones.onnx"
    export_model(tiny.tone_recognizer(), path)
    return path


def listen(*options: str, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recitative", "listen", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def test_devices_are_listed(room):
    listed, told = listen("--list-devices", env=room).communicate(timeout=120)
    [default] = [line for line in listed.splitlines() if line.endswith("(default)")]
    assert "\tdefault\t" in default, told


def test_what_is_said_in_the_room_is_written_until_the_user_ends_it(room, model, tmp_path):
    silence = np.zeros(2 * tiny.RATE, np.float32)
    write_wav(tmp_path / "talk.wav", np.concatenate([tiny.speak("cab", np.random.default_rng(1)), silence]), tiny.RATE)
    program = listen("--model", str(model), "--silence-s", "0.6", env=room)
    assert program.stderr.readline().startswith("listening with ")
    over = threading.Event()

    def say_it_again_and_again() -> None:
        while not over.is_set():
            subprocess.run(["paplay", "--device=room", str(tmp_path / "talk.wav")], env=room, check=True)

    speaker = threading.Thread(target=say_it_again_and_again)
    speaker.start()
    try:
        for line in program.stdout:  # a busy machine may lose some of the sound
            if line == "cab\n":
                break
        program.send_signal(signal.SIGINT)
        told = program.communicate(timeout=120)[1]
    finally:
        over.set()
        speaker.join()
        program.kill()
    assert program.returncode == 0
    assert told.startswith("processed ")


def test_a_microphone_that_is_not_there_is_told(room, model):
    told = listen("--model", str(model), "--device", "desk", env=room).communicate(timeout=120)[1]
    assert told.startswith("error: --device desk: no such microphone; inputs of this machine: ")
    assert told.count("\n") == 1
