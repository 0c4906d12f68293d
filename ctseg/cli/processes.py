"""The processes of one training: started by this command for `--devices`, or by `torchrun` or Slurm's `srun`.

The process that a person calls watches those that it starts, so that a killed one ends all with one line. What another
launcher started finds its place in the environment.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ctseg.checkpoints import way_out
from ctseg.cli import common
from ctseg.errors import SettingError, TrainingError, first_line

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ctseg.outputs import Output

LAUNCHED = "CTSEG_LAUNCHED"
"""As in `ctseg.training.processes`, which would bring torch."""
PORT = 29_500
"""torchrun's own default, for machines that have to agree on one."""
GRACE_SECONDS = 20.0
"""How long a process may take to end after another one has."""


@dataclass(frozen=True)
class Team:
    """The processes that train together, as one of them sees them."""

    rank: int = 0
    world: int = 1
    local_world: int = 1
    """Of them on this machine."""
    fabric: Fabric | None = None
    """Joined already, where there are several."""

    @property
    def writes(self) -> bool:
        """The first process alone writes and speaks."""
        return self.rank == 0

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Checks that all have to pass before anything is written; see `ctseg.training.processes.agreed`."""
        if self.world == 1:
            yield
            return
        from ctseg.training.processes import agreed

        with agreed():
            yield

    @contextmanager
    def ending_together(self, run: Path) -> Iterator[None]:
        """Around the training; see `ctseg.training.processes.ending_together`."""
        if self.world == 1:
            yield
            return
        from ctseg.training.processes import ending_together, leave

        with ending_together(run):
            yield
        leave()

    def guard(self, path: Path, kind: str, inputs: Iterable[Path | None], *, overwrite: bool, resume: bool) -> Output:
        """The output, checked and cleaned up by the process that writes it.

        Raises:
            SettingError: if several processes would have to read one stdin.
        """
        inputs = tuple(inputs)
        if self.world > 1 and any(str(item) == "-" for item in inputs):
            raise SettingError("several processes cannot read one stdin; give a file instead of -")
        if self.writes:
            return common.guard(path, kind, inputs, overwrite=overwrite, resume=resume)
        from ctseg.outputs import Output

        return Output(Path(path), kind, overwrite=overwrite, resume=resume)

    def make_fabric(self, device: str, precision: str, seed: int) -> Fabric:
        """Device and precision; of several processes, the group is there already."""
        from ctseg.training.device import make_fabric

        return self.fabric or make_fabric(device, precision, 1, seed)


def join(output: Path, device: str, precision: str, devices: int | None, machines: int | None, seed: int = 0) -> Team:
    """This process's place in a training; the process that starts others does not come back from here.

    Args:
        output: the run folder, for messages.
        device: as of `--device`.
        precision: as of `--precision`.
        devices: processes on this machine; None: as many as a launcher has started, else one.
        machines: how many machines there are; None: as many as a launcher has started processes on, else one.
        seed: of the run.

    Raises:
        SettingError: if the numbers are not those that a launcher has started.
        typer.Exit: in the process that started the others, once they are done.
    """
    place = found_place(os.environ)
    if place is None and (devices or 1) * (machines or 1) > 1:
        raise typer.Exit(launch(common.STATE.argv, devices or 1, machines or 1, output))
    if place is None or place["WORLD_SIZE"] == "1":
        return Team()
    rank, world, local_world = (_number(place, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    there = world // local_world
    _be_silent(rank)
    _check_given("--devices", devices, local_world, "processes on each machine", rank)
    _check_given("--num-nodes", machines, there, "machines", rank)
    os.environ.update(place)
    return Team(rank, world, local_world, _meet(device, precision, local_world, seed, there))


def _meet(device: str, precision: str, devices: int, seed: int, machines: int) -> Fabric:
    """Wait for the other processes.

    Raises:
        TrainingError: if they do not come.
    """
    from ctseg.training.device import make_fabric

    try:
        return make_fabric(device, precision, devices, seed, machines=machines)
    except RuntimeError as error:  # torch's process groups have no kind of their own for it
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        count, reason = devices * machines, first_line(error)
        raise TrainingError(f"the {count} processes of this training did not all come to {where} ({reason})") from None


def _number(environ: Mapping[str, str], name: str, otherwise: int = 0) -> int:
    """A whole number from the environment.

    Raises:
        SettingError: if it is none.
    """
    text = environ.get(name, str(otherwise))
    if not text.isdigit():
        raise SettingError(f"{name}={text} in the environment: expected a whole number, as torchrun and srun set it")
    return int(text)


def _be_silent(rank: int) -> None:
    """Progress and messages come from the first process alone; those that a parent watches leave signals to it."""
    if rank:
        common.STATE.quiet = True
        logging.getLogger("ctseg").setLevel(logging.CRITICAL)
    common.STATE.is_member = rank > 0 or LAUNCHED in os.environ


def _check_given(flag: str, given: int | None, there: int, what: str, rank: int) -> None:
    """Every process sees this, and the first says it."""
    if given not in (None, there):
        text = f"{flag} {given}: the launcher started {there} {what}; leave {flag} out, or start as many"
        raise SettingError("" if rank else text)


def found_place(environ: Mapping[str, str]) -> dict[str, str] | None:
    """This process's place in what a launcher started, in the words of torchrun's environment; None without one.

    Raises:
        SettingError: if Slurm runs different numbers of tasks on its machines.
    """
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= environ.keys():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return {name: environ[name] for name in names} | {
            "LOCAL_WORLD_SIZE": environ.get("LOCAL_WORLD_SIZE", environ["WORLD_SIZE"]),
            "GROUP_RANK": environ.get("GROUP_RANK", "0"),
        }
    if _number(environ, "SLURM_STEP_NUM_TASKS", 1) > 1:
        return _slurm_place(environ)
    return None


def _slurm_place(environ: Mapping[str, str]) -> dict[str, str]:
    """What `srun` sets for each task of a step."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_NODELIST", "127.0.0.1"))
    tasks = environ["SLURM_STEP_NUM_TASKS"]
    a_machine = tasks_of(environ.get("SLURM_STEP_TASKS_PER_NODE", tasks))
    if len(a_machine) != 1:
        raise SettingError("srun started different numbers of tasks on its machines; use --ntasks-per-node")
    job = _number(environ, "SLURM_JOB_ID") + _number(environ, "SLURM_STEP_ID")
    return {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environ["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(a_machine.pop()),
        "GROUP_RANK": environ.get("SLURM_NODEID", "0"),
        "MASTER_ADDR": environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(15_000 + job % 10_000),
    }


def tasks_of(text: str) -> set[int]:
    """The different numbers in Slurm's `2(x3),1`."""
    return {int(part.split("(")[0]) for part in text.split(",")}


def launch(argv: Sequence[str], devices: int, machines: int, run: Path) -> int:
    """Start the processes of this machine and wait for them; one that ends badly ends the others.

    Returns:
        The exit code of the first that failed, 0 where none did.

    Raises:
        SettingError: if there are several machines, and the environment does not say where they meet.
        TrainingError: if a process was killed.
    """
    from ctseg.outputs import STUDY
    from ctseg.parallel import interrupts_blocked

    places = _places(devices, machines)
    spawn = get_context("spawn")
    more = (STUDY.get(), common.STATE.quiet)
    processes = [spawn.Process(target=member, args=(list(argv), place, *more)) for place in places]
    try:
        for process in processes:
            with interrupts_blocked():
                process.start()
        failed = _first_failure(processes)
    finally:
        _end(processes)
    if failed is None:
        return 0
    code = processes[failed].exitcode or 0
    if code < 0:
        which = f"process {int(places[failed]['RANK']) + 1} of {devices * machines}"
        raise TrainingError(f"{which} {_end_of(-code)}; {way_out(run)}")
    return code


def _end_of(number: int) -> str:
    """What a signal that ended a process tells."""
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        return f"was killed ({name}), often for lack of memory"
    return f"was ended by {name}"


def _places(devices: int, machines: int) -> list[dict[str, str]]:
    """What the environment of each process on this machine says."""
    node, address, port = "0", "127.0.0.1", _free_port()
    if machines > 1:
        if not {"NODE_RANK", "MASTER_ADDR"} <= os.environ.keys():
            raise SettingError(
                f"--num-nodes {machines}: call it on each machine with NODE_RANK (0 to {machines - 1}) and MASTER_ADDR "
                "(the first machine) in the environment, or with torchrun or srun"
            )
        node, address = str(_number(os.environ, "NODE_RANK")), os.environ["MASTER_ADDR"]
        port = _number(os.environ, "MASTER_PORT", PORT)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    return [
        {
            "RANK": str(int(node) * devices + local), "WORLD_SIZE": str(devices * machines),
            "LOCAL_RANK": str(local), "LOCAL_WORLD_SIZE": str(devices), "GROUP_RANK": node,
            "MASTER_ADDR": address, "MASTER_PORT": str(port), "OMP_NUM_THREADS": threads, LAUNCHED: "1",
        }
        for local in range(devices)
    ]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _first_failure(processes: Sequence[Any]) -> int | None:
    """Wait for all, or for the first that ends badly; the others then end by themselves within a while."""
    waiting = {process.sentinel: number for number, process in enumerate(processes)}
    while waiting:
        for sentinel in connection.wait(list(waiting)):
            number = waiting.pop(sentinel)
            processes[number].join()
            if processes[number].exitcode:
                _wait_for([processes[other] for other in waiting.values()])
                return _guilty(processes, number)
    return None


def _wait_for(processes: Sequence[Any]) -> None:
    for process in processes:
        process.join(GRACE_SECONDS / max(1, len(processes)))


def _guilty(processes: Sequence[Any], first: int) -> int:
    """A killed process explains the others' errors, whichever ended first."""
    return next((number for number, item in enumerate(processes) if item.exitcode == -signal.SIGKILL), first)


def _end(processes: Sequence[Any]) -> None:
    """End what still runs, kindly at first."""
    running = [process for process in processes if process.pid is not None and process.is_alive()]
    for process in running:
        process.terminate()
    _wait_for(running)
    for process in running:
        if process.is_alive():
            process.kill()
        process.join()


def member(argv: list[str], place: dict[str, str], study: str, quiet: bool) -> None:
    """What a started process does: the same command, with its place in the environment and as quiet as a study is."""
    os.environ.update(place)
    from ctseg.cli.main import main, terminate
    from ctseg.outputs import STUDY
    from ctseg.parallel import watch_parent

    watch_parent()
    common.STATE.is_member = True
    common.STATE.quiet = quiet
    signal.signal(signal.SIGTERM, terminate)
    STUDY.set(study)
    sys.exit(main(argv))
