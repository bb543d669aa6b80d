#!/usr/bin/env bash
# Folk tunes with chords, from any folder of ABC or MIDI files, such as the Nottingham Music Database.
# Trains a recurrent model of events, continues the openings of test tunes, and writes new tunes.

models="folk"      # models to train and score; each has conf/<model>.yaml
corpus="corpus"    # folder of .abc, .mid or .midi files, with subfolders
data=data          # folder of the sets of pieces
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
samples=100        # new pieces to write
continued=20       # openings to continue
bars=64            # maximum of new bars of four quarters; most tunes end before
sample_args=""     # options of sampling, such as "--temperature 0.9 --key G"
report_args=""     # options of the report, such as "--no-sound --players 4"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == corpus ]] || corpus=$(from_caller "$corpus")

record=(--command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results")

if stage 1 "prepare" needs "$corpus" makes "$data/train" "$data/valid" "$data/test" "$data/openings"; then
  python3 local/prepare.py --corpus "$corpus" --output "$data"
fi

if stage 2 "check" needs "$data/train" "$data/valid" "$data/test"; then
  for model in $models; do
    recitative music check "$data/train" "$data/valid" "$data/test" --conf "conf/$model.yaml"
  done
fi

if stage 5 "train" needs "$data/train" "$data/valid" makes "$exp/@/model"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train "conf/$model.yaml" --train "$data/train" --dev "$data/valid" \
      --output "$exp/$model" $train_args
  done
fi

write() { # kind of piece, files and options
  rm -rf "$exp/$model/samples/$1"
  # shellcheck disable=SC2086  # a list of options
  recitative generate music "${@:2}" --model "$exp/$model/model" --bars "$bars" --no-sound \
    --output "$exp/$model/samples/$1" $sample_args
}

if stage 7 "sample" needs "$exp/@/model" "$data/openings" makes "$exp/@/samples"; then
  openings=("$data"/openings/*.mid)
  for model in $models; do
    write new --count "$samples"
    [[ ! -e ${openings[0]} ]] || write continued "${openings[@]:0:continued}"
  done
fi

compare() { # folder of pieces, model, set, decoding: compare with the training set
  recitative report "$1" --originals "$data/train" --steps-per-quarter 12 --json --model "$2" --set "$3" \
    --decoding "$4" "${record[@]}" >/dev/null
}

if stage 8 "score" needs "$exp/@/model" "$exp/@/samples" "$data/train" "$data/test" makes "$exp/results.jsonl"; then
  compare "$data/test" "-" test "unseen tunes compared with the training set" # the distances to aim for
  for model in $models; do
    recitative score "$exp/$model/model" "$data/test" --model "$model" --set test --decoding "teacher forcing" \
      "${record[@]}"
    for kind in "$exp/$model"/samples/*/; do
      compare "$kind" "$model" samples "$(basename "$kind") compared with the training set"
    done
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/test" makes "$exp/@/model.onnx" "$exp/@/model_int8.onnx"; then
  for model in $models; do # score the exported files too
    recitative export "$exp/$model/model" --output "$exp/$model/model.onnx"
    recitative export "$exp/$model/model" --weights int8 --output "$exp/$model/model_int8.onnx"
    for file in model model_int8; do
      recitative score "$exp/$model/$file.onnx" "$data/test" --model "$model" --set test \
        --decoding "teacher forcing, $file.onnx" "${record[@]}"
    done
  done
fi

if stage 11 "report" needs "$exp/@/samples" "$data/train"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of options
    recitative report "$exp/$model/samples/new" --originals "$data/train" --output "$exp/$model/report.html" \
      --steps-per-quarter 12 $report_args
  done
fi
