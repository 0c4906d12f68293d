"""Transforms for the bundles of `ctseg export --to monai-bundle`: from a scan to slices, and from logits to a mask.

They call the functions of `ctseg segment`, so a mask made in MONAI's evaluator is the mask that the command writes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.inferers.inferer import SliceInferer
from monai.transforms.transform import MapTransform

from ctseg.errors import InputError
from ctseg.inference.half_maximum import HalfMaximum
from ctseg.inference.measure import drop_faint
from ctseg.inference.predict import MIRRORS
from ctseg.inference.prepare import ReadyCase, prepare_case
from ctseg.inference.scans import find_scans
from ctseg.io.case import Case
from ctseg.io.discover import read_case
from ctseg.io.masks import save_mask
from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images
from ctseg.plugins.host import load
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.settings import resolve

EPSILON = 1e-7
"""Of a probability, so that its logit is finite."""
BRAIN, FRAME, PATH = "brain", "frame", "path"
"""Keys beside the image: brain mask (K, h, w), the four numbers of the frame, and the scan's path."""


class PrepareHeadCTd(MapTransform):
    """The path of a head CT -> its slices (1, H, W, K), float32 in [-1, 1], with brain mask and frame beside them."""

    def __init__(
        self, keys: KeysCollection, preprocessing: Mapping[str, Any], allow_missing_keys: bool = False
    ) -> None:
        """Make the brain extractor once.

        Args:
            keys: of the paths.
            preprocessing: settings of `ctseg preprocess` that change the slices.
            allow_missing_keys: as MONAI means it.

        Raises:
            SettingError, PluginError: if a setting or the brain extractor is unknown.
        """
        super().__init__(keys, allow_missing_keys)
        self.settings = resolve(PreprocessSettings, dict(preprocessing), where="the bundle's preprocessing")
        entry = load().get("brain_extractor", self.settings.brain_extractor)
        self.extractor = entry.extractor(self.settings.brain_extractor_settings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read and prepare the scan.

        Raises:
            InputError, CaseError: if the path holds no scan or several, or it shows no brain.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            path = str(found[key])
            ready = prepare_case(only_case(path), [self.settings], self.extractor)
            images = to_images(ready.prepared[0].images)  # (K, 1, H, W)
            found[key] = images.permute(1, 2, 3, 0).contiguous()
            found |= {BRAIN: torch.from_numpy(ready.brain), FRAME: _numbers(ready), PATH: path}
        return found


class SaveHaemorrhaged(MapTransform):
    """Logits (1, H, W, K) -> a mask on the scan's own grid, written as `CASE.nii.gz`; the key then holds its path."""

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str,
        threshold: float = 0.5,
        faint_hu: float = 0.0,
        grow_mm: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        """Say where masks go, and what is a lesion.

        Args:
            keys: of the logits.
            output_dir: folder of the masks.
            threshold: probability from which a voxel is lesion.
            faint_hu: as the setting of that name of `ctseg segment`.
            grow_mm: as the setting of that name.
            allow_missing_keys: as MONAI means it.
        """
        super().__init__(keys, allow_missing_keys)
        self.output_dir, self.threshold = Path(output_dir), threshold
        self.faint_hu, self.grow_mm = faint_hu, grow_mm
        self.written: dict[Path, str] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the mask.

        Raises:
            InputError: if it would replace a scan, or the mask of another scan of the same name.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            brain = np.asarray(torch.as_tensor(found[BRAIN]).cpu(), dtype=bool)
            maps = torch.sigmoid(torch.as_tensor(found[key])[0].float()).permute(2, 0, 1).cpu().numpy()
            frame = _frame(np.asarray(found[FRAME], dtype=np.float64), maps.shape[1], brain.shape)
            probability = frame.to_native(maps) * brain
            volume = read_case(only_case(str(found[PATH])))
            path = self._place(volume.case_id, str(found[PATH]))
            mask = drop_faint(probability >= self.threshold, volume, brain, self.faint_hu)
            save_mask(path, volume, HalfMaximum.of(volume, brain, self.grow_mm).grown(mask))
            found[key] = str(path)
        return found

    def _place(self, case: str, scan: str) -> Path:
        """Where the mask of a case goes; a mask of an earlier run there is replaced.

        Raises:
            InputError: if a scan lies there, or another scan of this run has the name.
        """
        path = self.output_dir / f"{case}.nii.gz"
        if self.output_dir.resolve() in Path(scan).resolve().parents[:1] or _is_one_file(path, Path(scan)):
            raise InputError(f"{self.output_dir}: holds the scans, which masks would replace; give another output_dir")
        other = self.written.setdefault(path, scan)
        if other != scan:
            raise InputError(f"{scan}: the mask of {other} has its name, {path.name}; give each scan a name of its own")
        return path


class MirroredInferer(SliceInferer):
    """MONAI's `SliceInferer`, averaged over the mirror images that `ctseg segment` averages over."""

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(B, 1, H, W, K) -> the logits (B, 1, H, W, K) of the mean probability."""
        total = torch.zeros((), device=inputs.device)
        for axes in MIRRORS:
            turned = tuple(axis - 1 for axis in axes)  # of slices; the last axis counts them
            logits = torch.as_tensor(super().__call__(inputs.flip(turned), network, *args, **kwargs)).flip(turned)
            total = total + torch.sigmoid(logits.float())
        return torch.logit(total / len(MIRRORS), eps=EPSILON)


def only_case(path: str) -> Case:
    """The one scan at a path.

    Raises:
        InputError: if there is none or several.
    """
    found = find_scans([Path(path)])
    if isinstance(found, SliceSet) or len(found.cases) != 1:
        raise InputError(f"{path}: holds no scan or several; give the path of one")
    return found.cases[0]


def _is_one_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _numbers(ready: ReadyCase) -> torch.Tensor:
    frame = ready.prepared[0].frame
    return torch.tensor([frame.row_start, frame.row_step, frame.col_start, frame.col_step], dtype=torch.float64)


def _frame(numbers: np.ndarray[Any, Any], size: int, native: tuple[int, ...]) -> Frame:
    row_start, row_step, col_start, col_step = (float(number) for number in numbers.ravel())
    return Frame((size, size), (native[1], native[2]), row_start, row_step, col_start, col_step)
