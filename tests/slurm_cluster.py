"""A Slurm of one machine in a folder: the queue, its node and their keys, started and ended by a test.

The programs are the system's own (Debian: `apt-get install slurm-wlm munge`); nothing of an installed queue is read or
written. Processes are followed by their parents, not by control groups, so that it runs in a container, too.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "PREEMPTED"}
CONF = """\
ClusterName=ctseg
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=2
ReturnToService=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
"""


def missing() -> list[str]:
    """The programs that a cluster needs and this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Cluster:
    """A queue with one node; a context manager.

    Args:
        folder: an empty one, for everything that the services write; its path has to be short (munge's socket lies
            there: 107 bytes).
        cpus: how many the node is said to have, whatever the machine has.
        memory: MiB of the node.

    Raises:
        RuntimeError: on entry, if the node is not ready after half a minute; with the logs.
    """

    def __init__(self, folder: Path, cpus: int = 4, memory: int = 32768) -> None:
        self.folder, self.services = folder, list[subprocess.Popen[bytes]]()
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in [name for name in self.environment if name.startswith(("SLURM_", "SBATCH_"))]:
            if name != "SLURM_CONF":
                del self.environment[name]
        self._cpus, self._memory = cpus, memory

    def __enter__(self) -> Cluster:
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def _begin(self) -> None:
        folder = self.folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        host = socket.gethostname().partition(".")[0]
        (folder / "slurm.conf").write_text(
            CONF.format(
                folder=folder, host=host, user=getpass.getuser(), ports=_free_ports(2), cpus=self._cpus,
                memory=self._memory,
            )
        )  # fmt: skip
        munge = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in ("key-file", "socket", "pid-file")]
        munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--force", "--foreground"]
        self._start(["munged", *munge])
        self._wait(lambda: (folder / "munge.socket").exists(), "munged")
        self._start(["slurmctld", "-D"])
        self._start(["slurmd", "-D"])
        self._wait(lambda: self.ask("sinfo", "-h", "-o", "%t").strip() == "idle", "the node")

    def __exit__(self, *_: object) -> None:
        self.ask("scancel", "--user", getpass.getuser())
        self._wait(lambda: not self.ask("squeue", "-h").strip(), "the end of the jobs", required=False)
        self._end()

    def _end(self) -> None:
        for service in reversed(self.services):
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(20)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()

    def ask(self, *words: str, where: Path | None = None) -> str:
        """What a client program prints; its error text is in it."""
        done = subprocess.run(
            words, cwd=where, env=self.environment, check=False, text=True, timeout=600, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout

    def submit(self, *words: str, where: Path) -> str:
        """`sbatch WORDS` in a folder; the number of the job."""
        said = self.ask("sbatch", "--parsable", *words, where=where).strip()
        if not said.isdigit():
            raise RuntimeError(f"sbatch: {said}")
        return said

    def wait_for(self, job: str, seconds: float = 300) -> None:
        """Until a job and all tasks of its array have left the queue.

        Raises:
            RuntimeError: if that does not happen; with what the queue and its services say.
        """
        self._wait(lambda: self._has_ended(job), f"job {job}", seconds)

    def _has_ended(self, job: str) -> bool:
        """Whether every task has an end; a requeued one is for a moment in no state that squeue lists by itself."""
        words = self.ask("scontrol", "show", "-o", "job", job).split()
        states = [word.partition("=")[2] for word in words if word.startswith("JobState=")]
        return bool(states) and set(states) <= ENDED

    def state(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of a job, or of one task (`5_2`)."""
        words = self.ask("scontrol", "show", "-o", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def _start(self, words: list[str]) -> None:
        with (self.folder / f"{words[0]}.out").open("wb") as file:
            self.services.append(
                subprocess.Popen(words, env=self.environment, stdout=file, stderr=subprocess.STDOUT, cwd=self.folder)
            )

    def _wait(self, ready, what: str, seconds: float = 30, *, required: bool = True) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                if not required:
                    return
                logs = "".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{what}: not ready after {seconds:g} s\n{self.ask('squeue')}{logs}")
            time.sleep(0.2)
