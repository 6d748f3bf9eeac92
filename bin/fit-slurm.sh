#!/usr/bin/env bash
# Trains on the nodes of a Slurm job, one process a node with all its GPUs:
#   sbatch --nodes=2 --gpus-per-node=4 --time=12:00:00 bin/fit-slurm.sh RECIPE RECORDS RUN_DIR [OPTIONS]
# RECORDS and RUN_DIR lie where all nodes see them. Two minutes before its time is up, and when it is
# preempted, the run is kept and the job queued again, which goes on with it.
#SBATCH --job-name=camformer-tf
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
status=0
srun --kill-on-bad-exit=1 camformer-tf fit "$@" --strategy slurm --resume || status=$?
if [ "$status" = 143 ]; then # ended by SIGTERM, and kept
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
