"""The parts of LibriSpeech with their checksums, and which of them each size of the recipe uses.

Mini is OpenSLR's resource 31, everything else resource 12. The MD5 sums are from their md5sum.txt.
"""

from __future__ import annotations

from dataclasses import dataclass

HOME = "https://www.openslr.org/resources"


@dataclass(frozen=True)
class Part:
    """An archive <name>.tar.gz with a folder LibriSpeech/<name>."""

    name: str
    resource: int
    md5: str
    utterances: int

    @property
    def path(self) -> str:
        """The path of the archive, relative to the home."""
        return f"{self.resource}/{self.name}.tar.gz"


TRAIN_5 = Part("train-clean-5", 31, "5df7d4e78065366204ca6845bb08f490", 1519)
TRAIN_100 = Part("train-clean-100", 12, "2a93770f6d5c6c964bc36631d331a522", 28539)
TRAIN_360 = Part("train-clean-360", 12, "c0e676e450a7ff2f54aeade5171606fa", 104014)
TRAIN_500 = Part("train-other-500", 12, "d1a0fd59409feb2c614ce4d30c387708", 148688)
DEV_2 = Part("dev-clean-2", 31, "6d7ab67ac6a1d2c993d050e16d61080d", 1089)
DEV_CLEAN = Part("dev-clean", 12, "42e2234ba48799c1f50f24a7926300a1", 2703)
DEV_OTHER = Part("dev-other", 12, "c8d0bcc9cca99d4f8b62fcc847357931", 2864)
TEST_CLEAN = Part("test-clean", 12, "32fa31d27d2e1cad72775fee3f4849a9", 2620)
TEST_OTHER = Part("test-other", 12, "fb5a50374b501bb3bac4815ee91d3135", 2939)

TESTS = {"test_clean": (TEST_CLEAN,), "test_other": (TEST_OTHER,)}
SIZES: dict[str, dict[str, tuple[Part, ...]]] = {  # size -> data directory -> parts
    "mini": {"train": (TRAIN_5,), "dev": (DEV_2,), **TESTS},
    "100": {"train": (TRAIN_100,), "dev": (DEV_CLEAN, DEV_OTHER), **TESTS},
    "460": {"train": (TRAIN_100, TRAIN_360), "dev": (DEV_CLEAN, DEV_OTHER), **TESTS},
    "960": {"train": (TRAIN_100, TRAIN_360, TRAIN_500), "dev": (DEV_CLEAN, DEV_OTHER), **TESTS},
}
"""Dev selects models, the test sets are scored once. No speaker is in two sets."""
