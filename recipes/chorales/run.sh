#!/usr/bin/env bash
# 382 four-part chorales by Bach: models that continue music, and one that fills in missing voices and bars.
# Trains on 229, selects on 76, scores on 77; writes new pieces, and continues, harmonizes and rewrites test pieces.

models="chorales fill quarter quarter_transposed" # models to train and score; each has conf/<model>.yaml
corpus="corpus"     # folder with Jsb16thSeparated.json and jsb-chorales-quarter.json
data=data           # folder of the sets of pieces
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
members=3           # models with different seeds of each kind that continues music; their mean is scored too
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
samples=16          # pieces of each kind to write
bars=16             # bars of a new piece
sweeps=100          # Gibbs steps of the model that fills in
report_args=""      # options of the report, such as "--no-sound --players 4"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == corpus ]] || corpus=$(from_caller "$corpus")

record=(--command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results")
# shellcheck source=recipes/chorales/local/functions.sh
. local/functions.sh

if stage 1 "prepare" needs "$corpus/Jsb16thSeparated.json" "$corpus/jsb-chorales-quarter.json" \
  makes "$data/train" "$data/valid" "$data/test" "$data/quarter" "$data/openings" "$data/melodies"; then
  python3 local/prepare.py --corpus "$corpus" --output "$data"
fi

if stage 2 "check" needs "$data/train" "$data/valid" "$data/test" "$data/quarter"; then
  for model in $models; do
    sets=$(sets_of "$model")
    recitative music check "$sets/train" "$sets/valid" "$sets/test" --conf "conf/$model.yaml"
  done
fi

if stage 5 "train" needs "$data/train" "$data/valid" "$data/quarter" makes "$exp/@/model"; then
  for model in $models; do
    for member in $(seq "$members"); do
      [[ $member == 1 || $model != fill* ]] || continue
      # shellcheck disable=SC2086  # a list of settings
      recitative train "conf/$model.yaml" --output "$(folder_of "$member")" train.seed="$member" \
        --train "$(sets_of "$model")/train" --dev "$(sets_of "$model")/valid" $train_args
    done
  done
fi

if stage 7 "sample" needs "$exp/@/model" "$data/test" "$data/openings" "$data/melodies" makes "$exp/@/samples"; then
  for model in $models; do
    mkdir -p "$exp/$model/samples"
    case $model in # the models of quarter notes only have likelihoods
      chorales)
        write new --bars "$bars" --count "$samples"
        openings=("$data"/openings/*.mid)
        write continued "${openings[@]:0:samples}" --bars "$bars" ;;
      fill)
        melodies=("$data"/melodies/*.mid) tests=("$data"/test/*.mid)
        write harmonized "${melodies[@]:0:samples}" --harmonize soprano --gibbs-steps "$sweeps"
        write rewritten "${tests[@]:0:samples}" --rewrite alto,tenor --gibbs-steps "$sweeps" ;;
    esac
  done
fi

if stage 8 "score" needs "$exp/@/model" "$exp/@/samples" "$data/test" "$data/quarter" makes "$exp/results.jsonl"; then
  for model in $models; do
    if [[ $model != fill* ]]; then # a model that fills in has no likelihood of a whole piece
      likelihood "teacher forcing" "$exp/$model/model"
      others=() && for other in $(seq 2 "$members"); do others+=(--with "$(folder_of "$other")/model"); done
      [[ $members == 1 ]] || likelihood "teacher forcing, mean of $members models" "$exp/$model/model" "${others[@]}"
    fi
    case $model in
      chorales)
        kept new
        kept continued --given "$data/openings" ;;
      fill)
        kept harmonized --given "$data/melodies"
        kept rewritten --given "$data/test" --voices soprano,bass ;;
    esac
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/test" "$data/quarter" makes "$exp/@/model.onnx" "$exp/@/model_int8.onnx"; then
  for model in $models; do # score the exported files too
    recitative export "$exp/$model/model" --notes local/model_notes.md --output "$exp/$model/model.onnx"
    recitative export "$exp/$model/model" --notes local/model_notes.md --weights int8 --output "$exp/$model/model_int8.onnx"
    [[ $model != fill* ]] || continue
    for file in model.onnx model_int8.onnx; do likelihood "teacher forcing, $file" "$exp/$model/$file"; done
  done
fi

if stage 11 "report" needs "$exp/@/samples" "$data/train"; then # copies are searched in the training set
  for kind in "$exp"/*/samples/*/; do
    model=$(basename "${kind%/samples/*}")
    # shellcheck disable=SC2086  # a list of options
    recitative report "$kind" --originals "$data/train" $report_args --model "$model" --set samples \
      --decoding "$(basename "$kind") compared with the training set" "${record[@]}"
  done
fi

if stage 12 "speed" needs "$exp/@/model_int8.onnx"; then
  for model in $models; do
    python3 ../../tools/bench_models.py "$exp/$model/model_int8.onnx" --bars "$bars" --gibbs-steps "$sweeps" --model "$model" \
      --set samples --decoding "new, model_int8.onnx, one thread" "${record[@]}"
  done
fi
