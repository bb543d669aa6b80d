#!/usr/bin/env bash
# How far back a simple RNN, a GRU and an LSTM remember, and how gradients flow through time: the experiments behind
# docs/ideas.md. No corpus is needed; every sequence is made when it is used.

models="rnn_tanh gru lstm"  # cells: rnn_tanh, rnn_relu, gru, lstm
distances="5 10 20 40 80"   # lengths of sequences
truncate="5 10 19 20"       # lengths of truncated back-propagation through time, of the LSTM on sequences of 20
steps=1000                  # training steps of each network
exp=exp                     # folder of the experiments
results=RESULTS.md          # table that the score stage writes
figure=../../docs/memory.svg  # figure that the score stage draws
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"

if stage 5 "train" makes "$exp/@/memory.json"; then
  for model in $models; do
    further=()
    # shellcheck disable=SC2206  # a list of numbers
    [[ $model != lstm ]] || further=(--truncate $truncate)
    # shellcheck disable=SC2086  # a list of numbers
    python3 local/memory.py --cell "$model" --distances $distances --steps "$steps" "${further[@]}" \
      --output "$exp/$model/memory.json"
  done
fi

if stage 8 "score" needs "$exp/@/memory.json" makes "$exp/results.jsonl" "$figure"; then
  files=()
  for model in $models; do files+=("$exp/$model/memory.json"); done
  python3 local/report.py "${files[@]}" --figure "$figure" --results "$exp/results.jsonl" --results-md "$results" \
    --command "$recipe_command"
fi
