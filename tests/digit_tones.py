"""A made-up Free Spoken Digit Dataset."""

import numpy as np
import soundfile


def write_corpus(folder, digits=2):
    """So many digits by two speakers, 12 recordings of each: tones as high as the digit."""
    recordings = folder / "recordings"
    recordings.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for speaker in ("ann", "bob"):
        for digit in range(digits):
            for index in range(12):
                length = int(rng.integers(2400, 3200))
                tone = 0.3 * np.sin(np.arange(length) * (0.2 + 0.2 * digit)) + 0.01 * rng.standard_normal(length)
                soundfile.write(recordings / f"{digit}_{speaker}_{index}.wav", tone, 8000, subtype="PCM_16")
    return folder
