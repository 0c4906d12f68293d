"""What `torchrun` and Slurm's `srun` say in the environment of the processes that they start."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ctseg.errors import SettingError


def whole_number(environ: Mapping[str, str], name: str, otherwise: int = 0) -> int:
    """A whole number from the environment.

    Raises:
        SettingError: if it is none.
    """
    text = environ.get(name, str(otherwise))
    if not text.isdigit():
        raise SettingError(f"{name}={text} in the environment: expected a whole number, as torchrun and srun set it")
    return int(text)


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
    if whole_number(environ, "SLURM_STEP_NUM_TASKS", 1) > 1:
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
    job = whole_number(environ, "SLURM_JOB_ID") + whole_number(environ, "SLURM_STEP_ID")
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


def refuse_several(command: str) -> None:
    """Refuse a launcher's processes for a command that trains in one: all would write one run.

    Raises:
        SettingError: said by the first of them.
    """
    place = found_place(os.environ)
    if place is not None and place["WORLD_SIZE"] != "1":
        text = f"{command} trains in one process, and the launcher started {place['WORLD_SIZE']}; start one"
        raise SettingError("" if place["RANK"] != "0" else text)
