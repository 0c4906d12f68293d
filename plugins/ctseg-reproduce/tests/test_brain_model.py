"""The brain network is made from a phantom cohort and the CT template, by one command that goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ctseg_reproduce import training_state
from ctseg_reproduce.brain_model import groups, make, measure, train
from ctseg_reproduce.brain_model.augment import augmented
from ctseg_reproduce.brain_model.cohort import cohort_scans
from ctseg_reproduce.brain_model.drawn import drawn_slice
from ctseg_reproduce.brain_model.heads import HeadSlices, above_canal, head_slices
from ctseg_reproduce.brain_model.network import TrainedUNet, folded
from ctseg_reproduce.brain_model.pool import BESIDE_MM, SIZE, THICK_MM, Batch, Pool
from ctseg_reproduce.brain_model.template import read_template, turned_mean, turned_template
from ctseg_reproduce.brain_model.wide import mean_slices, wide_head
from safetensors.numpy import load_file
from stopping import stopping_after
from torch import nn

from ctseg.cli.main import main
from ctseg.errors import InputError, TrainingError
from ctseg.io.input_digests import file_sha256
from ctseg.phantom.cohort import make_cohort
from ctseg.phantom.settings import PhantomSettings
from ctseg.preprocess.brain_slices import windows
from ctseg.preprocess.small_unet import DEPTH, IMAGES, SmallUNet, layer_shapes


def trained_a_little() -> TrainedUNet:
    torch.manual_seed(0)
    network = TrainedUNet()
    for norm in network.norms.values():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.normal_()
    return network.eval()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the CT template: an ellipsoid head at 2 mm."""
    folder = tmp_path_factory.mktemp("template")
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (60, 72, 50)), indexing="ij")
    away = np.sqrt((x / 28) ** 2 + (y / 34) ** 2 + (z / 26) ** 2)
    hu = np.where(away < 0.8, 32, np.where(away < 0.95, 900, -1000)).astype(np.int16)
    for name, data in (("scct_hu_2mm", hu), ("scct_brain_2mm", (away < 0.8).astype(np.uint8))):
        nib.save(nib.Nifti1Image(data, np.diag([-2.0, 2, 2, 1])), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    settings = PhantomSettings(
        mr_patients=0, ct_train_patients=2, ct_test_patients=0, ct_matrix=64, ct_slice_step_mm=20, seed=3
    )
    make_cohort(folder, settings, workers=0)
    return folder


def test_numpy_gives_what_torch_gives() -> None:
    network = trained_a_little()
    images = np.random.default_rng(0).random((IMAGES, 3 * DEPTH, 2 * DEPTH), dtype=np.float32)
    weights = folded(network)
    assert {name: value.shape for name, value in weights.items()} == layer_shapes()
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images)[None])[0, 0].numpy()
    np.testing.assert_allclose(SmallUNet(weights)(images), wanted, atol=1e-4 * np.abs(wanted).max())


def test_training_windows_are_those_of_use() -> None:
    hu = np.random.default_rng(0).uniform(-300, 600, (3, 5, 5)).astype(np.float32)
    found = train.network_input(torch.from_numpy(hu)[None])[0].numpy()
    np.testing.assert_allclose(found, windows(hu), atol=1e-6)


def test_the_template_untouched_is_number_0(template: Path) -> None:
    volume, brain = read_template(template)
    plain, turned = (turned_template(volume.voxels, brain, number, 0) for number in (0, 2))
    shown = (volume.voxels > -150).any(axis=(1, 2))
    np.testing.assert_array_equal(plain.brain[:, 4:-4, 4:-4] > 127, brain[shown])
    assert plain.counted is None
    assert turned.brain.shape != plain.brain.shape or (plain.brain != turned.brain).any()
    assert turned.hu[turned.brain > 250].mean() == pytest.approx(32, abs=3)


def test_a_sharpened_template_leaves_the_edge_of_its_brain_open(template: Path) -> None:
    volume, brain = read_template(template)
    sharpened = turned_template(volume.voxels, brain, 1, 0)
    assert sharpened.counted is not None
    inside = sharpened.brain > 127
    open_places = ~sharpened.counted
    assert not (open_places & inside).any()
    middle = len(inside) // 2
    rim = open_places[middle] | inside[middle]
    assert 1 < (rim.sum() / inside[middle].sum()) < 1.6
    assert sharpened.counted[middle, 0].all()


def flat(count: int, hu: list[int], z_mm: list[float]) -> HeadSlices:
    voxels = np.array(hu, np.int16)[:, None, None] * np.ones((count, 20, 24), np.int16)
    return HeadSlices(voxels, np.full((count, 20, 24), 255, np.uint8), np.array(z_mm))


def test_a_batch_shows_slices_of_one_head_and_what_lies_between_them() -> None:
    heads = [flat(3, [0, 10, 20], [0.0, 5.0, 10.0]), flat(1, [100], [0.0]), flat(2, [300, 400], [0.0, 50.0])]
    pool = Pool.of({"one": heads[:1], "two": heads[1:2], "three": heads[2:]}, torch.device("cpu"))
    assert pool.groups == {"one": (0, 3), "two": (3, 4), "three": (4, 6)}
    batch = pool.batch({"one": 40, "two": 5, "three": 40}, torch.Generator().manual_seed(0))
    assert batch.hu.shape == (85, 3, SIZE, SIZE)
    assert batch.brain.shape == batch.counted.shape == (85, 1, SIZE, SIZE)
    middle = batch.hu[:, :, SIZE // 2, SIZE // 2]
    assert ((middle[:40] >= 0) & (middle[:40] <= 20)).all()
    assert (middle[40:45] == 100).all()
    assert ((middle[45:] >= 300) & (middle[45:] <= 400)).all()
    least, most = 300 + 2 * (BESIDE_MM[0] - THICK_MM), 400 - 2 * (BESIDE_MM[0] - THICK_MM)
    assert ((middle[45:, 1] <= least + 16) | (middle[45:, 1] >= most - 16)).all()
    apart = (middle[:40, 2] - middle[:40, 0]) > 0
    assert 0.5 < float(apart.float().mean()) < 0.95  # a quarter is shown alone
    assert (batch.brain.amax(dim=(1, 2, 3)) == 1).all()
    assert (batch.hu[:, :, 0, 0] == -200).all()


def test_the_loss_does_not_look_where_nothing_is_known() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, brain = torch.randn((2, 1, 8, 8), generator=rng), torch.rand((2, 1, 8, 8), generator=rng)
    counted = (torch.rand((2, 1, 8, 8), generator=rng) < 0.5).float()
    other = torch.where(counted > 0, logits, -logits)
    one, two = (train.loss_of(each, Batch(logits, brain, counted)) for each in (logits, other))
    assert float(one) == pytest.approx(float(two), rel=1e-6)


@pytest.mark.parametrize(
    ("steps", "seconds", "wanted"), [(50, 1.0, 0.5), (10, 30.0, 0.5), (200, 0.0, 1.0), (0, 0.0, 0.0)]
)
def test_training_ends_at_whichever_comes_first(steps: int, seconds: float, wanted: float) -> None:
    assert training_state.Length(100, 60.0).done(steps, seconds) == pytest.approx(wanted)


@pytest.mark.phantom
@pytest.mark.slow
def test_wide_heads_and_means_are_heads() -> None:
    head = wide_head(5, 3)
    inside = head.brain == 255
    assert 20 < np.median(head.hu[inside]) < 45
    assert (np.diff(head.z_mm) > 0).all()
    mean = mean_slices(5, 0, 2)
    share = mean.brain / 255
    assert 0.2 < share[len(share) // 2].mean() < 0.8
    turned = turned_mean(mean, groups.MEAN_LEVEL, 0, 0)
    assert 20 < np.median(turned.hu[turned.brain == 255]) < 45
    assert (turned.hu > -150).any(axis=(1, 2))[[0, -1]].all()


def test_no_template_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scct_hu_2mm.nii.gz; give the folder .* --template"):
        read_template(tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_drawn_heads_have_brain_inside_bone_and_necks_none(seed: int) -> None:
    hu, brain = drawn_slice(np.random.default_rng(seed))
    assert set(np.unique(brain)) <= {0, 1}
    if brain.any():
        assert 15 < np.median(hu[brain > 0]) < 45
    assert (hu <= -999).any()


def test_augmented_brain_stays_in_the_head() -> None:
    pictures = [drawn_slice(np.random.default_rng(s)) for s in (1, 2, 3, 4)]
    hu = torch.from_numpy(np.stack([np.stack([one] * 3) for one, _ in pictures])).clamp(-200, 450)
    brain = torch.from_numpy(np.stack([share[None] for _, share in pictures]))
    counted = torch.ones_like(brain)
    counted[0] = 0
    found = augmented(Batch(hu, brain, counted), torch.Generator().manual_seed(3), 96)
    assert found.hu.shape == (4, 3, 96, 96)
    assert found.brain.shape == found.counted.shape == (4, 1, 96, 96)
    assert float(found.brain.min()) >= 0
    assert float(found.brain.max()) <= 1
    assert torch.isfinite(found.hu).all()
    assert found.counted[1:].min() == 1
    assert float(found.counted[0].mean()) < 0.7


@pytest.mark.phantom
@pytest.mark.slow
def test_a_cohorts_scans_come_with_their_brains(cohort: Path) -> None:
    found = list(cohort_scans(cohort, "train", 5))
    assert len(found) == 2
    volume, brain = found[0].read()
    assert volume.voxels.shape == brain.shape
    assert 20 < np.median(volume.voxels[brain]) < 45
    slices = head_slices(volume, brain.astype(np.float32))
    assert slices.brain.max() == 255
    assert 20 < np.median(slices.hu[slices.brain == 255]) < 45


def test_slices_of_the_canal_are_no_brain() -> None:
    share = np.zeros((4, 40, 40), np.float32)
    share[:, 10:14, 10:14] = 1
    share[2, 5:30, 5:30] = 1
    np.testing.assert_array_equal(above_canal(share, 4.0).any(axis=(1, 2)), [False, False, True, True])


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch, template: Path) -> Callable[[Path], make.BrainModelRequest]:
    """Requests of a few steps, in folders whose heads are there already."""
    monkeypatch.setattr(groups, "TURNED", 1)
    monkeypatch.setattr(groups, "DRAWN", 4)
    monkeypatch.setattr(train, "SLICES", {"phantom": 2, "drawn": 1, "template": 1})
    monkeypatch.setattr(training_state, "SAVE_EVERY", 2)

    def request(root: Path) -> make.BrainModelRequest:
        (root / "heads").mkdir(parents=True)
        flat(3, [20, 30, 40], [0.0, 5.0, 10.0]).save(root / "heads" / "wide-000.npz")
        return make.BrainModelRequest(root, template, heads=1, means=(), steps=4)

    return request


def test_a_state_that_is_not_finite_is_not_stored(tmp_path: Path) -> None:
    state = training_state.State.new(lambda: nn.BatchNorm1d(1), 0, torch.device("cpu"), 0.1)
    state.save(tmp_path / "state.pt")
    before = (tmp_path / "state.pt").read_bytes()
    state.network.running_var.fill_(torch.inf)
    with pytest.raises(TrainingError, match=r"state.pt: weight running_var is not finite after step 0; call again"):
        state.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == before


def test_making_goes_on_where_it_stopped_and_ends_the_same(
    little: Callable[[Path], make.BrainModelRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    path = make.make_weights(little(tmp_path / "whole"), lambda done, total, note: said.append(note))
    assert file_sha256(path) in path.with_suffix(".md").read_text()
    assert "1 phantom heads" in path.with_suffix(".md").read_text()
    assert any("loss" in note for note in said)
    parts = little(tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(train, "loss_of", stopping_after(train.loss_of, 3))
        with pytest.raises(KeyboardInterrupt):
            make.make_weights(parts, lambda *_: None)
    one, other = load_file(make.make_weights(parts, lambda *_: None)), load_file(path)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    with pytest.raises(InputError, match=r"begun with another seed.*another -o"):
        make.make_weights(replace(parts, seed=1), lambda *_: None)


@pytest.mark.parametrize("name", ["training.pt", "heads/wide-000.npz"])
def test_what_is_damaged_is_one_line(
    name: str, little: Callable[[Path], make.BrainModelRequest], tmp_path: Path
) -> None:
    request = little(tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=rf"{name}: cannot be read; remove it"):
        make.make_weights(request, lambda *_: None)


def test_no_head_is_simulated_for_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--template"):
        make.make_weights(make.BrainModelRequest(tmp_path / "out", tmp_path), lambda *_: None)
    assert not (tmp_path / "out" / "heads").exists()


@pytest.mark.parametrize(
    ("given", "line"),
    [((), "--template"), (("--template", "gone"), "gone"), (("--template", ".", "--device", "x"), "device x")],
)
def test_the_command_says_what_is_missing(
    given: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "brain-model", "-o", "out", *given]) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out" / "heads").exists()


@pytest.mark.parametrize("counted", [None, np.eye(4, dtype=bool)[None, :3].repeat(2, axis=0)])
def test_heads_are_read_back(counted: np.ndarray | None, tmp_path: Path) -> None:
    head = HeadSlices(np.ones((2, 3, 4), np.int16), np.ones((2, 3, 4), np.uint8), np.array([0.0, 5.0]), counted)
    head.save(tmp_path / "head.npz")
    back = HeadSlices.load(tmp_path / "head.npz")
    np.testing.assert_array_equal(back.hu, head.hu)
    np.testing.assert_array_equal(back.z_mm, head.z_mm)
    np.testing.assert_array_equal(back.counted, counted)


def test_measured_rows_are_a_table() -> None:
    found = measure.Found([0.9, 0.8], [0.9], [0.9], [0.7], [0.0, 40.0], [0.2])
    (row,) = measure.lines("x", {"one": found})
    assert row == "| x | one | 0.850 / 0.800 | 0.900 / 0.900 | 0.900 / 0.900 | 0.700 / 0.700 | 20 / 40 | 0.20 |"
