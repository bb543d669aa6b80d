"""Add the mean accuracy over the folds of a model to the results. Other recipes with folds use it too.

    python3 local/mean.py exp/official/voices --model official --set "one speaker left out" \
      --results exp/results.jsonl --results-md RESULTS.md

Reads FOLDER/*/score.json, or --scores, written by 'recitative score --json'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recitative.classification.classifier import ClassifierSettings
from recitative.cli.options import Record
from recitative.config import load_tree
from recitative.score.results import Measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the folds")
    parser.add_argument("--model", required=True, help="name of the model in the results")
    parser.add_argument("--set", required=True, help="name of the folds in the results")
    parser.add_argument("--scores", default="score.json", help="file of each fold (default: %(default)s)")
    parser.add_argument(
        "--decoding", default="mean of the folds", help="name of the measurement in the results (default: %(default)s)"
    )
    parser.add_argument("--command", default="-", help="command to record in the results")
    parser.add_argument("--results", type=Path, required=True, help="JSON Lines file of results")
    parser.add_argument("--results-md", type=Path, required=True, help="Markdown table of results")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob(f"*/{arguments.scores}"))
    scores = {path.parent.name: json.loads(path.read_text()) for path in paths}
    for name, score in scores.items():
        print(f"{name}: {score['accuracy']:.2%} ({score['correct']} / {score['recordings']})")
    mean = sum(score["accuracy"] for score in scores.values()) / len(scores)
    correct, total = (sum(score[part] for score in scores.values()) for part in ("correct", "recordings"))
    counts = f"{len(scores)} folds, {correct} / {total}"
    print(f"mean accuracy {mean:.2%} ({counts})")
    record = Record(
        arguments.results, arguments.results_md, arguments.model, arguments.set, arguments.decoding, arguments.command
    )
    settings = load_tree(ClassifierSettings, paths[0].parent / "model" / "settings.yaml")
    record.write([Measurement("% accuracy", round(100 * mean, 4), counts)], settings)


if __name__ == "__main__":
    main()
