"""Figures: the same bytes for the same data, one palette in light and dark, and shapes where the data say."""

from __future__ import annotations

import base64
import io
import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from recitative.errors import UsageError
from recitative.report import charts
from recitative.report.charts import (
    Line,
    Mark,
    Recording,
    anomaly_figure,
    bar_chart,
    confusion_matrix,
    det_curve,
    line_chart,
    mel_levels,
    reliability_diagram,
    spectrogram,
    summarize,
)
from recitative.report.figure import BLACK, LIGHT, PALETTE, WHITE, save_figure, to_svg
from recitative.score.classification import reliability

SVG = "{http://www.w3.org/2000/svg}"
NOISE = Recording(np.random.default_rng(0).uniform(-0.3, 0.3, 8000).astype(np.float32), 8000)  # 1 s
NOTHING = np.zeros(0)


def parsed(figure):
    return ElementTree.fromstring(to_svg(figure))


def shapes(figure, color, paint="fill"):
    """The shapes in a color of the palette."""
    return [one for one in parsed(figure).iter(f"{SVG}path") if one.get(paint) == LIGHT[color]]


def tooltips(figure):
    return [one.text for one in parsed(figure).iter(f"{SVG}title")]


def texts(figure):
    return [one.text for one in parsed(figure).iter(f"{SVG}text")]


def loss(values, **options):
    y = np.array(values, float)
    return line_chart((Line("s", np.arange(float(len(y))), y),), "t", **options)


def every_chart():
    curve = [(1.0, 0.5), (10.0, 0.1)]
    bins = reliability(np.array([0.95, 0.92, 0.55, 0.58]), np.array([True, True, True, False]))
    return [
        loss([1, 2], level=(1.5, "clip"), marks=[1.0], marks_name="skipped"),
        bar_chart(["a", "b"], [("one", [0.25, 0.75]), ("two", [0.5, 0.5])], "t", "unit"),
        confusion_matrix(
            np.array([[3, 1], [0, 2]]),
            ["a", "b"],
            "t",
            lambda i, j: f"{i}, {j}",
            margins=(["75", "100"], ["100", "67"]),
        ),
        reliability_diagram(bins, "t"),
        det_curve("t", {"go": curve}, curve, (2.0, 0.1)),
        spectrogram(NOISE, [Mark(0.2, "a", "sub"), Mark(0.21, "b", "ins")]).figure,
        anomaly_figure("t", np.array([[0.5, 1.0]]), 2.0, [], mel_levels(NOISE), 2.0, np.array([0.0, 3.0, 1.0])),
        anomaly_figure("t", np.array([[0.5, 1.0], [1.5, 3.0]]), 2.0, [(1.0, 2.0, 3.0)], mel_levels(NOISE), 2.0),
    ]


def test_every_figure_is_an_svg_in_the_colors_of_the_palette():
    allowed = {"none", WHITE, BLACK, *LIGHT.values()}
    for figure in every_chart():
        root = parsed(figure)
        assert root.tag == f"{SVG}svg"
        assert root.get("aria-label")
        assert {one.get(paint) for one in root.iter() for paint in ("fill", "stroke")} - {None} <= allowed
        assert not [one for one in root.iter() if one.get("style")], "presentation attributes give way to dark mode"


def test_no_two_names_of_the_palette_share_a_light_color():
    assert len(set(LIGHT.values())) == len(PALETTE)


@pytest.mark.parametrize("mode", [0, 1])
def test_series_stand_out_from_the_page_and_each_other(mode):
    """WCAG 2.1 asks of graphics a contrast of 3 : 1; four series hold it, the fifth and sixth nearly."""
    colors = [PALETTE[f"series-{n}"][mode] for n in range(1, 7)]
    contrasts = [contrast(color, PALETTE["card"][mode]) for color in colors]
    assert min(contrasts[:4]) >= 3
    assert min(contrasts) >= 2
    assert len(set(colors)) == len(colors)


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_two_processes_write_the_same_bytes_without_pyplot_or_a_changed_setting(tmp_path):
    program = (
        "import sys, numpy as np, matplotlib\nfrom pathlib import Path\n"
        "from recitative.report.charts import *\nfrom recitative.report.figure import save_figure\n"
        "before = matplotlib.rcParams.copy()\nx = np.arange(4.0)\n"
        "for name in ('a.svg', 'a.png'):\n"
        "    chart = line_chart([summarize('s', x, x), Line('t', x, x, tooltips=list('abcd'))], 'd')\n"
        "    save_figure(chart, Path(sys.argv[1]) / name)\n"
        "assert all(dict.get(before, name) == dict.get(matplotlib.rcParams, name) for name in before)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nsvg.fonttype: path\nfont.size: 30\n")
    folders = [tmp_path / "first", tmp_path / "second"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        environment = {"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
        environment |= {"MATPLOTLIBRC": str(tmp_path)} if seed else {}
        subprocess.run([sys.executable, "-c", program, folder], check=True, env=environment)
    for name in ("a.svg", "a.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_figure_is_written_by_its_suffix(tmp_path):
    figure = loss([1, 2])
    save_figure(figure, tmp_path / "a.svg")
    content = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert content.startswith("<svg ")
    assert f'[stroke="{LIGHT["series-1"]}"]{{stroke:{PALETTE["series-1"][1]}}}' in content, "dark mode"
    ElementTree.fromstring(content)
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (2 * charts.WIDTH, 2 * charts.HEIGHT)
        assert not image.text, "no date, no version"
    with pytest.raises(
        UsageError, match=r"a\.pdf: cannot write a figure as '\.pdf'; \.svg or \.png; choose one of them"
    ):
        save_figure(figure, tmp_path / "a.pdf")


def test_names_are_text_whatever_they_hold():
    odd = '<b> & "x" $\\frac{1}{2}$ \N{CJK UNIFIED IDEOGRAPH-4E2D}'
    figure = line_chart([Line(odd, np.arange(2.0), np.ones(2), tooltips=[odd, odd]), Line("b", NOTHING, NOTHING)], odd)
    assert parsed(figure).get("aria-label") == odd
    assert tooltips(figure) == [odd, odd]
    assert odd in texts(figure)
    for unprintable in ("\x00", "\x1b", "\udce9", "\ufffe"):
        figure = det_curve(f"a{unprintable}b", {unprintable: [(1.0, 0.5)]}, [], None)
        assert parsed(figure).get("aria-label") == "a\N{REPLACEMENT CHARACTER}b"
        assert tooltips(figure) == ["\N{REPLACEMENT CHARACTER}"]


def test_a_picture_has_a_palette_and_the_colors_of_its_levels():
    figure, levels = spectrogram(NOISE).figure, mel_levels(NOISE)
    uri = next(parsed(figure).iter(f"{SVG}image")).get("href")
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as image:
        assert image.mode == "P"
        assert image.size == levels.shape[::-1]
        expected = np.round(255 * colormaps["magma"](levels)[:, :, :3])
        np.testing.assert_allclose(np.asarray(image.convert("RGB")), expected, atol=1)


def test_a_chart_breaks_its_line_at_nan_and_keeps_zero_on_a_logarithmic_axis():
    figure = loss([1.0, 2.0, np.nan, 0.0, 4.0], scale="log")
    (line,) = [one.get("d") for one in shapes(figure, "series-1", "stroke")]
    assert line.count("M") == 2
    assert line.count("L") == 2
    foot = float(line.split("M")[2].split()[1])
    assert foot == pytest.approx(float(line.split("M")[1].split()[1])), "the lowest value and the zero"
    assert "nan" not in line
    assert "inf" not in line


def test_a_chart_of_nothing_of_one_point_and_of_extreme_values_can_be_drawn():
    assert "no data yet" in texts(line_chart((summarize("s", NOTHING, NOTHING),), "t", level=(5.0, "clip")))
    assert "no data yet" in texts(line_chart((), "t"))
    for scale in ("linear", "log", "percent"):
        assert "step" in texts(line_chart((summarize("s", np.ones(1), np.ones(1)),), "t", scale=scale))
        assert "step" in texts(loss([1e-300, 1.7e308], scale=scale))


def test_a_long_line_is_summarized_by_means_within_their_range():
    x = np.arange(10_000.0)
    line = summarize("s", x, np.sin(x))
    assert len(line.x) == 200
    assert line.y[0] == pytest.approx(np.sin(x[:50]).mean())
    assert (line.low <= line.y).all()
    assert (line.y <= line.high).all()


def ticks(axis):
    low, high = axis.get_view_interval()
    return [tick for tick in axis.get_majorticklocs() if low <= tick <= high]


def test_ticks_are_few_and_round_numbers_within_the_range():
    assert ticks(loss([0, 1]).axes[0].yaxis) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    chart = line_chart((Line("s", np.array([0.0, 1900.0]), np.ones(2)),), "t")
    assert ticks(chart.axes[0].xaxis) == [0, 500, 1000, 1500]
    assert "1.5k" in texts(chart)
    assert ticks(loss([0.02, 3], scale="log").axes[0].yaxis) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
    assert ticks(loss([1e-4, 10], scale="log").axes[0].yaxis) == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10])
    assert ticks(loss([3, 90], scale="percent").axes[0].yaxis) == [0, 1, 5, 20, 40, 60, 80]
    assert {"1e-4", "0.1", "10"} <= set(texts(loss([1e-4, 10], scale="log")))


def test_bars_are_as_high_as_their_shares():
    figure = bar_chart(["a", "b"], [("one", [0.25, 0.75]), ("two", [0.5, 0.5])], "Counts", "unit")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0.25, 0.75, 0.5, 0.5]
    assert "a: one 25.0 % · two 50.0 %" in tooltips(figure)
    assert {"one", "two", "unit"} <= set(texts(figure))


def test_a_cell_has_its_count_its_tooltip_and_a_shade_that_is_its_share():
    counts = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    margins = (["75", "100", "-"], ["100", "67", "-"])
    figure = confusion_matrix(counts, ["a", "b", "<c>"], "t", lambda i, j: f"{i} as {j}", margins=margins)
    (right, *_), (wrong,) = shapes(figure, "series-1"), shapes(figure, "wrong")
    assert float(right.get("fill-opacity")) == pytest.approx(0.12 + 0.8 * 0.75)
    assert float(wrong.get("fill-opacity")) == pytest.approx(0.12 + 0.8 * 0.5), "the root of a quarter"
    assert [right.findtext(f"{SVG}title"), wrong.findtext(f"{SVG}title")] == ["0 as 0", "0 as 1"]
    assert texts(figure).count("<c>") == 2
    for shown in ("3", "1", "2", "recall, %", "precision, %", "67"):
        assert shown in texts(figure)
    without = confusion_matrix(counts, ["a", "b", "c"], "t", lambda i, j: "", totals=[8, 2, 0], show_right=False)
    assert "3" not in texts(without)
    assert float(shapes(without, "wrong")[0].get("fill-opacity")) == pytest.approx(
        0.12 + 0.8 * math.sqrt(1 / 8), abs=0.01
    )


def test_the_reliability_diagram_shows_what_each_bin_holds():
    confidences, correct = np.array([0.95, 0.92, 0.55, 0.58]), np.array([True, True, True, False])
    figure = reliability_diagram(reliability(confidences, correct), "t")
    assert tooltips(figure).count("mean confidence 0.935, accuracy 1.000, 2 recordings") == 3
    gaps = [shapes(figure, color, "stroke") for color in ("series-3", "wrong")]
    assert [len(found) for found in gaps] == [1, 1]


def points_of(figure):
    return figure.axes[0].lines[0].get_xydata()


def test_points_on_a_straight_line_of_deviates_are_drawn_on_one():
    normal = [-1.5, -0.5, 0.5, 1.2]
    cdf = [0.5 * math.erfc(-z / math.sqrt(2)) for z in normal]
    per_hour = [3600 * 0.5 * math.erfc((z + 2.5) / math.sqrt(2)) for z in normal]  # deviates -z - 2.5
    x, y = points_of(det_curve("all & one", {}, list(zip(per_hour, cdf, strict=True)), (2.0, 0.1))).T
    np.testing.assert_allclose(np.diff(y) / np.diff(x), -1, rtol=1e-6)


def test_what_lies_outside_the_axes_is_drawn_at_their_ends():
    figure = det_curve("t", {"none": []}, [(0.0, 0.0), (5000.0, 1.0)], None)
    (left, foot), (right, top) = points_of(figure)
    assert (left, right) == pytest.approx(figure.axes[0].get_xlim())
    assert (foot, top) == pytest.approx(figure.axes[0].get_ylim())


def test_the_legend_names_what_is_drawn_and_nothing_else():
    curve = [(1.0, 0.5)]
    assert "each keyword" not in texts(det_curve("t", {}, curve, None))
    full = det_curve("t", {"a <b>": curve}, curve, (1.0, 0.5))
    assert {"all, one threshold", "each keyword", "all, thresholds in use", "missed", "t"} <= set(texts(full))
    assert tooltips(full) == ["a <b>", "1 false alarm per hour, 50 % missed"]


def test_marks_stand_at_their_times_and_two_near_ones_in_two_rows():
    marks = [Mark(0.5, "a", "sub"), Mark(0.52, "b", "ink"), Mark(0.8, "c", "ins")]
    figure = spectrogram(NOISE, marks).figure
    found = [one for one in parsed(figure).iter(f"{SVG}text") if one.text in ("a", "b", "c")]
    assert [(float(one.get("x")), one.get("fill")) for one in found] == [
        (200, LIGHT["sub"]), (208, LIGHT["ink"]), (320, LIGHT["ins"]),
    ]  # fmt: skip
    heights = [float(one.get("y")) for one in found]
    assert heights[1] < heights[0] == heights[2]
    assert tooltips(figure) == ["0.50 s", "0.52 s", "0.80 s"]


def test_an_anomalous_segment_spans_the_score_and_the_spectrogram():
    figure = every_chart()[-1]
    assert figure.get_label() == "t: 1 anomalous segment in 2 seconds"
    assert tooltips(figure) == ["1.0 to 2.0 s: 3.00"] * 2
    np.testing.assert_array_equal(points_of(figure), [[0.5, 1.0], [1.5, 3.0]])
    assert {"score", "threshold", "time (s)"} <= set(texts(figure))
