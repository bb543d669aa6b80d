"""Recognizers in the place of torchaudio's bundles: what its tutorials on recognition and alignment do, with ours."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

import recitative
from recitative.asr.decoding import DecodingOptions
from recitative.decoding.hypotheses import align_words
from recitative.errors import DataError, UsageError
from recitative.model.export import build_file
from recitative.model.folder import save_model

functional = pytest.importorskip("torchaudio.functional")

AUDIO = Path(__file__).resolve().parents[2] / "recipes" / "digits" / "corpus" / "audio"
MODEL = "an4-bidirectional"


@pytest.fixture(scope="module")
def bundle():
    return recitative.torchaudio_bundle(MODEL)


@pytest.fixture(scope="module")
def waveform(bundle):
    """(1, S) at the rate of the bundle."""
    samples, rate = soundfile.read(AUDIO / "bf_lily-01.ogg", dtype="float32")
    return functional.resample(torch.from_numpy(samples)[None], rate, bundle.sample_rate)


@pytest.fixture(scope="module")
def heard(waveform, bundle):
    """The same by the recognizer itself: its words with times, and its phones without language."""
    network = recitative.load(MODEL).network
    rows = [waveform[0].numpy()]
    greedy = network.with_options(DecodingOptions(greedy=True))
    return network.transcribe(rows)[0].words, greedy.transcribe(rows)[0].text


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A bundle of a recognizer of letters, which hears tones."""
    path = tmp_path_factory.mktemp("letters") / "model.onnx"
    path.write_bytes(build_file(tiny.tone_recognizer()).SerializeToString())
    return recitative.torchaudio_bundle(path)


class GreedyDecoder(torch.nn.Module):
    """As in the tutorial on recognition: the best label of every frame, without repetitions and blanks."""

    def __init__(self, labels, blank=0):
        super().__init__()
        self.labels, self.blank = labels, blank

    def forward(self, emission):
        best = emission.argmax(dim=-1).unique_consecutive(dim=-1)
        return [self.labels[i] for i in best if i != self.blank]


def test_the_recognition_tutorial_hears_what_the_recognizer_hears(bundle, waveform, heard):
    model = bundle.get_model().to("cpu")
    with torch.inference_mode():
        features, _ = model.extract_features(waveform)
        emission, lengths = model(waveform)
    assert lengths is None
    assert emission.shape[::2] == (1, len(bundle.get_labels()))
    torch.testing.assert_close(emission.exp().sum(-1), torch.ones(emission.shape[:2]))
    assert features[0].shape[::2] == (1, 40)
    assert " ".join(GreedyDecoder(bundle.get_labels())(emission[0])) == heard[1]


def test_the_tutorial_on_beam_search_hears_what_the_recognizer_hears(bundle, waveform, heard, tmp_path):
    pytest.importorskip("flashlight", reason="torchaudio's ctc_decoder is of the package flashlight-text")
    from torchaudio.models.decoder import ctc_decoder

    labels, tokenizer = bundle.get_labels(), bundle.get_tokenizer()
    lexicon = tmp_path / "lexicon.txt"
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "oh", "zero")
    lines = (f"{word} {' '.join(labels[label] for label in tokenizer([word])[0])}\n" for word in words)
    lexicon.write_text("".join(lines))
    with torch.inference_mode():
        emissions = bundle.get_model()(waveform, torch.tensor([waveform.size(1)]))
    options = {"tokens": list(labels), "lm": None, "beam_size": 50, "blank_token": "-", "sil_token": labels[1]}
    (best, *_), *_ = ctc_decoder(lexicon=str(lexicon), **options)(*emissions)
    assert best.words == [word.word for word in heard[0]]
    (best, *_), *_ = (decoder := ctc_decoder(lexicon=None, **options))(*emissions)
    assert " ".join(decoder.idxs_to_tokens(best.tokens)[1:-1]) == heard[1]  # the decoder adds silence at both ends


def test_the_alignment_tutorial_finds_the_times_of_the_recognizer(bundle, waveform, heard):
    with torch.inference_mode():
        emission, _ = bundle.get_model(with_star=False)(waveform)
    words = [word.word for word in heard[0]]
    assert words[:3] == ["two", "three", "seven"]
    tokenized = bundle.get_tokenizer()(words)
    dictionary = bundle.get_dict(star=None)
    assert tokenized[0] == [dictionary["T"], dictionary["UW"]]
    targets = torch.tensor([[token for word in tokenized for token in word]], dtype=torch.int32)
    aligned, scores = functional.forced_align(emission, targets, blank=0)
    spans = functional.merge_tokens(aligned[0], scores[0].exp())
    assert [span.token for span in spans] == targets[0].tolist()
    by_word = bundle.get_aligner()(emission[0], tokenized)
    assert [span for word in by_word for span in word] == spans

    frame_s = 0.03  # of this model
    for word, (first, *_), (*_, last) in zip(heard[0], by_word, by_word, strict=True):
        assert word.start_s == pytest.approx(first.start * frame_s, abs=0.001)
        assert word.end_s == pytest.approx(last.end * frame_s, abs=0.001)


def test_the_aligner_finds_the_path_of_our_alignment(bundle, waveform, heard):
    emission, _ = bundle.get_model()(waveform)
    words = bundle.get_tokenizer()([word.word for word in heard[0]])
    ours = align_words(emission[0].numpy(), [[labels] for labels in words])
    theirs = bundle.get_aligner()(emission[0], words)
    for word, spans in zip(ours.words, theirs, strict=True):
        assert [(run.label, run.begin, run.end) for run in word.runs] == [(s.token, s.start, s.end) for s in spans]


def test_a_star_stands_for_words_that_are_not_known(bundle, waveform):
    emission, _ = bundle.get_model(with_star=True)(waveform)
    labels = bundle.get_labels(star="*")
    assert emission.shape[2] == len(labels)
    star = labels.index("*")
    (anything,), seven = bundle.get_aligner()(emission[0], [[star], *bundle.get_tokenizer()(["seven"])])
    whole = bundle.get_aligner()(emission[0, :, :-1], bundle.get_tokenizer()(["two", "three", "seven"]))
    assert abs(seven[0].start - whole[2][0].start) <= 1
    assert anything.end <= seven[0].start


def test_letters_have_the_signs_of_torchaudio(letters):
    assert letters.get_labels() == ("-", "|", "a", "b", "c")
    assert letters.get_labels(blank="<b>", star="*") == ("<b>", "|", "a", "b", "c", "*")
    assert letters.sample_rate == tiny.RATE
    waveform = torch.from_numpy(tiny.speak("ab ca", np.random.default_rng(0)))[None]
    emission, _ = letters.get_model()(waveform)
    assert "".join(GreedyDecoder(letters.get_labels())(emission[0])) == "ab|ca"
    targets = torch.tensor([[letters.get_dict()[label] for label in "ab|ca"]], dtype=torch.int32)
    spans = functional.merge_tokens(*(each[0] for each in functional.forced_align(emission, targets)))
    frame_s = waveform.size(1) / emission.size(1) / tiny.RATE
    assert [round(span.start * frame_s / tiny.LETTER_S) for span in spans] == [0, 1, 2, 3, 4]
    assert letters.get_tokenizer()(["ab", "c"]) == [[2, 3], [4]]
    with pytest.raises(DataError, match="'d' not in the token table"):
        letters.get_tokenizer()(["d"])


def test_rows_of_a_batch_have_their_own_lengths(letters):
    rng = np.random.default_rng(1)
    rows = [torch.from_numpy(tiny.speak(text, rng)) for text in ("ab c", "b")]
    batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) + 0.0
    batch[1, len(rows[1]) :] = 0.7  # whatever is behind the end has no say
    emissions, lengths = letters.get_model()(batch, torch.tensor([len(row) for row in rows]))
    for row, emission, length in zip(rows, emissions, lengths.tolist(), strict=True):
        alone, _ = letters.get_model()(row[None])
        assert length == alone.size(1)
        torch.testing.assert_close(emission[:length], alone[0])


def test_a_model_folder_gives_the_emissions_of_its_file(letters, tmp_path):
    save_model(tiny.tone_recognizer(), tmp_path / "model")
    waveform = torch.from_numpy(tiny.speak("b ac", np.random.default_rng(2)))[None]
    emission, _ = recitative.torchaudio_bundle(tmp_path / "model").get_model()(waveform)
    torch.testing.assert_close(emission, letters.get_model()(waveform)[0], rtol=1e-4, atol=1e-4)


def test_the_network_of_a_folder_is_part_of_the_module_that_is_moved_to_a_device(tmp_path):
    save_model(tiny.tone_recognizer(), tmp_path / "model")
    bundle = recitative.torchaudio_bundle(tmp_path / "model")
    assert {parameter.device.type for parameter in bundle.get_model().to("cpu").parameters()} == {"cpu"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_emissions_and_alignment_on_a_gpu_are_those_of_the_cpu(tmp_path):
    save_model(tiny.tone_recognizer(), tmp_path / "model")
    bundle = recitative.torchaudio_bundle(tmp_path / "model")
    model, waveform = bundle.get_model(), torch.from_numpy(tiny.speak("b ac", np.random.default_rng(2)))[None]
    words = bundle.get_tokenizer()(["b", "ac"])
    here, _ = model(waveform)
    there, _ = model.to("cuda")(waveform.cuda())
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-3)
    for ours, theirs in zip(*(bundle.get_aligner()(one[0], words) for one in (here, there)), strict=True):
        assert [(span.token, span.start, span.end) for span in ours] == [(s.token, s.start, s.end) for s in theirs]


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((100,), None, r"the shape \(100,\); \(batch, samples\)"),
        ((0, 100), None, "one row or more"),
        ((2, 100), [100], r"lengths \[100\]; 2 numbers from 0 to 100"),
        ((1, 100), [101], r"lengths \[101\]"),
    ],
)
def test_other_shapes_are_refused(letters, shape, lengths, message):
    with pytest.raises(UsageError, match=message):
        letters.get_model()(torch.zeros(shape), None if lengths is None else torch.tensor(lengths))


def test_other_types_are_refused(letters):
    with pytest.raises(UsageError, match=r"waveforms are torch\.int16; floating point in \[-1, 1\]"):
        letters.get_model()(torch.zeros(1, 100, dtype=torch.int16))


def test_only_recognizers_are_bundles():
    with pytest.raises(DataError):
        recitative.torchaudio_bundle("chorales")
