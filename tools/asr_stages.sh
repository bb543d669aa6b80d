# shellcheck shell=bash disable=SC2034,SC2154  # variables shared with the recipe
# Stages that speech recognition recipes share. A run.sh sources this file after tools/stages.sh, overrides the variables
# below where necessary, and runs the shared stages by number between its own:
#
#   . ../../tools/asr_stages.sh
#   lm_order=2
#   if stage 1 "prepare" makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then ...; fi
#   shared_stages 2 3 4 5 6 7 8 9 10 11
#
# They use the recipe's variables models, data, exp, results, train_args, chunk_ms, num_gpus and num_nodes, and the optional
# teacher and init.
conf=conf                                 # folder with <model>.yaml
sets=("$data/train" "$data/dev" "$data/test") # data directories to check
dev=$data/dev                             # data directory that selects epochs, decoding weights and int8
test_sets="test"                          # names of the sets to score, each in $data/<set>
tokens=$data/tokens.txt                   # token table
lexicon=""                                # lexicon of train and dev, for tokens that are phones
lm=$data/lm.arpa                          # n-gram language model to store in the models
lm_order=3                                # order of the n-gram
lm_lexicon=""                             # lexicon of the language model, if it has other words
lm_args=()                                # further options of 'recitative lm train'
rnnlm=""                                  # recurrent language model for an additional decoding
search=beam                               # name of the search in the results
shards=false                              # pack the recordings of train into shards
students="student*"                       # pattern of models to distill from $teacher
streaming="@(lstm|student)*"              # pattern of models that stream
check_args=()                             # options of 'recitative check'
average_args=()                           # options of 'recitative average'
time_words=false                          # compare word times with an alignment by the first model
score_exported=false                      # decode and score the exported file too

shared_stages() { # numbers
  local number
  for number; do "_stage_$number"; done
}

_stage_2() {
  if stage 2 "check" needs "${sets[@]}" "$tokens" "$conf/@.yaml" ${lexicon:+"$lexicon"}; then
    for set in "${sets[@]}"; do
      recitative check "$set" --conf "$conf/${models%% *}.yaml" --tokens "$tokens" ${lexicon:+--lexicon "$lexicon"} \
        "${check_args[@]}"
    done
  fi
}

_stage_3() {
  local packed=() && [[ $shards == false ]] || packed=("$data/train_shards/index.safetensors")
  if stage 3 "features" needs "$data/train" "$conf/@.yaml" makes "$data/cmvn" "${packed[@]}"; then
    # Features are computed during training; only their statistics are stored.
    recitative cmvn "$data/train" --conf "$conf/${models%% *}.yaml" --output "$data/cmvn"
    [[ $shards == false ]] || recitative shards "$data/train" "$data/train_shards"
  fi
}

_stage_4() {
  if stage 4 "language model" needs "$data/train" "$dev" ${lexicon:+"$lexicon"} makes "$lm" ${rnnlm:+"$rnnlm"}; then
    recitative lm train "$data/train" --order "$lm_order" ${lexicon:+--vocab "$lexicon"} --dev "$dev" \
      "${lm_args[@]}" --output "$lm"
    if [[ -n $rnnlm ]]; then
      recitative train kind=language_model text.unit=word --train "$data/train" --dev "$dev" --output "${rnnlm%/model}"
      recitative lm perplexity "$rnnlm" "$dev"
    fi
  fi
}

_stage_5() {
  local train=$data/train && [[ $shards == false ]] || train=$data/train_shards
  local index=$train && [[ $shards == false ]] || index=$train/index.safetensors
  if stage 5 "train" needs "$index" "$dev" "$tokens" "$data/cmvn" "$conf/@.yaml" ${lexicon:+"$lexicon"} \
    makes "$exp/@/checkpoint" "$exp/@/summary.json"; then
    for model in $models; do
      distillation=()
      # shellcheck disable=SC2053  # a pattern
      [[ -z ${teacher-} || $model == "$teacher" || $model != $students ]] || distillation=(--teacher "$exp/$teacher/model")
      # shellcheck disable=SC2086  # a list of settings
      on_workers train "$conf/$model.yaml" --train "$train" --dev "$dev" --tokens "$tokens" \
        ${lexicon:+--lexicon "$lexicon"} --cmvn "$data/cmvn" --output "$exp/$model" "${distillation[@]}" \
        ${init:+--init "$init"} $train_args
      [[ $model != "${teacher-}" ]] || recitative average "$exp/$model" "${average_args[@]}" # before distillation
    done
  fi
}

_stage_6() {
  if stage 6 "average" needs "$exp/@/checkpoint" "$dev" "$lm" ${lm_lexicon:+"$lm_lexicon"} makes "$exp/@/model"; then
    for model in $models; do # store the language model and its weight in the model
      recitative average "$exp/$model" "${average_args[@]}"
      recitative tune "$exp/$model/model" "$dev" --lm "$lm" ${lm_lexicon:+--lexicon "$lm_lexicon"}
    done
  fi
}

_stage_7() {
  if stage 7 "decode" needs "$exp/@/model" ${rnnlm:+"$rnnlm"} "$data/%" \
    makes "$exp/@/decode_%/text" "$exp/@/decode_%_without_lm/text" ${rnnlm:+"$exp/@/decode_%_rnnlm/text"}; then
    for model in $models; do
      for set in $test_sets; do
        recitative decode "$exp/$model/model" "$data/$set" --lm none --output "$exp/$model/decode_${set}_without_lm"
        recitative decode "$exp/$model/model" "$data/$set" --output "$exp/$model/decode_$set"
        [[ -z $rnnlm ]] ||
          recitative decode "$exp/$model/model" "$data/$set" --lm "$rnnlm" --output "$exp/$model/decode_${set}_rnnlm"
      done
    done
  fi
}

# Add the scores of $model on $set to the results.
score_text() { # decoding, folder of the text, further options
  local timed=() && [[ ! -e $2/summary.json ]] || timed=(--seconds "$(json_number seconds "$2/summary.json")")
  recitative score "$data/$set" "$2/text" --output "$2/score" --model "$model" --set "$set" --decoding "$1" \
    --settings "$exp/$model/model/settings.yaml" "${timed[@]}" --command "$recipe_command" \
    --results "$exp/results.jsonl" --results-md "$results" "${@:3}"
}

_stage_8() {
  if stage 8 "score" needs "$exp/@/decode_%/text" "$exp/@/decode_%_without_lm/text" \
    ${rnnlm:+"$exp/@/decode_%_rnnlm/text"} "$exp/@/summary.json" makes "$exp/@/decode_%/score" "$exp/results.jsonl"; then
    for set in $test_sets; do
      aligned=() && [[ $time_words == false ]] || aligned=(--aligned "$exp/align_$set/alignment.jsonl")
      [[ $time_words == false ]] ||
        recitative align "$exp/${models%% *}/model" "$data/$set" --format json --output "$exp/align_$set"
      for model in $models; do
        score_text "$search" "$exp/$model/decode_${set}_without_lm" \
          --train-seconds "$(json_number seconds "$exp/$model/summary.json")"
        score_text "$search, $lm_order-gram" "$exp/$model/decode_$set" --words "$exp/$model/decode_$set/words.jsonl" \
          "${aligned[@]}"
        [[ -z $rnnlm ]] || score_text "$search, LSTM" "$exp/$model/decode_${set}_rnnlm"
      done
    done
  fi
}

_stage_9() {
  if stage 9 "stream" needs "$exp/@/model" "$exp/@/decode_%/text"; then
    for model in $models; do
      # shellcheck disable=SC2053  # a pattern
      [[ $model == $streaming ]] || continue
      for set in $test_sets; do
        recitative decode "$exp/$model/model" "$data/$set" --output "$exp/$model/stream_$set" --chunk-ms "$chunk_ms"
        cmp "$exp/$model/decode_$set/text" "$exp/$model/stream_$set/text"
      done
      echo "$model: the text from chunks of $chunk_ms ms equals the text of whole recordings"
    done
  fi
}

_stage_10() {
  local scored="" && [[ $score_exported == false ]] || scored=true
  if stage 10 "export" needs "$exp/@/model" "$dev" ${scored:+"$data/%"} \
    makes "$exp/@/model.onnx" ${scored:+"$exp/results.jsonl"}; then
    notes=() && [[ ! -e local/model_notes.md ]] || notes=(--notes local/model_notes.md)
    for model in $models; do
      recitative export "$exp/$model/model" --dev "$dev" "${notes[@]}" --output "$exp/$model/model.onnx"
      [[ -n $scored ]] || continue
      for set in $test_sets; do # the exported file, which may be int8
        recitative decode "$exp/$model/model.onnx" "$data/$set" --output "$exp/$model/runtime_$set"
        score_text "$search, $lm_order-gram, model.onnx" "$exp/$model/runtime_$set"
      done
    done
  fi
}

_stage_11() {
  if stage 11 "report" needs "$exp/@/checkpoint"; then
    for model in $models; do recitative report "$exp/$model"; done
  fi
}
