#!/usr/bin/env bash
# Trains on the nodes of a Slurm job, one process per node with all its GPUs:
#   sbatch --nodes=2 --gpus-per-node=4 --time=12:00:00 bin/fit-slurm.sh RECIPE RECORDS RUN_DIR [OPTIONS]
# RECORDS and RUN_DIR must be on a file system that all nodes see. Two minutes before its time limit,
# and when it is preempted, the job stops with a checkpoint and is queued again, to resume the run.
#SBATCH --job-name=camformer-tf
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
status=0
srun --kill-on-bad-exit=1 camformer-tf fit "$@" --strategy slurm --resume || status=$?
if [ "$status" = 143 ]; then # stopped by SIGTERM, with a checkpoint
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
