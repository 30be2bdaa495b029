#!/bin/bash
# A gate as an array of jobs in Slurm: each takes one shard on a GPU of its own, and goes on where it was if Slurm
# starts it again. Then one run of all, whether shards failed or not:
#
#   job=$(sbatch --parsable slurm.sh)
#   sbatch --dependency="afterany:$job" --wrap "collapse-report merge reports/$job/* --into reports/$job-merged"
#
#SBATCH --job-name=collapse-gate
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# As many as the array has, whichever of them are submitted again.
shards=16
shard=$SLURM_ARRAY_TASK_ID
# On a file system that all nodes share. Give REPORTS to go on with a job that was cancelled.
reports=${REPORTS:-reports/$SLURM_ARRAY_JOB_ID}/$shard

resume=()
if compgen -G "$reports/*/records.jsonl" > /dev/null; then
  resume=(--resume "$reports")
fi

pytest --editor my_package.my_editor:edit --model llama2-7b --device cuda --dtype float16 --edits counterfact \
  --shard "$shard/$shards" --reports-dir "$reports" --junitxml "$reports/junit.xml" "${resume[@]}"
