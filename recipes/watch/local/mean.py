"""Add the mean area under the ROC curve over all kinds of sound to the results.

    python3 local/mean.py exp/usual --model usual --results exp/results.jsonl --results-md RESULTS.md

Reads FOLDER/KIND/score.json, written by 'recitative score --json'.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from recitative.anomaly.detector import AnomalySettings
from recitative.cli.options import Record
from recitative.config import load_tree
from recitative.score.results import Measurement

SCORES = ("ratio", "nll", "gaussian", "mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with a folder for each kind")
    parser.add_argument("--model", required=True, help="name of the model in the results")
    parser.add_argument("--command", default="-", help="command to record in the results")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines file of results")
    parser.add_argument("--results-md", type=Path, required=True, help="Markdown table of results")
    arguments = parser.parse_args()
    scores = {path.parent.name: json.loads(path.read_text()) for path in sorted(arguments.folder.glob("*/score.json"))}
    settings = load_tree(AnomalySettings, arguments.folder / next(iter(scores)) / "model" / "settings.yaml")
    record = Record(arguments.results, arguments.results_md, arguments.model, "mean", "-", arguments.command)
    for how in SCORES:
        areas = [score[how] for score in scores.values()]
        mean = sum(areas) / len(areas)
        counts = f"{len(areas)} kinds, {min(areas):.2f} to {max(areas):.2f}"
        print(f"{arguments.model}: {how:<8} mean AUC {mean:.3f} ({counts})")
        replace(record, decoding=how).write([Measurement("AUC", round(mean, 6), counts)], settings)


if __name__ == "__main__":
    main()
