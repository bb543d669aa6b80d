#!/usr/bin/env bash
# Mozilla's Common Voice in one of its languages: sentences read by volunteers, the official train, dev and test sets.
# Chooses model and schedule by the hours of audio, the speakers and this machine, and trains with CTC on characters.

corpus=""          # folder of an unpacked language, with clips/, train.tsv, dev.tsv and test.tsv; without it data/corpus
models="lstm"      # lstm streams, blstm hears whole recordings first and makes fewer errors; or "lstm blstm"
hours=""           # that training of a model may take; without it as long as the corpus is worth
import_args="--skip-bad" # options for 'recitative data import'; rows left out are named in data/<set>/skipped.txt
data=data          # folder of the data directories
exp=exp            # folder of the experiments
results=RESULTS.md # table that the score stage writes
train_args=""      # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
drop_bad=true      # leave out the utterances that the check finds a problem with, 5 % of a set at most
chunk_ms=160       # length of the pieces in the stream stage
num_gpus=1         # workers on each machine; without GPUs, processes on the CPU
num_nodes=1        # machines that train together
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
corpus=${corpus:+$(from_caller "$corpus")} && corpus=${corpus:-$data/corpus}

if stage 1 "prepare" needs "$corpus/clips" "$corpus/train.tsv" "$corpus/dev.tsv" "$corpus/test.tsv" \
  makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt" "$data/conf/@.yaml"; then
  for set in train dev test; do
    # shellcheck disable=SC2086  # a list of options
    recitative data import "$corpus" "$data/$set" --table "$corpus/$set.tsv" $import_args
  done
  recitative tokens "$data/train" "$data/dev" --output "$data/tokens.txt"
  for model in $models; do
    offline=() && [[ $model != blstm ]] || offline=(--offline)
    recitative suggest "$data/train" --output "$data/conf/$model.yaml" "${offline[@]}" ${hours:+--hours "$hours"}
  done
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$data/tokens.txt" "$data/conf/@.yaml"; then
  drop=() && [[ $drop_bad == false ]] || drop=(--fix --drop-bad)
  for set in train dev; do
    recitative check "$data/$set" --conf "$data/conf/${models%% *}.yaml" --tokens "$data/tokens.txt" "${drop[@]}"
  done
  recitative check "$data/test" --conf "$data/conf/${models%% *}.yaml" "${drop[@]}" # it may have letters that nobody could know
fi

if stage 3 "features" needs "$data/train" "$data/conf/@.yaml" makes "$data/cmvn" "$data/train_shards/index.safetensors"; then
  recitative cmvn "$data/train" --conf "$data/conf/${models%% *}.yaml" --output "$data/cmvn"
  recitative shards "$data/train" "$data/train_shards"
fi

if stage 4 "language model" needs "$data/train" "$data/dev" makes "$data/lm.arpa"; then
  recitative lm train "$data/train" --order 3 --dev "$data/dev" --output "$data/lm.arpa"
fi

if stage 5 "train" needs "$data/train_shards/index.safetensors" "$data/dev" "$data/tokens.txt" "$data/cmvn" "$data/conf/@.yaml" \
  makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    on_workers train --conf "$data/conf/$model.yaml" --train "$data/train_shards" --dev "$data/dev" \
      --tokens "$data/tokens.txt" --cmvn "$data/cmvn" --output "$exp/$model" $train_args
  done
fi

if stage 6 "average" needs "$exp/@/checkpoint" "$data/dev" "$data/lm.arpa" makes "$exp/@/model"; then
  for model in $models; do # the language model and its weight go into the model
    recitative average "$exp/$model"
    recitative tune "$exp/$model/model" "$data/dev" --lm "$data/lm.arpa"
  done
fi

if stage 7 "decode" needs "$exp/@/model" "$data/test" makes "$exp/@/decode_test/text" "$exp/@/decode_test_without_lm/text"; then
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

if stage 8 "score" needs "$exp/@/decode_test/text" "$exp/@/summary.json" makes "$exp/@/decode_test/score" "$exp/results.jsonl"; then
  for model in $models; do
    score_test "beam" "$exp/$model/decode_test_without_lm" --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
    score_test "beam, 3-gram" "$exp/$model/decode_test"
  done
fi

if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_test/text"; then
  for model in $models; do
    [[ $model != blstm ]] || continue # bidirectional: it needs the whole recording
    recitative decode "$exp/$model/model" "$data/test" --output "$exp/$model/stream_test" --chunk-ms "$chunk_ms"
    cmp "$exp/$model/decode_test/text" "$exp/$model/stream_test/text"
    echo "$model: the text in pieces of $chunk_ms ms equals the text of whole recordings"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/dev" makes "$exp/@/model.onnx"; then
  for model in $models; do recitative export "$exp/$model/model" --dev "$data/dev" --output "$exp/$model/model.onnx"; done
fi

if stage 11 "report" needs "$exp/@/checkpoint"; then
  for model in $models; do recitative report "$exp/$model"; done
fi
