"""One command of ctseg on a Dask cluster of batch jobs, which come and go as the queue lets them.

    pip install 'ctseg[cluster]' dask-jobqueue
    python examples/dask_jobqueue_cohort.py slurm 20 -- preprocess /data/raw -o /data/sets/ct

The first word is the batch system (slurm, pbs, sge, lsf, htcondor, oar, or local for a try on one machine), the second
how many jobs of two workers each. What a queue wants beside that (account, partition) is in
`~/.config/dask/jobqueue.yaml`, see https://jobqueue.dask.org.
"""

from __future__ import annotations

import sys

import dask_jobqueue
from dask_jobqueue.local import LocalCluster

from ctseg.cli.main import main

CLUSTERS = {
    "slurm": dask_jobqueue.SLURMCluster,
    "pbs": dask_jobqueue.PBSCluster,
    "sge": dask_jobqueue.SGECluster,
    "lsf": dask_jobqueue.LSFCluster,
    "htcondor": dask_jobqueue.HTCondorCluster,
    "oar": dask_jobqueue.OARCluster,
    "local": LocalCluster,
}


def run(system: str, jobs: int, words: list[str]) -> int:
    """The command with `--scheduler`; its exit code."""
    with CLUSTERS[system](cores=2, processes=2, memory="6GB", walltime="04:00:00") as cluster:
        cluster.scale(jobs=jobs)
        return main([*words, "--scheduler", cluster.scheduler_address])


if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.exit(run(sys.argv[1], int(sys.argv[2]), sys.argv[separator + 1 :]))
