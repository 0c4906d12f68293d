"""Train on, or preprocess, a cohort ten times as large as the memory that the process may have.

    python tests/benchmarks/memory_limit.py train|preprocess FOLDER

The limit is one on what a process may write to (RLIMIT_DATA): what it maps of a file on the disk does not count, as
the kernel can drop it. It is what the process has after its imports and a little more. The cohort's files have their
full length; what no step reads is a hole on the disk.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
ROOM_MB = {"train": 900, "preprocess": 200}
"""What a step may take beside its imports."""
TIMES = 10


def limit(room_mb: int) -> int:
    """Limit this process to what it has now and some more; gives the limit in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    now = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, ((now + room_mb) << 20, (now + room_mb) << 20))
    return now + room_mb


def train(folder: Path) -> tuple[int, int]:
    """A few steps of stage 2 at 240 x 240; gives the limit and the cohort's size, MB."""
    import torch
    from scale_slopes import write_sparse_set

    from ctseg.io.slices import open_slices
    from ctseg.networks.unet import UNet
    from ctseg.runs import ModelHeader
    from ctseg.segmentation.train import train_adaptation
    from ctseg.training.device import make_fabric
    from ctseg.training.settings import AdaptationSettings

    torch.set_num_threads(1)
    fabric = make_fabric("cpu", "32")
    most = limit(ROOM_MB["train"])
    slices = TIMES * (most << 20) // (3 * 240 * 240) + 1  # images and masks of the source, images of the target
    for domain in ("mr", "ct"):
        write_sparse_set(folder / domain, slices, domain)
    (folder / "ct" / "masks.npy").unlink()
    (folder / "run").mkdir()
    settings = AdaptationSettings(epochs=1, steps_per_epoch=3, matched=False, batch_size=2, discriminator_width=4)
    train_adaptation(
        open_slices(folder / "mr"), open_slices(folder / "ct"), None, UNet(width=4, depth=2), settings, folder / "run",
        fabric=fabric, header=ModelHeader("segmenter", "unet", {}, "tests", "0"),
    )  # fmt: skip
    return most, sum(path.stat().st_size for path in folder.rglob("*.npy")) >> 20


def preprocess(folder: Path) -> tuple[int, int]:
    """Whole-head MR of 240 x 240 x 155 as BraTS has it; gives the limit and the cohort's size, MB."""
    import nibabel as nib

    from ctseg.io.discover import discover
    from ctseg.preprocess.pipeline import preprocess as make_set
    from ctseg.preprocess.settings import PreprocessSettings

    raw, made = folder / "raw", folder / "set"
    raw.mkdir()
    made.mkdir()
    axes = np.meshgrid(*(np.linspace(-1, 1, count) for count in (240, 240, 155)), indexing="ij", sparse=True)
    inside = axes[0] ** 2 / 0.5 + axes[1] ** 2 / 0.6 + axes[2] ** 2 / 0.8 < 1
    voxels = np.where(inside, 300 + (np.arange(155) % 50), 0).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), raw / "case_0000.nii")
    del axes, inside, voxels
    most = limit(ROOM_MB["preprocess"])
    size = (raw / "case_0000.nii").stat().st_size
    count = TIMES * (most << 20) // size + 1
    for place in range(1, count):
        (raw / f"case_{place:04d}.nii").hardlink_to(raw / "case_0000.nii")
    report = make_set(discover([raw], "mr"), made, PreprocessSettings(size=96, slices=(60, 64)), domain="mr")
    assert report.cases == count
    return most, count * size >> 20


if __name__ == "__main__":
    most, cohort = {"train": train, "preprocess": preprocess}[sys.argv[1]](Path(sys.argv[2]))
    assert cohort >= TIMES * most
    print(f"{sys.argv[1]}: {cohort} MB, ten times the limit of {most} MB")  # noqa: T201
