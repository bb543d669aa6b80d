#!/usr/bin/env bash
# Classification of spoken digits: the Free Spoken Digit Dataset (8 kHz), with its official split and with one speaker left
# out at a time.

models="official"   # models to train; each has conf/<model>.yaml
corpus=data/corpus  # folder of the Free Spoken Digit Dataset, with recordings/
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stages write
synthetic=../digits/corpus # synthetic voices to add to the training of new_voice models ("": none)
sentences=""        # data directories of sentences whose digits are added too: "recipes/an4/data/train recipes/an4/data/dev"
recognizer=""       # recognizer of sentences to compare with: a pretrained one such as en, or an exported file
adapt=""            # settings with which it is adapted to train first, such as train.epochs=8 ("": it is not)
rate=16000          # its sample rate
pause_s=0.3         # added before and after each word, for the recognizer
noise=1e-4          # standard deviation of the noise in that
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
subset=0            # train only on recordings with a lower index; dev and test are complete (0: all)
report_args=""      # options of the report, such as "--errors 50"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")
[[ $synthetic == ../digits/corpus ]] || synthetic=$(from_caller "$synthetic")
[[ ! -e $(from_caller "$recognizer") ]] || recognizer=$(from_caller "$recognizer")
# shellcheck source=tools/classifier_stages.sh
. ../../tools/classifier_stages.sh
check_args=(features.sample_rate=8000) decoding="official split" title="Spoken digits"

if stage 1 "prepare" needs "$corpus/recordings" makes "$data/train" "$data/dev" "$data/test" "$labels" \
  "$data/all" "$data/voices"; then
  python3 ../digits_voice/local/prepare.py --corpus "$corpus" --output "$data" --subset "$subset"
  recitative tokens "$data/train" --unit word --output "$labels"
  recitative data combine "$data/all" "$data/train" "$data/dev" "$data/test"
  recitative data folds "$data/all" "$data/voices" # one speaker left out of each fold
  others=() # sentences of other speakers
  if [[ -n $synthetic ]]; then
    python3 ../digits/local/prepare.py --corpus "$synthetic" --output "$data/synthetic"
    others=("$data/synthetic/train" "$data/synthetic/dev")
  fi
  for folder in $sentences; do others+=("$(from_caller "$folder")"); done
  if ((${#others[@]})); then
    recitative data combine "$data/sentences" "${others[@]}"
    recitative align an4-bidirectional "$data/sentences" --output "$data/aligned" --format ctm
    python3 local/words.py "$data/sentences" "$data/aligned/words.ctm" --only "$data/train" --output "$data/others"
    for fold in "$data"/voices/*; do recitative data combine "$fold/with_others" "$fold/train" "$data/others"; done
  fi
fi

shared_stages 2 5

if [[ -n $recognizer ]] && stage 7 "decode" needs "$data/train" "$data/test"; then
  for set in train test; do
    python3 local/framed.py "$data/$set" "$data/framed/$set" --pause-s "$pause_s" --noise "$noise"
    recitative data import "$data/framed/$set" "$data/spoken/$set" --table "$data/framed/$set/words.csv" \
      --sample-rate "$rate"
  done
  cut -d ' ' -f 2 "$data/spoken/test/text" | sort -u >"$data/words.txt" # the grammar
  name=$(basename "$recognizer") decoded=$recognizer
  if [[ -n $adapt ]]; then
    name="$name, adapted to train" decoded=$exp/adapted.onnx
    # shellcheck disable=SC2086  # a list of settings
    recitative adapt "$data/spoken/train" --base "$recognizer" --mismatches keep --output "$decoded" $adapt
  fi
  recitative decode "$decoded" "$data/spoken/test" --grammar "$data/words.txt" --output "$exp/recognizer"
  recitative score "$data/spoken/test" "$exp/recognizer/text" --output "$exp/recognizer/score" --model "$name" \
    --set test --decoding "grammar of the ten digits" "${record[@]}"
fi

shared_stages 8

if stage 9 "folds" needs "$data/voices" makes "$exp/new_voice"; then
  fold_train=$([[ -n $synthetic$sentences ]] && echo with_others || echo train)
  for fold in "$data"/voices/*; do # each speaker in turn is test
    voice=$exp/new_voice/$(basename "$fold") # a known voice cannot select an epoch for a new one: the last one is used
    # shellcheck disable=SC2086  # a list of settings
    recitative train conf/new_voice.yaml --train "$fold/$fold_train" \
      --output "$voice" $train_args
    recitative score "$voice/model" "$fold/test" --json >"$voice/score.json"
    recitative score "$voice/model" "$fold/test" --all-speeds --json >"$voice/all_speeds.json"
  done
  row=(--model new_voice --set "one speaker left out" "${record[@]}")
  python3 local/mean.py "$exp/new_voice" "${row[@]}"
  python3 local/mean.py "$exp/new_voice" "${row[@]}" --scores all_speeds.json --decoding "mean of the folds, all speeds"
fi

shared_stages 10 11 12
