# shellcheck shell=bash
# Stages of recipes. A run.sh declares its variables, each with a comment that becomes its help text, sources this file,
# and lists its stages:
#
#   models="blstm lstm"  # models to train; each has conf/<model>.yaml
#   . "$(dirname "$0")/../../tools/stages.sh"
#
#   if stage 6 "average" needs exp/@/checkpoint makes exp/@/model; then
#     for model in $models; do recitative average "exp/$model"; done
#   fi
#
# In a path, @ stands for each word of $models and % for each word of $test_sets. A stage runs only if everything it needs
# exists, and fails if something it makes does not exist afterwards. The recipe runs in its own folder. Exit status: 0 done,
# 2 bad usage, 1 something needed is missing, or the status of the command that failed. asr_stages.sh and
# classifier_stages.sh have the stages that several recipes share.
set -Eeuo pipefail

_script=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)/$(basename "${BASH_SOURCE[1]}")
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_caller=$PWD
_mode=run           # run, list, dry-run or help
_first=0 _last=9999 # --stage and --stop-stage
_running=""         # "stage 3 (features)" while that stage is running
_running_number=""
_running_makes=()
_seen=0               # stages selected by --stage and --stop-stage
_failure=""           # location of the command that failed
declare -A _made_by=() # path -> the stage that makes it
_missing=0            # dry run: number of inputs that nothing makes

# from_caller PATH: a path relative to the caller's folder, as an absolute path.
from_caller() {
  case $1 in
    "" | /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$_caller/$1" ;;
  esac
}

# json_number NAME FILE: the number under NAME in a flat JSON file.
json_number() {
  sed -n -E "s/.*\"$1\": *([0-9.eE+-]+).*/\1/p" "$2" | grep . || _die 1 "$2 has no number '$1'"
}

# on_workers ARGUMENT...: run recitative ARGUMENT... on $num_gpus workers on each of $num_nodes machines, with torchrun if
# there are several. Each machine runs the same command; they connect to $MASTER_ADDR:$MASTER_PORT. If a worker dies, all
# restart from the last checkpoint, up to three times.
on_workers() {
  local gpus=${num_gpus:-1} nodes=${num_nodes:-1}
  if ((gpus * nodes == 1)); then
    recitative "$@"
    return
  fi
  local -a meet=(--standalone)
  if ((nodes > 1)); then
    [[ -n ${MASTER_ADDR-} ]] || _die 2 "--num-nodes $nodes: set MASTER_ADDR to the address of one of the machines"
    meet=(--nnodes "$nodes" --rdzv-backend c10d --rdzv-id "$(basename "$(dirname "$_script")")"
      --rdzv-endpoint "$MASTER_ADDR:${MASTER_PORT-29400}")
  fi
  # Each restart needs a new store of addresses: a shared one may still have that of a dead worker.
  TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun "${meet[@]}" --nproc-per-node "$gpus" --max-restarts 3 -m recitative "$@"
}

# stage NUMBER TITLE [needs PATH...] [makes PATH...]: true if the commands that follow are to run.
stage() {
  local number=$1 title=$2 word part=""
  local -a needs=() makes=()
  shift 2
  for word; do
    case $part:$word in
      *:needs | *:makes) part=$word ;;
      needs:*) mapfile -t -O "${#needs[@]}" needs < <(_each "$word") ;;
      makes:*) mapfile -t -O "${#makes[@]}" makes < <(_each "$word") ;;
      *) _usage "stage $number: '$word' must follow 'needs' or 'makes'" ;;
    esac
  done
  _finish_stage
  for word in "${makes[@]}"; do _made_by[$word]=$number; done
  if [[ $_mode == list ]]; then
    _describe
    return 1
  fi
  ((number >= _first && number <= _last)) || return 1
  _seen=$((_seen + 1))
  if [[ $_mode == dry-run ]]; then
    _describe
    word=${BASH_SOURCE[1]} && [[ $word != "$0" ]] || word=$_script
    _print_commands "$word" "${BASH_LINENO[0]}"
    return 1
  fi
  _check_needs
  _start_stage
}

# The next functions share the variables of the stage() that calls them: number, title, needs, makes.
_describe() {
  local path line=""
  printf 'stage %2d  %s\n' "$number" "$title"
  for path in "${needs[@]}"; do
    line+=", $path$(_availability "$path")"
    [[ $_mode == list || -z $(_availability "$path") ]] || _missing=$((_missing + 1))
  done
  [[ -z $line ]] || printf '    needs %s\n' "${line#, }"
  line=$(printf ', %s' "${makes[@]}")
  [[ ${#makes[@]} == 0 ]] || printf '    makes %s\n' "${line#, }"
}

_availability() {
  [[ $_mode == dry-run && ! -e $1 ]] || return 0
  local maker
  maker=$(_maker "$1")
  if [[ -z $maker ]]; then
    echo " (missing)"
  elif ((maker < _first)); then
    echo " (missing: run stage $maker)"
  fi
}

_check_needs() {
  local path maker
  for path in "${needs[@]}"; do
    [[ -e $path ]] && continue
    maker=$(_maker "$path")
    if [[ -n $maker ]]; then
      _die 1 "stage $number needs $path; run stage $maker"
    fi
    _die 1 "stage $number needs $path, which no stage makes; see $(dirname "$_script")/README.md"
  done
}

_start_stage() {
  _find_recitative
  _running="stage $number ($title)" _running_number=$number _running_makes=("${makes[@]}")
  SECONDS=0
  _log "$_running: started"
}

_print_commands() { # script, line of the stage: its commands end at a 'fi' as far to the right as its 'if'
  awk -v from="$2" '
    NR == from { match($0, /^ */); indent = RLENGTH }
    NR >= from && match($0, /^ *fi/) && RLENGTH == indent + 2 { exit }
    body { print "  " substr($0, indent + 1) }
    NR >= from && /; then( +#.*)?$/ { body = 1 }' "$1"
}

# Called when the next stage begins and at the end of the recipe.
_finish_stage() {
  [[ -n $_running ]] || return 0
  local path
  for path in "${_running_makes[@]}"; do
    [[ -e $path ]] || _die 1 "$_running: did not make $path; see the messages above"
  done
  _log "$_running: done in $(_duration)"
  _running=""
}

_maker() {
  local path
  for path in "${!_made_by[@]}"; do
    if [[ $1 == "$path" || $1 == "$path"/* ]]; then
      echo "${_made_by[$path]}"
      return
    fi
  done
}

_each() { # path: one for each model and test set
  local model set path
  for model in $([[ $1 == *@* ]] && echo "${models-}" || echo @); do
    path=${1//@/$model}
    for set in $([[ $1 == *%* ]] && echo "${test_sets-}" || echo %); do printf '%s\n' "${path//%/$set}"; done
  done
}

_find_recitative() {
  command -v recitative >/dev/null || PATH=$_root/.venv/bin:$PATH
  command -v recitative >/dev/null || _die 1 "recitative is not installed; run 'make setup' in $_root"
}

_duration() {
  if ((SECONDS < 60)); then echo "$SECONDS s"; else echo "$((SECONDS / 60)) min $((SECONDS % 60)) s"; fi
}

_log() { printf '[%(%H:%M:%S)T] %s\n' -1 "$1" >&2; }

_die() {
  _running=""
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

_usage() { _die 2 "$1"; }

# The variables that run.sh declares before it sources this file, as "name<TAB>help".
_declarations() {
  awk '/stages\.sh/ && !/^#/ { exit }
       /^[a-z][a-z0-9_]*=/ {
         name = $0; sub(/=.*/, "", name)
         help = $0; if (!sub(/^.*[ \t]# /, "", help)) help = ""
         print name "\t" help
       }' "$_script"
}

_help() {
  local name _about
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$_script"
  printf '\nusage: %s [options]\n' "${_script#"$_root"/}"
  printf '  --%-22s %s\n' "stage N" "start with this stage (default: the first)" "stop-stage N" "end with this stage (default: the last)" \
    "list" "list the stages with their inputs and outputs" "dry-run" "print the commands without running them" "help" "print this help"
  while IFS=$'\t' read -r name _about; do
    printf '  --%-22s %s (default: %s)\n' "${name//_/-} VALUE" "$_about" "${!name:-none}"
  done < <(_declarations)
}

_set_variable() {
  local name=${1//-/_} value=$2
  if [[ -z ${_declared[$name]+x} ]]; then
    _usage "unknown option --$1; known: --stage --stop-stage --list --dry-run --help$(_known_options)"
  fi
  if [[ ${!name} == true || ${!name} == false ]] && [[ $value != true && $value != false ]]; then
    _usage "--$1 $value: must be true or false"
  fi
  printf -v "$name" '%s' "$value"
}

_known_options() {
  local name
  while IFS=$'\t' read -r name _; do printf ' --%s' "${name//_/-}"; done < <(_declarations)
}

_number() {
  [[ $2 =~ ^[0-9]{1,4}$ ]] || _usage "--$1 $2: must be a stage number; --list shows them"
  echo $((10#$2))
}

_parse_options() {
  local name value
  while (($# > 0)); do
    [[ $1 == --?* ]] || _usage "unexpected '$1'; options are written --name value"
    name=${1#--}
    shift
    case $name in
      list | dry-run | help) _mode=$name && continue ;;
      *=*) value=${name#*=} name=${name%%=*} ;;
      *)
        [[ -n ${_declared[${name//-/_}]+x} || $name == stage || $name == stop-stage ]] || _set_variable "$name" ""
        (($# > 0)) || _usage "--$name needs a value"
        value=$1
        shift
        ;;
    esac
    case $name in
      stage) _first=$(_number stage "$value") ;;
      stop-stage) _last=$(_number stop-stage "$value") ;;
      *) _set_variable "$name" "$value" ;;
    esac
  done
  ((_first <= _last)) || _usage "--stage $_first lies after --stop-stage $_last"
}

# The arguments, quoted for a shell.
_quoted() {
  local word
  for word; do
    if [[ $word =~ ^[A-Za-z0-9_./=:,+@%-]+$ ]]; then printf ' %s' "$word"; else printf " '%s'" "${word//\'/\'\\\'\'}"; fi
  done
}

_at_exit() {
  local status=$?
  trap - EXIT ERR
  if ((status == 0)) && [[ $_mode == run || $_mode == dry-run ]]; then
    _finish_stage
    ((_seen > 0)) || _usage "no stage from $_first to $_last; --list shows the stages"
    ((_missing == 0)) || exit 1
  elif [[ -n $_running ]]; then
    _log "$_running: FAILED with exit status $status after $(_duration)$_failure"
  fi
  exit "$status"
}

_interrupted() {
  trap - EXIT ERR "$1"
  [[ -z $_running ]] || _log "$_running: interrupted after $(_duration); continue with --stage $_running_number"
  kill -s "$1" $$ # die of the signal, so that the caller stops too
}

declare -A _declared=()
while IFS=$'\t' read -r _name _text; do
  [[ -n $_text ]] || _usage "$_script: variable '$_name' needs a comment that describes it"
  _declared[$_name]=$_text
done < <(_declarations)
_parse_options "$@"
# shellcheck disable=SC2034  # for the score stage of the recipe
recipe_command=${_script#"$_root"/}$(_quoted "$@")
if [[ $_mode == help ]]; then
  _help
  exit 0
fi
cd "$(dirname "$_script")"
trap _at_exit EXIT
trap '_failure=" at $(basename "${BASH_SOURCE[0]}"):$LINENO: $BASH_COMMAND"' ERR
trap '_interrupted INT' INT
trap '_interrupted TERM' TERM
