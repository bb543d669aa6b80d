#!/usr/bin/env bash
# 382 chorales of Bach in four voices: models that continue them, and one that fills in missing voices and bars.
# Trains on 229, chooses on 76, scores on 77; writes new pieces, continues, harmonises and rewrites what it never saw.

models="chorales fill quarter quarter_transposed" # models to train and score; each has conf/<model>.yaml
corpus="corpus"     # folder with Jsb16thSeparated.json and jsb-chorales-quarter.json
data=data           # folder of the sets of pieces
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training, such as "train.epochs=3 model.recurrent.hidden=64"
samples=16          # pieces of each kind to write
bars=16             # bars of a new piece
sweeps=100          # times that the filling model draws its notes
report_args=""      # for the report, such as "--no-sound --players 4"
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == corpus ]] || corpus=$(from_caller "$corpus")

record=(--command "$recipe_command" --results "$exp/results.jsonl" --results-md "$results")

# The sets of a model: those of quarter notes have their own order and keys.
sets_of() {
  if [[ $1 == quarter* ]]; then echo "$data/quarter"; else echo "$data"; fi
}

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
    # shellcheck disable=SC2086  # a list of settings
    recitative music train --conf "conf/$model.yaml" --output "$exp/$model" \
      --train "$(sets_of "$model")/train" --dev "$(sets_of "$model")/valid" $train_args
  done
fi

write() { # kind of piece, files and options: $samples pieces, or one for each file
  rm -rf "$exp/$model/samples/$1"
  recitative generate music "${@:2}" --model "$exp/$model/model" --output "$exp/$model/samples/$1" --no-sound
}

if stage 7 "sample" needs "$exp/@/model" "$data/test" "$data/openings" "$data/melodies" makes "$exp/@/samples"; then
  for model in $models; do
    mkdir -p "$exp/$model/samples"
    case $model in # the models of quarter notes are there for their likelihoods
      chorales)
        write new --bars "$bars" --count "$samples"
        openings=("$data"/openings/*.mid)
        write continued "${openings[@]:0:samples}" --bars "$bars" ;;
      fill)
        melodies=("$data"/melodies/*.mid) tests=("$data"/test/*.mid)
        write harmonised "${melodies[@]:0:samples}" --harmonise soprano --sweeps "$sweeps"
        write rewritten "${tests[@]:0:samples}" --rewrite alto,tenor --sweeps "$sweeps" ;;
    esac
  done
fi

likelihood() { # model folder or file, what it is called in the table
  recitative music score "$1" "$(sets_of "$model")/test" --model "$model" --set test --decoding "$2" "${record[@]}"
}

kept() { # kind of piece, what was given
  recitative music kept "$exp/$model/samples/$1" --conf "$exp/$model/model/settings.yaml" "${@:2}" --model "$model" \
    --set samples --decoding "$1" "${record[@]}"
}

if stage 8 "score" needs "$exp/@/model" "$exp/@/samples" "$data/test" "$data/quarter" makes "$exp/results.jsonl"; then
  for model in $models; do
    [[ $model == fill* ]] || likelihood "$exp/$model/model" "teacher forcing" # one that fills in has none of a whole
    case $model in
      chorales)
        kept new
        kept continued --given "$data/openings" ;;
      fill)
        kept harmonised --given "$data/melodies"
        kept rewritten --given "$data/test" --voices soprano,bass ;;
    esac
  done
fi

if stage 10 "export" needs "$exp/@/model" "$data/test" "$data/quarter" makes "$exp/@/model.onnx" "$exp/@/model_int8.onnx"; then
  for model in $models; do # the files that users run are scored too
    recitative music export "$exp/$model/model" --notes local/model_notes.md --output "$exp/$model/model.onnx"
    recitative music export "$exp/$model/model" --notes local/model_notes.md --int8 --output "$exp/$model/model_int8.onnx"
    [[ $model != fill* ]] || continue
    likelihood "$exp/$model/model.onnx" "teacher forcing, model.onnx"
    likelihood "$exp/$model/model_int8.onnx" "teacher forcing, model_int8.onnx"
  done
fi

if stage 11 "report" needs "$exp/@/samples" "$data/train"; then # copies are looked for in what the models learned from
  for kind in "$exp"/*/samples/*/; do
    model=$(basename "${kind%/samples/*}")
    # shellcheck disable=SC2086  # a list of options
    recitative music report "$kind" --originals "$data/train" $report_args --model "$model" --set samples \
      --decoding "$(basename "$kind") beside the training set" "${record[@]}"
  done
fi

if stage 12 "speed" needs "$exp/@/model_int8.onnx"; then
  for model in $models; do
    recitative music speed "$exp/$model/model_int8.onnx" --bars "$bars" --sweeps "$sweeps" --model "$model" \
      --set samples --decoding "new, model_int8.onnx, one thread" "${record[@]}"
  done
fi
