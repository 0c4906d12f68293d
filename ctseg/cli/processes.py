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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ctseg.checkpoints import way_out
from ctseg.cli import common
from ctseg.cli.launchers import found_place, whole_number
from ctseg.errors import InputError, SettingError, TrainingError, first_line

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ctseg.outputs import Output

LAUNCHED = "CTSEG_LAUNCHED"
"""As in `ctseg.training.processes`, which would bring torch."""
PORT = 29_500
"""torchrun's own default, for machines that have to agree on one."""
GRACE_SECONDS = 20.0
"""How long a process may take to end after another one has."""
UNSAID = 64
"""Exit code of a started process that ended without saying why; its parent, which alone sees it, has to say it."""
MOST_SURELY = 16
"""Processes that may be started whatever the number of cores: more than cores, and more than these, is a slip."""
BY_SIGNAL = {128 + number: number for number in (signal.SIGINT, signal.SIGTERM)}
"""Exit codes of processes that ended kindly by a signal, and said nothing."""


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
    rank, world, local_world = (whole_number(place, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
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


def launch(argv: Sequence[str], devices: int, machines: int, run: Path) -> int:
    """Start the processes of this machine and wait for them; one that ends badly ends the others.

    Returns:
        The exit code of the first that failed, 0 where none did.

    Raises:
        SettingError: if there are several machines, and the environment does not say where they meet, or if it would be
            far more processes than this machine has cores for.
        TrainingError: if a process was killed or does not go on, here or on another machine.
    """
    from ctseg.outputs import STUDY
    from ctseg.parallel import interrupts_blocked

    places = _places(devices, machines)
    ranks, world = [int(place["RANK"]) for place in places], devices * machines
    spawn = get_context("spawn")
    more = (STUDY.get(), common.STATE.quiet)
    processes = [spawn.Process(target=member, args=(list(argv), place, *more)) for place in places]
    try:
        for process in processes:
            with interrupts_blocked():
                process.start()
        codes = _codes(processes)
    finally:
        _end(processes)
    said = next((code for code in codes if code is not None and 0 < code < UNSAID), 0)
    reason = _killed(codes, ranks, world) or ("" if said else _unsaid(codes, ranks, world))
    if reason:
        raise TrainingError(f"{reason}; {way_out(run)}")
    return said


def _killed(codes: Sequence[int | None], ranks: Sequence[int], world: int) -> str:
    """A killed process explains the others' errors, whichever ended first; empty where none was."""
    if -signal.SIGKILL not in codes:
        return ""
    return f"process {ranks[codes.index(-signal.SIGKILL)] + 1} of {world} {_end_of(signal.SIGKILL)}"


def _unsaid(codes: Sequence[int | None], ranks: Sequence[int], world: int) -> str:
    """What ended a training whose processes said nothing; None is the code of one that has not ended."""
    found = dict(zip(codes, ranks, strict=True))
    for code in [code for code in found if code is not None and (code < 0 or code in BY_SIGNAL)]:
        return f"process {found[code] + 1} of {world} {_end_of(BY_SIGNAL.get(code, -code))}"
    if None in found:
        which = f"process {found[None] + 1} of {world}"
        return f"{which} does not go on: it was stopped, or waits for a disk or a device"
    return "a process on another machine was lost" if UNSAID in found else ""


def _end_of(number: int) -> str:
    """What a signal that ended a process tells."""
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        return f"was killed ({name}), often for lack of memory"
    return f"was ended by {name}"


def _places(devices: int, machines: int) -> list[dict[str, str]]:
    """What the environment of each process on this machine says."""
    _check_cores(devices)
    node, address, port = "0", "127.0.0.1", _free_port()
    if machines > 1:
        if not {"NODE_RANK", "MASTER_ADDR"} <= os.environ.keys():
            raise SettingError(
                f"--num-nodes {machines}: call it on each machine with NODE_RANK (0 to {machines - 1}) and MASTER_ADDR "
                "(the first machine) in the environment, or with torchrun or srun"
            )
        node, address = str(whole_number(os.environ, "NODE_RANK")), os.environ["MASTER_ADDR"]
        port = whole_number(os.environ, "MASTER_PORT", PORT)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    return [
        {
            "RANK": str(int(node) * devices + local), "WORLD_SIZE": str(devices * machines),
            "LOCAL_RANK": str(local), "LOCAL_WORLD_SIZE": str(devices), "GROUP_RANK": node,
            "MASTER_ADDR": address, "MASTER_PORT": str(port), "OMP_NUM_THREADS": threads, LAUNCHED: "1",
        }
        for local in range(devices)
    ]  # fmt: skip


def _check_cores(devices: int) -> None:
    cores = os.cpu_count() or 1
    if devices > max(cores, MOST_SURELY):
        raise SettingError(f"--devices {devices}: one process each, and this machine has {cores} cores; give fewer")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _codes(processes: Sequence[Any]) -> list[int | None]:
    """Every process's exit code, once all have ended, or one has ended badly and the others had a while to end, too."""
    waiting = {process.sentinel: process for process in processes}
    while waiting:
        for sentinel in connection.wait(list(waiting)):
            ended = waiting.pop(sentinel)
            ended.join()
            if ended.exitcode:
                _wait_for(list(waiting.values()))
                return [process.exitcode for process in processes]
    return [process.exitcode for process in processes]


def _wait_for(processes: Sequence[Any]) -> None:
    for process in processes:
        process.join(GRACE_SECONDS / max(1, len(processes)))


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
    from ctseg.cli.main import main
    from ctseg.cli.signals import end_by_signals
    from ctseg.outputs import STUDY
    from ctseg.parallel import watch_parent

    watch_parent()
    common.STATE.is_member = True
    common.STATE.quiet = quiet
    end_by_signals()
    STUDY.set(study)
    code = main(argv)
    sys.exit(UNSAID if code == InputError.exit_code and not common.STATE.error else code)
