#!/usr/bin/env bash
# Speech synthesis of digits: mel frames from a digit and a speaker, and a vocoder that turns them into audio (8 kHz).
# A recognizer trained on the same recordings measures the word error rate of the result.

models="voice"      # models to train, each has conf/<model>.yaml; 'direct' generates samples without mel frames
vocoder=vocoder     # the model that turns mel frames into audio
corpus=data/corpus  # folder of the Free Spoken Digit Dataset, with recordings/
data=data           # folder of the data directories
exp=exp             # folder of the experiments
results=RESULTS.md  # table that the score stage writes
train_args=""       # settings for training the models, such as "train.epochs=3 model.recurrent.hidden=64"
vocoder_args=""     # settings for training the vocoder
judge_args=""       # settings for training the recognizer
subset=0            # use only this many recordings of each digit and speaker, in test too (0: all)
temperature=0.8     # sampling temperature of the vocoder
heat=0.5            # scale of the standard deviation of mel frames in sampling
# shellcheck source=tools/stages.sh
. "$(dirname "$0")/../../tools/stages.sh"
[[ $corpus == data/corpus ]] || corpus=$(from_caller "$corpus")

if stage 1 "prepare" needs "$corpus/recordings" makes "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  python3 local/prepare.py --corpus "$corpus" --output "$data" --subset "$subset"
  recitative tokens "$data/train" --output "$data/tokens.txt"
fi

if stage 2 "check" needs "$data/train" "$data/dev" "$data/test" "$data/tokens.txt"; then
  for set in train dev test; do recitative check "$data/$set" --conf conf/judge.yaml --tokens "$data/tokens.txt"; done
fi

if stage 5 "train" needs "$data/train" "$data/dev" "$data/tokens.txt" makes "$exp/@/model" \
  "$exp/$vocoder/model" "$exp/judge/model"; then
  recitative cmvn "$data/train" --conf conf/judge.yaml --output "$data/cmvn"
  # shellcheck disable=SC2086  # a list of settings
  recitative train conf/judge.yaml --train "$data/train" --dev "$data/dev" --tokens "$data/tokens.txt" \
    --cmvn "$data/cmvn" --output "$exp/judge" $judge_args
  recitative average "$exp/judge"
  recitative lexicon "$data/train" --tokens "$data/tokens.txt" --output "$data/lexicon.txt"
  recitative tune "$exp/judge/model" "$data/dev" --lexicon "$data/lexicon.txt"
  # shellcheck disable=SC2086  # a list of settings
  recitative train "conf/$vocoder.yaml" --train "$data/train" --dev "$data/dev" --output "$exp/$vocoder" \
    $vocoder_args
  for model in $models; do
    # shellcheck disable=SC2086  # a list of settings
    recitative train "conf/$model.yaml" --train "$data/train" --dev "$data/dev" --output "$exp/$model" \
      $train_args
  done
fi

if stage 7 "sample" needs "$exp/@/model" "$exp/$vocoder/model" "$data/test" makes "$exp/@/test/wav.scp"; then
  for model in $models; do # a synthesized recording for each test recording: same text, speaker and length
    frames=() && [[ $model == direct* ]] || frames=(--vocoder "$exp/$vocoder/model" --spectrogram-temperature "$heat")
    recitative generate sound --model "$exp/$model/model" "${frames[@]}" --like "$data/test" \
      --temperature "$temperature" --output "$exp/$model/test"
  done
fi

judged() { # model's name, data directory, folder of the text
  recitative decode "$exp/judge/model" "$2" --output "$3"
  recitative score "$2" "$3/text" --output "$3/score" --model "$1" --set test --decoding "transcribed by the judge" \
    --settings "$exp/${models%% *}/model/settings.yaml" --command "$recipe_command" \
    --results "$exp/results.jsonl" --results-md "$results"
}

if stage 8 "score" needs "$exp/@/test/wav.scp" "$exp/judge/model" "$data/test" makes "$exp/results.jsonl"; then
  judged "recordings" "$data/test" "$exp/recordings"
  for model in $models; do
    judged "$model" "$exp/$model/test" "$exp/$model/text"
    recitative score "$exp/$model/model" "$data/test"
  done
fi

if stage 10 "export" needs "$exp/@/model" "$exp/$vocoder/model" makes "$exp/@/model.onnx" "$exp/$vocoder/model.onnx"; then
  for model in $vocoder $models; do recitative export "$exp/$model/model" --output "$exp/$model/model.onnx"; done
fi

if stage 12 "speed" needs "$exp/$vocoder/model.onnx"; then python3 ../../tools/bench_models.py "$exp/$vocoder/model.onnx"; fi
