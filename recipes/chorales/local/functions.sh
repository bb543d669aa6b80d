# Functions that the stages of ../run.sh share. They use $model.
# shellcheck shell=bash disable=SC2154 # the variables are those of run.sh

# The data of a model: quarter-note models have their own sets.
sets_of() {
  if [[ $1 == quarter* ]]; then echo "$data/quarter"; else echo "$data"; fi
}

# The folder of a member of $model, trained with another seed.
folder_of() { if [[ $1 == 1 ]]; then echo "$exp/$model"; else echo "$exp/$model/$1"; fi; }

write() { # kind of piece, files and options: $samples pieces, or one for each file
  rm -rf "$exp/$model/samples/$1"
  recitative generate music "${@:2}" --model "$exp/$model/model" --output "$exp/$model/samples/$1" --no-sound
}

likelihood() { # name in the results, model folder or file, options
  recitative score "$2" "$(sets_of "$model")/test" "${@:3}" --model "$model" --set test --decoding "$1" \
    "${record[@]}"
}

kept() { # kind of piece, what was given
  recitative music check-constraints "$exp/$model/samples/$1" --conf "$exp/$model/model/settings.yaml" "${@:2}" --model "$model" \
    --set samples --decoding "$1" "${record[@]}"
}
