#!/bin/sh
# Starts one worker of a training on several machines, and goes on with that training when the worker is started again.
# Job, TrainJob, TFJob and Slurm run this same command for every worker:
#   sh deploy/worker.sh RUNS/APPLICATION/NAME [FLAG...]
# The flags count at the first start; after that the settings in the run's folder do.
set -eu
run=$1
shift
name=$(basename "$run")
application=$(basename "$(dirname "$run")")
runs=$(dirname "$(dirname "$run")")

# In an Indexed Job of Kubernetes: WORKERS is the number of pods, ADDRESS what each is called, with %d for its index
if [ -z "${TF_CONFIG:-}" ] && [ -n "${JOB_COMPLETION_INDEX:-}" ]; then
  workers=$(printf "\"$ADDRESS\"," $(seq 0 $((WORKERS - 1))))
  export TF_CONFIG="{\"cluster\": {\"worker\": [${workers%,}]}, \"task\": {\"type\": \"worker\", \"index\": $JOB_COMPLETION_INDEX}}"
fi

# results without an export are those of a run that was lost between its test and its export
if [ -e "$run/results.json" ] && ! grep -q '"export": null' "$run/results.json"; then
  echo "$run is already finished; choose another name to train again"
elif [ -e "$run/config.json" ]; then
  exec python -m "apps.$application" --resume --name "$name" --runs "$runs"
else
  exec python -m "apps.$application" --strategy multi_worker --name "$name" --runs "$runs" "$@"
fi
