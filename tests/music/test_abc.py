"""Tunes in ABC notation, each small enough to be played from the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from recitative.errors import DataError
from recitative.music.abc import chord_pitches, key_signature, read_abc, unfolded
from recitative.music.notation import abc_text
from recitative.music.piece import Notation, Note, Piece

NOTTINGHAM = Path(__file__).resolve().parents[3] / "shared" / "data" / "nottingham" / "ABC_cleaned"
QUARTER = 12  # steps


def _read(folder: Path, body: str, header: str = "M:4/4\nL:1/4\nK:C") -> Piece:
    (folder / "tune.abc").write_text(f"X:1\nT:Tune\n{header}\n{body}\n")
    pieces, errors = read_abc(folder / "tune.abc")
    assert errors == []
    return pieces[0]


def _error(folder: Path, body: str, header: str = "M:4/4\nL:1/4\nK:C") -> str:
    (folder / "tune.abc").write_text(f"X:7\n{header}\n{body}\n")
    pieces, errors = read_abc(folder / "tune.abc")
    assert pieces == []
    return str(errors[0])


def _melody(piece: Piece) -> list[int]:
    return [note.pitch for note in piece.notes if note.voice == 0]


def _lengths(piece: Piece) -> list[int]:
    return [note.length for note in piece.notes if note.voice == 0]


def test_octaves_are_written_with_case_commas_and_apostrophes(tmp_path: Path) -> None:
    assert _melody(_read(tmp_path, "C, C c c'")) == [48, 60, 72, 84]


def test_lengths_are_fractions_of_the_unit(tmp_path: Path) -> None:
    lengths = _lengths(_read(tmp_path, "C C2 C3/2 C/ C// C/3 C/4 C3/"))
    assert lengths == [QUARTER, 24, 18, 6, 3, 4, 3, 18]


@pytest.mark.parametrize(("meter", "steps"), [("2/4", 3), ("3/4", 6), ("C", 6), ("6/8", 6)])
def test_without_a_unit_short_meters_have_sixteenths(tmp_path: Path, meter: str, steps: int) -> None:
    assert _lengths(_read(tmp_path, "C", f"M:{meter}\nK:C")) == [steps]


@pytest.mark.parametrize(
    ("sign", "lengths"), [(">", [18, 6]), ("<", [6, 18]), (">>", [21, 3]), ("> ", [18, 6]), ("|", [12, 12])]
)
def test_broken_rhythm_moves_the_middle_of_two_notes(tmp_path: Path, sign: str, lengths: list[int]) -> None:
    assert _lengths(_read(tmp_path, f"C{sign}D")) == lengths


@pytest.mark.parametrize(
    ("body", "lengths"),
    [("(3CDE F", [8, 8, 8, 12]), ("(2CD", [18, 18]), ("(3:2:2C2D E", [16, 8, 12]), ("(CD) E", [12, 12, 12])],
)
def test_tuplets_squeeze_the_notes_that_follow(tmp_path: Path, body: str, lengths: list[int]) -> None:
    assert _lengths(_read(tmp_path, body)) == lengths


def test_an_accidental_lasts_to_the_end_of_the_bar(tmp_path: Path) -> None:
    piece = _read(tmp_path, "F =F F|F ^C c C|C _B B", "M:4/4\nL:1/4\nK:G")
    assert _melody(piece) == [66, 65, 65, 66, 61, 73, 61, 60, 70, 70]


def test_a_tie_makes_one_note_and_keeps_its_accidental_over_the_bar(tmp_path: Path) -> None:
    piece = _read(tmp_path, "^F2-|F2 F|G -G2|A-B")
    assert _melody(piece) == [66, 65, 67, 69, 71]
    assert _lengths(piece) == [48, 12, 36, 12, 12]


def test_chords_of_notes_begin_together_and_tie_only_what_stays(tmp_path: Path) -> None:
    piece = _read(tmp_path, "[CEG]-[CE]2 z [c2e]")
    assert piece.notes == (
        Note(0, 60, 36), Note(0, 64, 36), Note(0, 67, 12), Note(48, 72, 24), Note(48, 76, 24),
    )  # fmt: skip


def test_rests_keep_time_to_the_end(tmp_path: Path) -> None:
    piece = _read(tmp_path, "z C x2|Z|")
    assert piece.notes == (Note(12, 60, 12),)
    assert piece.length == 8 * QUARTER


def test_grace_notes_decorations_lyrics_and_comments_are_left_out(tmp_path: Path) -> None:
    piece = _read(tmp_path, '{gf}C !trill!D ~E "^slowly"uF % not a note: G\nw: la la la la')
    assert _melody(piece) == [60, 62, 64, 65]


def test_a_line_may_begin_with_a_note_before_a_repeat(tmp_path: Path) -> None:
    assert _melody(_read(tmp_path, "C D E\nF:|")) == [60, 62, 64, 65] * 2


@pytest.mark.parametrize(
    ("body", "played"),
    [
        ("C|D:|", "CDCD"),
        ("C|:D:|E", "CDDE"),
        ("C:|D:|E", "CCDDE"),
        ("C||D:|E", "CDDE"),
        ("|:C::D:|", "CCDD"),
        ("|:C:|:D:|", "CCDD"),
        ("|:C:||:D:|", "CCDD"),
        ("|::C::|", "CCC"),
        ("|:C||D:|", "CDCD"),
        ("|:C|[1D:|[2E||F", "CDCEF"),
        ("|:C|1D:|2E||F", "CDCEF"),
        ("|:C|[1D:|[2E:|F:|", "CDCEFF"),
        ("|:C|[1,3D:|[2E:|F", "CDCECDF"),
        ("|:C|[1-2D:|[3E||F", "CDCDCEF"),
        ("|:C|[1D:|F|G:|", "CDCFGFG"),
        ("|:C||D|[1E:|[2F||", "CDECDF"),
        ("|:C|[1D:|[2E|F||:G:|", "CDCEFGG"),
    ],
)
def test_repeats_and_endings_are_played_in_turn(tmp_path: Path, body: str, played: str) -> None:
    names = {60: "C", 62: "D", 64: "E", 65: "F", 67: "G"}
    assert "".join(names[pitch] for pitch in _melody(_read(tmp_path, body))) == played


@pytest.mark.parametrize(
    ("header", "played"),
    [("", "CCD"), ("Y:ABA\n", "CCDCC"), ("P:ABA\n", "CCDCC"), ("P:(AB)2\n", "CCDCCD"), ("Y:A2.B\n", "CCCCD")],
)
def test_parts_are_played_in_the_order_given(tmp_path: Path, header: str, played: str) -> None:
    piece = _read(tmp_path, "P:A\nC:|\nP:B\nD|", f"M:4/4\nL:1/4\n{header}K:C")
    assert "".join({60: "C", 62: "D"}[pitch] for pitch in _melody(piece)) == played


def test_a_single_letter_before_the_key_names_the_first_part(tmp_path: Path) -> None:
    piece = _read(tmp_path, "C|\nP:B\nD|", "Y:BA\nM:4/4\nL:1/4\nP:A\nK:C")
    assert _melody(piece) == [62, 60]


def test_fields_may_change_within_the_music(tmp_path: Path) -> None:
    piece = _read(tmp_path, "F [K:G]F[L:1/8]F|\nK:F\nB")
    assert _melody(piece) == [65, 66, 66, 70]
    assert _lengths(piece) == [12, 12, 6, 6]


def test_chord_symbols_are_chords_of_the_second_voice_until_the_next(tmp_path: Path) -> None:
    piece = _read(tmp_path, '"C"C2 "Am""F"D "N.C."E "G/b"F|G')
    chords = [(note.start, note.pitch, note.length) for note in piece.notes if note.voice == 1]
    assert chords == [
        (0, 48, 24), (0, 52, 24), (0, 55, 24),
        (24, 57, 12), (24, 60, 12), (24, 64, 12),
        (48, 47, 24), (48, 55, 24), (48, 59, 24), (48, 62, 24),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "pitches"),
    [
        ("C", (48, 52, 55)), ("Bb", (58, 62, 65)), ("F#m", (54, 57, 61)), ("G7", (55, 59, 62, 65)),
        ("Am7", (57, 60, 64, 67)), ("Cd", (48, 51, 54)), ("Cdim", (48, 51, 54)), ("Eaug", (52, 56, 60)),
        ("Dsus4", (50, 55, 57)), ("D/f+", (42, 50, 54, 57)), ("Gm/bb", (46, 55, 58, 62)), ("C/C", (48, 52, 55)),
    ],
)  # fmt: skip
def test_chord_symbols_are_spelled_from_the_root(symbol: str, pitches: tuple[int, ...]) -> None:
    assert chord_pitches(symbol) == pitches


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("C", {}), ("", {}), ("none", {}), ("D", {"F": 1, "C": 1}), ("Bb", {"B": -1, "E": -1}), ("Am", {}),
        ("F#m", {"F": 1, "C": 1, "G": 1}), ("D Dorian", {}), ("Amix", {"F": 1, "C": 1}), ("E Phrygian", {}),
        ("F lydian", {}), ("Bloc", {}), ("Gminor", {"B": -1, "E": -1}), ("G clef=bass", {"F": 1}),
        ("D =c", {"F": 1, "C": 0}), ("D exp _b ^f", {"B": -1, "F": 1}), ("Hp", {"F": 1, "C": 1}),
    ],
)  # fmt: skip
def test_keys_raise_and_lower_letters(key: str, expected: dict[str, int]) -> None:
    assert key_signature(key) == expected


@pytest.mark.parametrize("key", ["H", "Q", "G#", "Dx", "C harmonic"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}' is not a key"):
        key_signature(key)


@pytest.mark.parametrize(("field", "tempo"), [("Q:1/4=90", 90), ("Q:3/8=80", 120), ('Q:"Slow"', 100), ("Q:60", 60)])
def test_the_tempo_is_in_quarters_a_minute(tmp_path: Path, field: str, tempo: float) -> None:
    assert _read(tmp_path, "C", f"M:4/4\n{field}\nK:C").quarters_per_minute == tempo


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("CD|\nE & F", r"tune\.abc:6: X:7: '& F' is not understood; correct it, or leave the tune out"),
        ('"H7"C', r"tune\.abc:5: X:7: chord 'H7' is not understood"),
        ("C0", r"'0' is not a length"),
        ("C/0", r"'/0' is not a length"),
        ("[Cq]", r"'\[Cq\]' is not understood"),
        ("-C", "'-' before the first note"),
        ("C [V:2] D", r"a voice \(V:\) must begin its line"),
        ("M:4/0", "'4/0' is not a meter"),
        ("c''''''", "MIDI pitch 144"),
        ("z", "it has no notes"),
        ("P:A\nC9999[1C9999:|99C9999|", "lasts"),
    ],
)
def test_a_tune_that_is_not_understood_says_where(tmp_path: Path, body: str, message: str) -> None:
    assert re.search(message, _error(tmp_path, body)), _error(tmp_path, body)


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "has part 'C', which does not exist" in _error(tmp_path, "P:A\nC", "P:AC\nK:C")


def test_an_order_of_parts_cannot_grow_without_end(tmp_path: Path) -> None:
    assert re.search("more than|too long", _error(tmp_path, "P:A\nC", "P:(((A99)99)99)99\nK:C"))


def test_the_tunes_after_a_bad_one_are_read(tmp_path: Path) -> None:
    path = tmp_path / "many.abc"
    path.write_bytes(b"words\n\nX:1\nT:Caf\xe9\nK:C\nC\n\nX:2\nT:b\nK:C\nC & D\nX:3\nT:c\nK:C\nD\n\nX:4\nT:no key\n")
    pieces, errors = read_abc(path)
    assert [piece.name for piece in pieces] == ["Café", "c"]
    assert [error.problems[0].where for error in errors] == [f"{path}:11", f"{path}:17"]
    assert all(isinstance(error, DataError) for error in errors)


@pytest.mark.parametrize(("content", "message"), [(b"", "no tune in it"), (None, "does not exist; a file in")])
def test_a_file_without_tunes_is_one_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.abc").write_bytes(content)
    pieces, (error,) = read_abc(tmp_path / "a.abc")
    assert pieces == []
    assert message in str(error)


def test_an_empty_part_is_played_as_nothing() -> None:
    assert unfolded([]) == []


@pytest.mark.skipif(not NOTTINGHAM.exists(), reason="the Nottingham Music Database is not beside the repository")
def test_nearly_all_of_the_nottingham_database_is_read() -> None:
    """jigs X:153 lacks a bracket, reelsd-g X:1 has a sign of unknown meaning."""
    results = [read_abc(path) for path in sorted(NOTTINGHAM.glob("*.abc"))]
    assert sum(len(pieces) for pieces, _ in results) == 1032
    assert sum(len(errors) for _, errors in results) == 2


def test_voices_are_read_in_the_order_of_writing(tmp_path: Path) -> None:
    piece = _read(tmp_path, 'V:S name="Soprano"\n^F2 F2 |\nV:B clef=bass\nF,2 G,2 |\n[V:S] F4 |\n[V:B] C,4 |')
    assert [(note.start // 12, note.pitch, note.voice) for note in piece.notes] == [
        (0, 53, 1), (0, 66, 0), (2, 55, 1), (2, 66, 0), (4, 48, 1), (4, 65, 0),
    ]  # fmt: skip
    assert piece.notation == Notation((4, 4), 0, False, ("Soprano", ""))


def test_a_written_score_comes_back(tmp_path: Path) -> None:
    notes = [Note(0, 67, 48), Note(48, 66, 12), Note(60, 67, 24), Note(0, 43, 84, 1), Note(12, 59, 60, 2)]
    notation = Notation((3, 4), 1, False, ("soprano", "bass", ""))
    piece = Piece(tuple(sorted(notes)), 108, 12, 92.0, "Song", notation)
    (tmp_path / "song.abc").write_text(abc_text(piece))
    (back,), errors = read_abc(tmp_path / "song.abc")
    assert not errors
    assert back == replace(piece, notation=replace(notation, parts=("soprano", "bass", "voice 3")))
