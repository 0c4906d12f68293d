#!/bin/sh
# A training on two machines with four GPUs each; srun starts the processes, and ctseg finds its place among them.
#
#   sbatch examples/slurm-train.sh sets/pseudo-ct sets/ct pairs.csv runs/a
#
# After a time limit or a lost machine, submit it again: --resume goes on from the last checkpoint.
#
#SBATCH --job-name=ctseg-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu
source=$1 target=$2 pairs=$3 run=$4
shift 4
exec srun --kill-on-bad-exit=1 ctseg das-train --src "$source" --tgt "$target" --pairs "$pairs" -o "$run" --resume "$@"
