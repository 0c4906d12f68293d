"""`ctseg reproduce other-blood-model` on the command line."""

from __future__ import annotations

from pathlib import Path

from ctseg.cli import common


def make_other_blood_model(output: Path, seed: int, workers: int, device: str, precision: str, as_json: bool) -> None:
    """Make the weights of the network for other blood, or go on where an earlier call stopped.

    Raises:
        SettingError: if the device or the precision is not there.
        InputError: if the folder was begun otherwise, or is damaged.
    """
    from ctseg.outputs import continued_folder
    from ctseg.training.device import make_fabric
    from ctseg_reproduce.making import finish
    from ctseg_reproduce.other_blood.make import FILES, OtherBloodRequest, make_weights

    fabric = make_fabric(device, "bf16" if precision == "auto" else precision)
    mixed = "32-true" if precision in ("32", "32-true") else "bf16-mixed"
    place = common.guard(output, "reproduce", (), resume=True)
    with continued_folder(place, FILES), common.bar("Other blood") as bar:
        path = make_weights(output, OtherBloodRequest(seed, precision=mixed), str(fabric.device), workers, bar.update)
    finish(path, as_json)
