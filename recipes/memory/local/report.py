"""Draw what local/memory.py measured, and add it to the results.

python3 local/report.py exp/*/memory.json --figure memory.svg --results exp/results.jsonl --results-md RESULTS.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from recitative.cli.options import Record
from recitative.report.figure import DASHES, LIGHT, new_figure, save_figure, style
from recitative.score.results import Measurement

CHANCE, ALWAYS_ONE = 1 / 8, 1 / 6
TITLES = {
    "recall": "recall: share right",
    "adding": "adding: squared error",
    "before": "gradient norm, untrained",
    "after": "gradient norm, trained on adding",
}


@style()
def draw(cells: list[dict[str, Any]]) -> Any:
    """Scores over distance, and gradient norms over the steps back from the end, of each cell."""
    figure = new_figure(860, 560, "How far back recurrent cells remember, and how gradients flow through time")
    axes = dict(zip(TITLES, figure.subplots(2, 2).flat, strict=True))
    for number, cell in enumerate(cells, start=1):
        color = LIGHT[f"series-{number}"]
        for task in ("recall", "adding"):
            runs = [run for run in cell["runs"] if run["task"] == task and not run["truncate"]]
            distances, scores = [run["distance"] for run in runs], [run["score"] for run in runs]
            axes[task].plot(distances, scores, "o-", color=color, label=cell["cell"])
        for when, norms in cell["gradients"].items():
            axes[when].semilogy(range(len(norms)), norms[::-1], color=color)
    axes["recall"].axhline(CHANCE, color=LIGHT["muted"], linestyle=DASHES, linewidth=1)
    axes["adding"].axhline(ALWAYS_ONE, color=LIGHT["muted"], linestyle=DASHES, linewidth=1)
    for name, ax in axes.items():
        ax.set_title(TITLES[name])
        ax.set_xlabel("length T of the sequence" if name in ("recall", "adding") else "steps before the end")
    for when in ("before", "after"):
        axes[when].set_ylim(1e-12, 1e-2)
        axes[when].yaxis.set_major_formatter(lambda y, _: f"{y:.0e}")
    figure.legend(*axes["recall"].get_legend_handles_labels(), loc="outside upper right", ncols=len(cells))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="written by local/memory.py, one per cell")
    parser.add_argument("--figure", type=Path, required=True, help="SVG or PNG to write")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines file of results")
    parser.add_argument("--results-md", type=Path, required=True, help="Markdown table of results")
    parser.add_argument("--command", default="-", help="command to record in the results")
    arguments = parser.parse_args()
    cells = [json.loads(path.read_text()) for path in arguments.files]
    for cell in cells:
        for run in cell["runs"]:
            truncated = f", gradients through {run['truncate']} steps" if run["truncate"] else ""
            record = Record(arguments.results, arguments.results_md, cell["cell"], run["task"],
                            f"T = {run['distance']}{truncated}", arguments.command)  # fmt: skip
            if run["task"] == "recall":
                record.write([Measurement("% right", 100 * run["score"], f"{round(1000 * run['score'])} / 1000")])
            else:
                record.write([Measurement("squared error", run["score"], "1000 sequences")])
    save_figure(draw(cells), arguments.figure)


if __name__ == "__main__":
    main()
