# What the stages of ../run.sh have in common; they set $model.
# shellcheck shell=bash disable=SC2154 # the variables are those of run.sh

# The sets of a model: those of quarter notes have their own order and keys.
sets_of() {
  if [[ $1 == quarter* ]]; then echo "$data/quarter"; else echo "$data"; fi
}

# Of a model trained with other random numbers.
folder_of() { if [[ $1 == 1 ]]; then echo "$exp/$model"; else echo "$exp/$model/$1"; fi; }

write() { # kind of piece, files and options: $samples pieces, or one for each file
  rm -rf "$exp/$model/samples/$1"
  recitative generate music "${@:2}" --model "$exp/$model/model" --output "$exp/$model/samples/$1" --no-sound
}

likelihood() { # what it is called in the table, model folder or file, options
  recitative music score "$2" "$(sets_of "$model")/test" "${@:3}" --model "$model" --set test --decoding "$1" \
    "${record[@]}"
}

kept() { # kind of piece, what was given
  recitative music kept "$exp/$model/samples/$1" --conf "$exp/$model/model/settings.yaml" "${@:2}" --model "$model" \
    --set samples --decoding "$1" "${record[@]}"
}
