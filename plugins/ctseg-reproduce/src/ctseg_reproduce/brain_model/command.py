"""`ctseg reproduce brain-model` on the command line."""

from __future__ import annotations

from pathlib import Path

from ctseg.cli import common
from ctseg.errors import SettingError


def make_brain_model(output: Path, template: Path | None, seed: int, device: str, as_json: bool) -> None:
    """Make the weights of the brain network, or go on where an earlier call stopped.

    Raises:
        SettingError: if no folder of the CT template is given, or the device is not there.
        InputError: if it does not hold the template.
    """
    from ctseg.outputs import continued_folder
    from ctseg.training.device import make_fabric
    from ctseg_reproduce.brain_model.make import FILES, BrainModelRequest, make_weights
    from ctseg_reproduce.making import finish

    if template is None:
        raise SettingError("brain-model: give the folder of the CT template with --template")
    chosen = str(make_fabric(device).device)
    place = common.guard(output, "reproduce", (template,), resume=True)
    request = BrainModelRequest(output, common.existing_path(template), seed, device=chosen)
    with continued_folder(place, FILES), common.bar("Brain network") as bar:
        path = make_weights(request, bar.update)
    finish(path, as_json)
