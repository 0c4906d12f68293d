#!/bin/sh
# A job array whose tasks share one cohort: every task runs the same line, and takes the scans that are free.
# Tasks may be killed, or start late; `sbatch --array=1-20%5` keeps five of them running at a time.
#
#   sbatch examples/slurm-array.sh /data/scans runs/a /data/masks
#
#SBATCH --job-name=ctseg-segment
#SBATCH --array=1-8
#SBATCH --cpus-per-task=2
#SBATCH --mem=6G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu
scans=$1 model=$2 masks=$3
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
exec ctseg segment "$scans" --model "$model" -o "$masks" --workers 1 --share
