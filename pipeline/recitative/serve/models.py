"""The models of a server, by name, and what of them a client asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from recitative import pretrained
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import EndpointRules, Transcriber
from recitative.asr.transcript import TextForm
from recitative.decoding.hotwords import parse_hot_words
from recitative.errors import UsageError
from recitative.keywords.spotter import Spotter, can_spot
from recitative.kinds import KINDS
from recitative.lm.grammar import Grammar
from recitative.model.kind import AnyKind, Endpoint
from recitative.model.onnx_stage import OnnxStage
from recitative.model.stream import NetworkStream

STAND_INS = ("", "whisper-1")  # what clients of OpenAI call a model that they do not choose
REMEMBERED = 8  # lists of hot words, of phrases or of keywords whose decoders a model keeps
MOST_PHRASES = 1000  # of one list
UNKNOWN = "[unk]"  # among Vosk's phrases: anything else


@dataclass(frozen=True)
class Wanted:
    """What a client asks a recognizer, or of keywords also a classifier, to listen for.

    hotwords, keywords: lists as the command line takes them; phrases: nothing else is written; text: None = as the
    server writes it
    """

    hotwords: str = ""
    keywords: str = ""
    phrases: tuple[str, ...] = ()
    text: TextForm | None = None

    def __post_init__(self) -> None:
        if self.keywords and (self.hotwords or self.phrases):
            raise UsageError("keywords: are found without hot words and phrases; leave these out")
        lists = self.hotwords.replace("\n", ",").count(","), self.keywords.replace("\n", ",").count(",")
        if max(*lists, len(self.phrases)) > MOST_PHRASES:
            raise UsageError(f"a list of more than {MOST_PHRASES} phrases: leave some out")


PLAIN = Wanted()
SPOKEN = Wanted(text="raw")  # of protocols whose clients expect words as they are heard


class ServedModel:
    """A model of a kind that a server offers. Threads share it."""

    def __init__(self, name: str, kind: AnyKind, runner: Any) -> None:
        """runner: what ``kind.runner`` made. Raises UsageError for a kind or a model that cannot be served."""
        if kind.endpoint is None:
            titles = ", ".join(f"{kind.title}s" for kind in KINDS if kind.endpoint)
            raise UsageError(f"--model {name}: is a {kind.title}; models that can be served are {titles}")
        self.name, self.kind, self.runner = name, kind, runner
        self.endpoint: Endpoint = kind.endpoint
        self.about = self.endpoint.about(runner)
        self.can_spot = can_spot(runner)
        self.recognizer = lru_cache(REMEMBERED)(self._recognizer)
        self.spotter = lru_cache(REMEMBERED)(self._spotter)

    @classmethod
    def load(cls, model: str | Path) -> ServedModel:
        """A pretrained model's name, or an exported file. Raises DataError for anything else."""
        stage = OnnxStage(pretrained.find(model), *KINDS)
        metadata = stage.metadata
        return cls.of(pretrained.name_of(model), metadata.kind, stage, metadata.settings, metadata.extras)

    @classmethod
    def of(cls, name: str, kind: AnyKind, stage: Any, settings: Any, extras: Mapping[str, Any]) -> ServedModel:
        """What ``export.opening.open_stage`` opened."""
        return cls(name, kind, kind.runner(stage, settings, extras) if kind.runner else stage)

    @property
    def streams(self) -> bool:
        return bool(self.about["streams"])

    @property
    def hears_speech(self) -> bool:
        return self.streams and isinstance(self.runner, Recognizer)

    def entry(self) -> dict[str, Any]:
        """In the list of models: OpenAI's entries, then ours."""
        known = {"id": self.name, "object": "model", "created": 0, "owned_by": "recitative"}
        return known | {"kind": self.kind.name, "path": self.endpoint.path, "keywords": self.can_spot} | self.about

    def answer(self, sent: Any, check: Callable[[], None]) -> dict[str, Any]:
        """What the model makes of a recording or a request; see ``Endpoint``."""
        assert self.endpoint.answer is not None, "the server has no formats of its own for this kind"
        return self.endpoint.answer(self.runner, sent, check)

    def stream(self, wanted: Wanted, rules: EndpointRules) -> NetworkStream[Any]:
        """A new stream of live audio. Raises UsageError, DataError for what the model cannot do."""
        if wanted.keywords:
            return self.spotter(wanted.keywords).stream()
        if not self.streams or self.endpoint.stream is None:
            raise UsageError(f"model {self.name!r}: hears no live audio; send recordings to {self.endpoint.path}")
        runner = self.recognizer(wanted) if wanted != PLAIN else self.runner
        stream: NetworkStream[Any] = self.endpoint.stream(runner, rules=rules)
        return stream

    def _spotter(self, keywords: str) -> Spotter:
        """Remembered as ``spotter``."""
        return Spotter.of(self.runner, keywords, name=self.name)

    def _recognizer(self, wanted: Wanted) -> Recognizer:
        """The same network with hot words or a grammar; remembered as ``recognizer``."""
        network = self.runner.network if isinstance(self.runner, Recognizer) else None
        if not isinstance(network, Transcriber):
            raise UsageError(f"hot words and phrases are for recognizers; {self.name!r} is a {self.kind.title}")
        options = network.options
        if wanted.hotwords:
            weight = network.settings.decode.hot_word_weight
            options = replace(options, hot_words=tuple(parse_hot_words(wanted.hotwords, weight)))
        if phrases := [phrase for phrase in wanted.phrases if phrase != UNKNOWN]:
            options = replace(options, grammar=Grammar("\n".join(phrases), "phrase_list"))
        network = network if options is network.options else network.with_options(options)
        return Recognizer(network, self.name, wanted.text or self.runner.text)


class Models:
    """Those of one server, in the order in which they were given."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Raises UsageError for none and for two of one name."""
        self.by_name = {model.name: model for model in models}
        if not models:
            raise UsageError("no model: give one or more")
        if len(self.by_name) < len(models):
            raise UsageError(f"two models of one name: {', '.join(model.name for model in models)}; rename a file")

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self.by_name.values())

    @property
    def recognizer(self) -> ServedModel | None:
        """The first that hears live speech."""
        return next((model for model in self if model.hears_speech), None)

    def find(self, name: str, can: Callable[[ServedModel], bool], what: str) -> ServedModel:
        """The model of this name, the first that ``can`` if none is named. ``what`` it must do is for errors.

        Raises UsageError for a name that is unknown, and for a model that cannot.
        """
        able = [model for model in self if can(model)]
        those = f"this server has {', '.join(repr(model.name) for model in able) if able else 'no model'} for {what}"
        if name in STAND_INS and able:
            return able[0]
        if name in STAND_INS:
            raise UsageError(f"{those}; start it with another --model")
        model = self.by_name.get(name)
        if model is None:
            raise UsageError(f"model {name!r}: this server has {', '.join(map(repr, self.by_name))}")
        if model not in able:
            raise UsageError(f"model {name!r}: is a {model.kind.title}; {those}")
        return model

    def of_path(self, name: str, path: str) -> ServedModel:
        """As ``find``, for requests to a path."""
        titles = dict.fromkeys(f"a {kind.title}" for kind in KINDS if kind.endpoint and kind.endpoint.path == path)
        return self.find(name, lambda model: model.endpoint.path == path, f"{path}, which needs {' or '.join(titles)}")

    def of_request(self, request: Any, path: str) -> ServedModel:
        """As ``of_path``, by default the first that suits the request, which names its model."""
        suited = (one for one in self if one.endpoint.path == path and one.endpoint.suits(one.runner, request))
        if request.model in STAND_INS and (model := next(suited, None)):
            return model
        return self.of_path(request.model, path)

    def live_speech(self) -> ServedModel:
        """As ``find``, for protocols that know only recognizers."""
        return self.find("", lambda model: model.hears_speech, "live speech")

    def live(self, name: str, wanted: Wanted) -> ServedModel:
        """As ``find``, for live audio: by default the first recognizer, else the first model that hears any."""
        if wanted.keywords:
            return self.find(name, lambda model: model.can_spot and model.streams, "keywords in live audio")
        if name in STAND_INS and self.recognizer:
            return self.recognizer
        return self.find(name, lambda model: model.streams, "live audio")
