"""The models of a server by name, and the options of a stream."""

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
from recitative.decoding.hotwords import Grammar, parse_hot_words
from recitative.errors import UsageError
from recitative.keywords.spotter import Spotter, can_spot
from recitative.kinds import KINDS
from recitative.model.kind import Endpoint, ModelKind
from recitative.model.onnx_stage import OnnxStage
from recitative.model.stream import NetworkStream

DEFAULT_NAMES = ("", "whisper-1")  # names that clients of OpenAI's API send when they do not choose a model
CACHED_DECODERS = 8  # of one model: for hot words, phrases or keywords
MAX_PHRASES = 1000  # in one list
UNKNOWN = "[unk]"  # among Vosk's phrases: any other words


@dataclass(frozen=True)
class StreamOptions:
    """Options of a stream of a recognizer; keywords also of a classifier.

    hotwords, keywords: lists in the syntax of the command line
    phrases: the only phrases that are recognized; () = no restriction
    text:    form of the text; None = the server's
    """

    hotwords: str = ""
    keywords: str = ""
    phrases: tuple[str, ...] = ()
    text: TextForm | None = None

    def __post_init__(self) -> None:
        if self.keywords and (self.hotwords or self.phrases):
            raise UsageError("keywords: are found without hot words and phrases; leave these out")
        lists = self.hotwords.replace("\n", ",").count(","), self.keywords.replace("\n", ",").count(",")
        if max(*lists, len(self.phrases)) > MAX_PHRASES:
            raise UsageError(f"a list of more than {MAX_PHRASES} phrases: leave some out")


DEFAULT_OPTIONS = StreamOptions()
RAW_TEXT = StreamOptions(text="raw")  # of protocols whose clients expect lower-case words


class ServedModel:
    """A model that a server offers. Threads share it."""

    def __init__(self, name: str, kind: ModelKind, runner: Any) -> None:
        """runner: the result of ``kind.run``. Raises UsageError for a kind or a model that cannot be served."""
        if kind.endpoint is None:
            titles = ", ".join(f"{kind.title}s" for kind in KINDS if kind.endpoint)
            raise UsageError(f"--model {name}: is {kind.with_article}; models that can be served are {titles}")
        self.name, self.kind, self.runner = name, kind, runner
        self.endpoint: Endpoint = kind.endpoint
        self.about = self.endpoint.about(runner)
        self.can_spot = can_spot(runner)
        self.recognizer = lru_cache(CACHED_DECODERS)(self._recognizer)
        self.spotter = lru_cache(CACHED_DECODERS)(self._spotter)

    @classmethod
    def load(cls, model: str | Path) -> ServedModel:
        """Open a pretrained model by name, or an exported file. Raises DataError for anything else."""
        stage = OnnxStage(pretrained.find(model), *KINDS)
        metadata = stage.metadata
        return cls.of(pretrained.name_of(model), metadata.kind, stage, metadata.settings, metadata.extras)

    @classmethod
    def of(cls, name: str, kind: ModelKind, stage: Any, settings: Any, extras: Mapping[str, Any]) -> ServedModel:
        """From the result of ``kinds.open_stage``."""
        return cls(name, kind, kind.run(stage, settings, extras))

    @property
    def streams(self) -> bool:
        return bool(self.about["streams"])

    @property
    def transcribes_live(self) -> bool:
        return self.streams and isinstance(self.runner, Recognizer)

    def entry(self) -> dict[str, Any]:
        """Its entry in the list of models: OpenAI's keys, then the project's."""
        known = {"id": self.name, "object": "model", "created": 0, "owned_by": "recitative"}
        return known | {"kind": self.kind.name, "path": self.endpoint.path, "keywords": self.can_spot} | self.about

    def answer(self, content: Any, check: Callable[[], None]) -> dict[str, Any]:
        """The answer to a recording or a request; see ``Endpoint``."""
        assert self.endpoint.answer is not None, "the server has no formats of its own for this kind"
        return self.endpoint.answer(self.runner, content, check)

    def stream(self, options: StreamOptions, rules: EndpointRules) -> NetworkStream[Any]:
        """A new stream of live audio, of a model that streams. Raises UsageError, DataError for what it cannot do."""
        if options.keywords:
            return self.spotter(options.keywords).stream()
        assert self.endpoint.stream is not None, "Models.live has chosen one that streams"
        runner = self.recognizer(options) if options != DEFAULT_OPTIONS else self.runner
        stream: NetworkStream[Any] = self.endpoint.stream(runner, rules=rules)
        return stream

    def _spotter(self, keywords: str) -> Spotter:
        """Cached as ``spotter``."""
        return Spotter.of(self.runner, keywords, name=self.name)

    def _recognizer(self, options: StreamOptions) -> Recognizer:
        """The same network with hot words or a grammar; cached as ``recognizer``."""
        network = self.runner.network if isinstance(self.runner, Recognizer) else None
        if not isinstance(network, Transcriber):
            raise UsageError(f"hot words and phrases are for recognizers; {self.name!r} is {self.kind.with_article}")
        decoding = network.options
        if options.hotwords:
            weight = network.settings.decode.hot_word_weight
            decoding = replace(decoding, hot_words=tuple(parse_hot_words(options.hotwords, weight)))
        if phrases := [phrase for phrase in options.phrases if phrase != UNKNOWN]:
            decoding = replace(decoding, grammar=Grammar("\n".join(phrases), "phrase_list"))
        network = network if decoding is network.options else network.with_options(decoding)
        return Recognizer(network, self.name, options.text or self.runner.text)


class Models:
    """The models of one server, in the order of the command line."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Raises UsageError for no models and for duplicate names."""
        self.by_name = {model.name: model for model in models}
        if not models:
            raise UsageError("no model: give one or more")
        if len(self.by_name) < len(models):
            raise UsageError(f"two models of one name: {', '.join(model.name for model in models)}; rename a file")

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self.by_name.values())

    @property
    def recognizer(self) -> ServedModel | None:
        """The first that transcribes live speech."""
        return next((model for model in self if model.transcribes_live), None)

    def find(self, name: str, can: Callable[[ServedModel], bool], what: str) -> ServedModel:
        """The model of this name; without a name the first for which ``can`` is true. what: it must do, for errors.

        Raises UsageError for an unknown name, and for a model that cannot do it.
        """
        able = [model for model in self if can(model)]
        those = f"this server has {', '.join(repr(model.name) for model in able) if able else 'no model'} for {what}"
        if name in DEFAULT_NAMES and able:
            return able[0]
        if name in DEFAULT_NAMES:
            raise UsageError(f"{those}; start it with another --model")
        model = self.by_name.get(name)
        if model is None:
            raise UsageError(self.unknown(name))
        if model not in able:
            raise UsageError(f"model {name!r}: is {model.kind.with_article}; {those}")
        return model

    def unknown(self, name: str) -> str:
        return f"model {name!r}: this server has {', '.join(map(repr, self.by_name))}"

    def of_path(self, name: str, path: str) -> ServedModel:
        """``find`` for requests to a path."""
        titles = dict.fromkeys(f"{kind.with_article}" for kind in KINDS if kind.endpoint and kind.endpoint.path == path)
        return self.find(name, lambda model: model.endpoint.path == path, f"{path}, which needs {' or '.join(titles)}")

    def of_request(self, request: Any, path: str) -> ServedModel:
        """``of_path`` for a request, which may name its model; by default the first that suits the request."""
        suited = (one for one in self if one.endpoint.path == path and one.endpoint.suits(one.runner, request))
        if request.model in DEFAULT_NAMES and (model := next(suited, None)):
            return model
        return self.of_path(request.model, path)

    def live_speech(self) -> ServedModel:
        """``find`` for protocols that only have recognizers."""
        return self.find("", lambda model: model.transcribes_live, "live speech")

    def live(self, name: str, options: StreamOptions) -> ServedModel:
        """``find`` for live audio: by default the first recognizer, otherwise the first model that streams."""
        if options.keywords:
            return self.find(name, lambda model: model.can_spot and model.streams, "keywords in live audio")
        if name in DEFAULT_NAMES and self.recognizer:
            return self.recognizer
        if (model := self.by_name.get(name)) and model.endpoint.stream and not model.streams:
            raise UsageError(f"model {name!r}: does not stream; send recordings to {model.endpoint.path}")
        return self.find(name, lambda model: model.streams, "live audio")
