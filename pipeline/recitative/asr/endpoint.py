"""When an utterance of a live stream is over: rules on silence and length, after Kaldi's ``online-endpoint.h``.

    said something      and then ``silence_s`` of silence       (Kaldi's rules 2 to 4 in one)
    said nothing        for ``empty_silence_s``                 (rule 1)
    on and on           for ``longest_s``                       (rule 5)

The three, and their defaults, are those of sherpa-onnx. Silence is what the recogniser writes nothing for.
"""

from __future__ import annotations

from dataclasses import dataclass

from recitative.errors import UsageError


@dataclass(frozen=True)
class EndpointRules:
    """In seconds. Raises UsageError for a rule that isn't positive."""

    silence_s: float = 1.2
    empty_silence_s: float = 2.4
    longest_s: float = 20.0

    def __post_init__(self) -> None:
        for name in ("silence_s", "empty_silence_s", "longest_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: must be more than 0 seconds")

    def ends(self, *, decided_s: float, silence_s: float, said_something: bool) -> bool:
        """Of an utterance so far: the audio decided, the silence at its end, and whether a word came before."""
        wanted = self.silence_s if said_something else self.empty_silence_s
        return silence_s >= wanted or decided_s >= self.longest_s
