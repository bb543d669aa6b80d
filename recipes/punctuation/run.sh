#!/usr/bin/env bash
# Punctuation and case of English text, learned from books: a streaming LSTM with a look-ahead of a few words.

models="lstm"      # models to train and score; each has conf/<model>.yaml
text=""            # folders of books as .txt files, separated by spaces; default: corpus
apart_from=""      # data directories; books that they were read from, and passages like theirs, are left out
every=1            # use only every N-th passage for training
data=data          # folder of the text
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
folders=() apart=()
for folder in $text; do folders+=("$(from_caller "$folder")"); done
[[ $text ]] || folders=(corpus)
for folder in $apart_from; do apart+=("$(from_caller "$folder")"); done

record=(--command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results")

if stage 1 "prepare" needs "${folders[@]}" "${apart[@]}" makes "$data/train.txt" "$data/dev.txt" "$data/test.txt"; then
  python3 local/prepare.py "${folders[@]/#/--text=}" --apart-from "${apart[@]}" --every "$every" --output "$data"
fi

if stage 5 "train" needs "$data/train.txt" "$data/dev.txt" makes "$exp/@/model"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train "conf/$model.yaml" --train "$data/train.txt" --dev "$data/dev.txt" --output "$exp/$model" $train_args
  done
fi

if stage 8 "score" needs "$exp/@/model" "$data/test.txt" makes "$exp/results.jsonl"; then
  for model in $models; do
    recitative score "$exp/$model/model" "$data/test.txt" --model "$model" --set test --decoding "passages" "${record[@]}"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/test.txt" makes "$exp/@/model.onnx"; then
  for model in $models; do # score the exported file too
    recitative export "$exp/$model/model" --weights int8 --notes local/model_notes.md --output "$exp/$model/model.onnx"
    recitative score "$exp/$model/model.onnx" "$data/test.txt" --model "$model" --set test --decoding "passages, model.onnx" \
      "${record[@]}"
  done
fi
