from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.discover import discover, read_case
from ctseg.io.nifti.file import open_nifti, read_voxels
from ctseg.io.nifti.volumes import load_mask, read_nifti, save_map, save_mask, sidecar_path
from ctseg.io.volume import Volume

SHAPE = (4, 5, 6)
LARGE = (20, 25, 30)
"""More than nibabel reads to tell what a file is."""
SPACING = (0.7, 1.1, 3.0)
ALL_48 = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def rotation(angle_deg: float) -> np.ndarray:
    """About an axis along no coordinate axis (Rodrigues)."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.cross(np.eye(3), axis)
    angle = np.deg2rad(angle_deg)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(axes: tuple[int, ...], signs: tuple[int, ...], oblique_deg: float = 0.0) -> np.ndarray:
    """RAS affine whose native axis n runs along +-patient axis axes[n]."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for native, (axis, sign, spacing) in enumerate(zip(axes, signs, SPACING, strict=True)):
        affine[axis, native] = sign * spacing
    affine[:3, :3] = rotation(oblique_deg) @ affine[:3, :3]
    affine[:3, 3] = [11.0, -7.0, 3.5]
    return affine


def write(path: Path, array: np.ndarray, affine: np.ndarray, qform: int = 0, sform: int = 1) -> Path:
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=qform)
    image.set_sform(affine, code=sform)
    nib.save(image, path)
    return path


def lps_of_values(volume: Volume) -> dict[int, np.ndarray]:
    """Where the volume says each of its (unique) values lies."""
    slices, rows, columns = volume.voxels.shape
    return {
        int(volume.voxels[k, r, c]): volume.origins_mm[k] + r * volume.row_step_mm + c * volume.col_step_mm
        for k, r, c in product(range(slices), range(rows), range(columns))
    }


@pytest.mark.parametrize("oblique_deg", [0.0, 17.0])
@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_every_axis_order_and_flip_keeps_every_voxel_in_its_place(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...], oblique_deg: float
) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    affine = affine_of(axes, signs, oblique_deg)
    volume = read_nifti(write(tmp_path / "a.nii", array, affine), domain="mr", case_id="a")
    for value, lps in lps_of_values(volume).items():
        native = np.argwhere(array == value)[0]
        ras = affine[:3, :3] @ native + affine[:3, 3]
        assert lps == pytest.approx(ras * [-1, -1, 1], abs=1e-4)
    slice_step = volume.origins_mm[1] - volume.origins_mm[0]
    for step, axis in ((slice_step, 2), (volume.row_step_mm, 1), (volume.col_step_mm, 0)):
        assert step[axis] == np.abs(step).max()  # towards head, back and left


@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_masks_go_back_to_the_same_voxels_and_the_same_header(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    source = nib.load(write(tmp_path / "a.nii", array, affine_of(axes, signs)))
    volume = read_nifti(tmp_path / "a.nii", domain="mr", case_id="a")
    save_mask(tmp_path / "out" / "a.nii.gz", volume, volume.voxels % 7 == 3)
    written = nib.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), array % 7 == 3)
    np.testing.assert_array_equal(written.affine, source.affine)
    assert written.get_data_dtype() == np.uint8
    assert not sidecar_path(tmp_path / "out" / "a.nii.gz").exists()
    mask, geometry = load_mask(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(mask, volume.voxels % 7 == 3)
    np.testing.assert_allclose(geometry.origins_mm, volume.origins_mm, atol=1e-5)
    assert geometry.voxel_ml == pytest.approx(volume.voxel_ml)


@pytest.mark.parametrize(("qform", "sform"), [(0, 2), (1, 0), (1, 4), (0, 0)])
def test_qform_and_sform_are_copied_bit_by_bit(tmp_path: Path, qform: int, sform: int) -> None:
    path = write(tmp_path / "a.nii.gz", np.arange(120, dtype=np.int16).reshape(SHAPE), affine_of((1, 0, 2), (1, 1, -1)))
    image = nib.load(path)
    image.header["qform_code"], image.header["sform_code"] = qform, sform
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), path)
    volume = read_nifti(path, domain="mr", case_id="a")
    save_map(tmp_path / "p.nii.gz", volume, volume.voxels / 200)
    source, written = nib.load(path).header, nib.load(tmp_path / "p.nii.gz").header
    for name in ("qform_code", "sform_code", "quatern_b", "quatern_d", "qoffset_x", "srow_x", "srow_z", "pixdim"):
        np.testing.assert_array_equal(written[name], source[name])
    values = np.asanyarray(nib.load(tmp_path / "p.nii.gz").dataobj)
    np.testing.assert_allclose(values, np.arange(120).reshape(SHAPE) / 200, rtol=1e-6)


def test_sheared_grids_count_volume_along_the_normal(tmp_path: Path) -> None:
    affine = np.diag([-0.5, -0.5, 4.0, 1.0])
    affine[1, 2] = -2.0
    path = write(tmp_path / "a.nii", np.ones(SHAPE, np.uint8), affine)
    _, geometry = load_mask(path)
    np.testing.assert_allclose(geometry.slab_mm, 4.0)
    assert geometry.voxel_ml.sum() * 4 * 5 == pytest.approx(abs(np.linalg.det(affine)) * 120 / 1000)


def test_files_without_orientation_are_taken_at_their_word_and_say_so(tmp_path: Path) -> None:
    array = np.zeros((10, 12, 3), np.int16)
    array[1, 2, 2] = 9
    volume = read_nifti(write(tmp_path / "b.nii.gz", array, np.eye(4)), domain="mr", case_id="b")
    assert np.argwhere(volume.voxels == 9).tolist() == [[2, 9, 8]]  # RAS: nearly at the back, nearly at the left
    assert volume.notes == ("the header carries no orientation; voxels are taken to be stored in RAS order",)


def test_another_order_can_be_assumed_only_where_the_header_has_none(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(SHAPE)
    blank = write(tmp_path / "blank.nii", array, np.eye(4))
    lps = read_nifti(blank, domain="mr", case_id="b", orientation="LPS")
    ras = read_nifti(blank, domain="mr", case_id="b")
    np.testing.assert_array_equal(lps.voxels, array.T)
    np.testing.assert_array_equal(ras.voxels, array[::-1, ::-1].T)
    save_mask(tmp_path / "m.nii", lps, lps.voxels > 50)
    mask, geometry = load_mask(tmp_path / "m.nii")  # the sidecar remembers the assumption
    np.testing.assert_array_equal(mask, lps.voxels > 50)
    np.testing.assert_allclose(geometry.row_step_mm, lps.row_step_mm)
    told = write(tmp_path / "told.nii", array, affine_of((0, 1, 2), (1, 1, 1)))
    np.testing.assert_array_equal(
        read_nifti(told, domain="mr", case_id="t", orientation="LPS").voxels, array[::-1, ::-1].T
    )


def test_one_channel_of_four_is_read_and_written_back_as_three_dimensional(tmp_path: Path) -> None:
    array = np.arange(240, dtype=np.float32).reshape(*SHAPE, 2)
    write(tmp_path / "a.nii.gz", array, affine_of((0, 1, 2), (-1, -1, 1)))
    volume = read_nifti(tmp_path / "a.nii.gz", domain="mr", case_id="a", channel=1)
    np.testing.assert_array_equal(volume.voxels, array[..., 1].T)
    save_mask(tmp_path / "m.nii.gz", volume, volume.voxels > 100)
    assert nib.load(tmp_path / "m.nii.gz").shape == SHAPE
    with pytest.raises(CaseError, match=r"a\.nii\.gz: holds 2 volumes"):
        read_nifti(tmp_path / "a.nii.gz", domain="mr", case_id="a")


def test_slice_names_count_the_native_slices(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.zeros(SHAPE, np.int16), affine_of((0, 1, 2), (1, 1, -1)))
    volume = read_nifti(tmp_path / "a.nii", domain="mr", case_id="a")
    assert volume.slice_keys == (5, 4, 3, 2, 1, 0)
    assert volume.slice_ids[0] == "a_005"


def test_values_that_are_no_numbers_are_replaced_and_said(tmp_path: Path) -> None:
    array = np.full(SHAPE, 3.0, np.float32)
    array[0, 0, 0], array[1, 1, 1] = np.nan, -2.0
    volume = read_nifti(write(tmp_path / "a.nii", array, affine_of((0, 1, 2), (1, 1, 1))), domain="mr", case_id="a")
    assert np.isfinite(volume.voxels).all()
    assert (volume.voxels == -2).sum() == 2
    assert "1 voxels that are no numbers set to -2" in volume.notes


def test_where_nothing_was_measured_a_ct_has_air_and_infinity_is_metal(tmp_path: Path) -> None:
    """A masked head has no value below that of brain, and NaN had become one; infinity had become air."""
    shape = (24, 20, 6)
    hu = np.random.default_rng(0).normal(30, 5, shape).round().astype(np.float32)
    hu[:4] = hu[-4:] = np.nan
    hu[6:9], hu[15] = 900, 5
    hu[10, 10, 2], hu[11, 10, 2] = np.inf, -np.inf
    nib.save(nib.Nifti1Image(hu, np.diag([4.0, 4.0, 5.0, 1.0])), tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", domain="ct", case_id="a")
    assert volume.native is not None
    found = volume.native.to_native(volume.voxels)
    assert (found[np.isnan(hu)] == -1024).all()
    assert (found[10, 10, 2], found[11, 10, 2]) == (3071, -1024)
    np.testing.assert_array_equal(found[np.isfinite(hu)], hu[np.isfinite(hu)])
    assert "961 voxels that are no numbers set to air (-1024 HU)" in volume.notes
    assert "1 infinite voxels set to 3071" in volume.notes


@pytest.mark.parametrize(("slope", "intercept", "is_said"), [
    (0.0, -1024.0, True), (np.nan, 5.0, True), (0.0, 0.0, False), (np.nan, np.nan, False), (1.0, -1024.0, False),
])  # fmt: skip
def test_an_intercept_without_a_slope_is_said(tmp_path: Path, slope: float, intercept: float, is_said: bool) -> None:
    """nibabel and the standard take no notice of it; ITK adds it."""
    nib.save(
        nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), np.diag([4, 4, 5, 1])), tmp_path / "a.nii"
    )
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<ff", data, 112, slope, intercept)
    (tmp_path / "a.nii").write_bytes(data)
    volume = read_nifti(tmp_path / "a.nii", domain="mr", case_id="a")
    assert any("says that values are not scaled" in note for note in volume.notes) == is_said


@pytest.mark.parametrize(("ending", "word"), [
    (lambda data: data[:-8] + b"\1\2\3\4" + data[-4:], "its checksum"),
    (lambda data: data[:-4] + b"\0\0\0\1", "its checksum"),
    (lambda data: data[:-8], "cut short"), (lambda data: data + data, ""), (lambda data: data + b"rubbish", ""),
    (lambda data: data + b"\0" * 512, ""),
])  # fmt: skip
@pytest.mark.parametrize("channels", [(), (2,)])
def test_the_checksum_of_a_gzipped_file_is_compared(
    tmp_path: Path, ending: Callable[[bytes], bytes], word: str, channels: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 900, (*LARGE, *channels)).astype(np.int16)
    path = write(tmp_path / "a.nii.gz", array, affine_of((0, 1, 2), (1, 1, 1)))
    path.write_bytes(ending(path.read_bytes()))
    if word:
        with pytest.raises(CaseError, match=rf"a\.nii\.gz: .*{word}"):
            read_nifti(path, domain="mr", case_id="a", channel=1)
        return
    volume = read_nifti(path, domain="mr", case_id="a", channel=1)
    assert np.array_equal(np.sort(volume.voxels, axis=None), np.sort(array[..., 1] if channels else array, axis=None))


def test_a_flipped_bit_of_a_gzipped_scan_is_never_read_as_voxels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 900, LARGE).astype(np.int16)
    path = write(tmp_path / "a.nii.gz", array, affine_of((0, 1, 2), (1, 1, 1)))
    data = path.read_bytes()
    for place in range(10, len(data), 2500):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(CaseError, match="a.nii.gz"):
            read_nifti(path, domain="mr", case_id="a")


@pytest.mark.parametrize("offset", [0.0, 100.0, 348.0])
def test_voxels_that_lie_in_the_header_are_refused(tmp_path: Path, offset: float) -> None:
    path = write(tmp_path / "a.nii", np.ones(SHAPE, np.int16), affine_of((0, 1, 2), (1, 1, 1)))
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, 108, offset)
    path.write_bytes(data)
    with pytest.raises(CaseError, match=r"a\.nii: .*vox_?\s?offset"):
        read_nifti(path, domain="mr", case_id="a")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


BREAK = {
    "text": lambda path: path.write_text("this is no image\n" * 40),
    "empty": lambda path: path.write_bytes(b""),
    "not gzip": lambda path: path.write_bytes(gzip.decompress(path.read_bytes())),
    "cut": _cut,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", BREAK)
def test_broken_files_are_named_in_one_line(tmp_path: Path, rng: np.random.Generator, how: str) -> None:
    path = write(tmp_path / "a.nii.gz", rng.integers(0, 2000, (16, 16, 9), np.int16), affine_of((0, 1, 2), (1, 1, 1)))
    BREAK[how](path)
    for read in (lambda: read_nifti(path, domain="mr", case_id="a"), lambda: load_mask(path)):
        with pytest.raises(CaseError) as caught:
            read()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_geometry_that_cannot_be_is_refused(tmp_path: Path) -> None:
    flat = tmp_path / "flat.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), flat)
    with pytest.raises(CaseError, match="not a volume"):
        read_nifti(flat, domain="mr", case_id="a")
    singular = write(tmp_path / "s.nii", np.zeros(SHAPE, np.int16), affine_of((0, 1, 2), (1, 1, 1)))
    image = nib.load(singular)
    header = image.header.copy()
    header["srow_z"], header["vox_offset"] = 0, 352
    singular.write_bytes(header.binaryblock + b"\0\0\0\0" + np.zeros(SHAPE, np.int16).tobytes())
    with pytest.raises(CaseError, match="singular"):
        read_nifti(singular, domain="mr", case_id="a")


def test_a_probability_map_is_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.full(SHAPE, 0.4, np.float32), affine_of((0, 1, 2), (1, 1, 1)))
    with pytest.raises(CaseError, match="no mask"):
        load_mask(path)


def test_writing_a_mask_of_another_shape_is_a_defect_of_the_caller(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.zeros(SHAPE, np.int16), affine_of((0, 1, 2), (1, 1, 1)))
    volume = read_nifti(path, domain="mr", case_id="a")
    with pytest.raises(ValueError, match="does not fit"):
        save_mask(tmp_path / "m.nii", volume, np.zeros((1, 2, 3)))
    assert not (tmp_path / "m.nii").exists()


def test_written_bytes_do_not_depend_on_time_or_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.ones(SHAPE, np.int16), affine_of((0, 1, 2), (1, 1, 1)))
    volume = read_nifti(path, domain="mr", case_id="a")
    for name in ("x", "y"):
        save_mask(tmp_path / name / f"{name}.nii.gz", volume, volume.voxels > 0)
    assert (tmp_path / "x/x.nii.gz").read_bytes() == (tmp_path / "y/y.nii.gz").read_bytes()


def headed(path: Path, **fields: object) -> Path:
    """An uncompressed head-sized file, 2.5 x 2.5 x 8 mm, with header fields overwritten as they stand on disk."""
    write(path, np.arange(6 * 7 * 5, dtype=np.int16).reshape(6, 7, 5) % 60 - 20, np.diag([2.5, 2.5, 8.0, 1.0]))
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)
    return path


ROW = {"srow_x": (1, 0, 0, 0), "srow_y": (0, 1, 0, 0), "srow_z": (0, 0, 1, 0)}
SCANNER = {"qform_code": 1, "quatern_b": 0, "quatern_c": 0, "quatern_d": 0}


def test_an_unknown_unit_is_taken_for_mm_and_said(tmp_path: Path) -> None:
    volume = read_nifti(headed(tmp_path / "odd.nii", xyzt_units=4), domain="mr", case_id="odd")
    assert volume.spacing_mm == (2.5, 2.5)
    assert "the header has an unknown unit of length (code 4); taken for mm" in volume.notes


@pytest.mark.parametrize("units", [4, 5, 6, 7, 12])
def test_one_odd_header_does_not_end_a_discovery(tmp_path: Path, units: int) -> None:
    headed(tmp_path / "good.nii")
    headed(tmp_path / "odd.nii", xyzt_units=units)
    headed(tmp_path / "quaternion.nii", sform_code=0, **SCANNER | {"quatern_b": 3})
    found = discover(tmp_path, "ct")
    assert [case.case_id for case in found.cases] == ["good", "odd", "quaternion"]
    with pytest.raises(CaseError, match="quaternion.nii: broken or cut short"):
        read_case(found.cases[2])


def test_an_sform_of_another_voxel_size_is_refused(tmp_path: Path) -> None:
    path = headed(tmp_path / "unit.nii", **ROW)
    with pytest.raises(CaseError, match=r"unit.nii: its sform has voxels of 1 x 1 x 1 mm, its pixdim 2.5 x 2.5 x 8 mm"):
        read_nifti(path, domain="mr", case_id="unit")


def test_an_sform_in_a_templates_space_gives_way_to_the_scanners_qform(tmp_path: Path) -> None:
    stretched = {"srow_x": (2.875, 0, 0, 0), "srow_y": (0, 2.875, 0, 0), "srow_z": (0, 0, 9.2, 0), "sform_code": 4}
    volume = read_nifti(headed(tmp_path / "t.nii", **stretched, **SCANNER), domain="mr", case_id="t")
    assert volume.spacing_mm == (2.5, 2.5)
    np.testing.assert_allclose(volume.slab_mm, 8.0)
    assert any(note.endswith("the qform is used") for note in volume.notes)
    save_mask(tmp_path / "mask.nii.gz", volume, volume.voxels > 0)
    np.testing.assert_allclose(load_mask(tmp_path / "mask.nii.gz")[1].slab_mm, 8.0)


def test_sform_and_qform_that_are_mirror_images_are_refused(tmp_path: Path) -> None:
    path = headed(tmp_path / "m.nii", srow_x=(-2.5, 0, 0, 12), **SCANNER)
    with pytest.raises(CaseError, match="m.nii: its sform and qform are mirror images"):
        read_nifti(path, domain="mr", case_id="m")


def test_sform_and_qform_far_apart_are_said(tmp_path: Path) -> None:
    path = headed(tmp_path / "far.nii", qoffset_x=30, **SCANNER)
    assert (
        "sform and qform lie up to 30 mm apart; the sform is used" in read_nifti(path, domain="mr", case_id="far").notes
    )


def test_a_pixdim_of_ones_states_nothing(tmp_path: Path) -> None:
    volume = read_nifti(headed(tmp_path / "ones.nii", pixdim=[1] * 8), domain="mr", case_id="ones")
    assert volume.spacing_mm == (2.5, 2.5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pixdim": [1] * 8, **SCANNER}, "its sform has voxels of 2.5 x 2.5 x 8 mm, its pixdim 1 x 1 x 1 mm"),
        ({"pixdim": [1, 2.5, 2.5, np.nan, 1, 1, 1, 1], **SCANNER}, "affine is singular"),
        ({"pixdim": [1, 2.5, 2.5, 0, 1, 1, 1, 1], "sform_code": 0}, "its pixdim holds no voxel size"),
        ({"pixdim": [1, 2.5, 2.5, np.nan, 1, 1, 1, 1], "sform_code": 0}, "affine is singular|holds no voxel size"),
        ({"srow_x": (np.inf, 0, 0, 0)}, "affine is singular"),
        ({"bitpix": 8}, "its bitpix 8 contradicts its datatype of 16 bits"),
        ({"scl_slope": -1, "scl_inter": 0}, "its scl_slope is -1, so air would be the brightest"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path, fields: dict[str, object], words: str) -> None:
    """Without a word of NumPy's on stderr."""
    with pytest.raises(CaseError, match=words):
        read_nifti(headed(tmp_path / "a.nii", **fields), domain="ct", case_id="a")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_more_slices_than_its_header_says_is_refused(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    data = bytearray(nib.Nifti1Image(np.zeros((8, 7, 6), np.int16), np.eye(4)).to_bytes())
    data[46:48] = (4).to_bytes(2, "little")
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
    with pytest.raises(CaseError, match="holds 672 bytes of voxels where its header says 448 bytes; write it again"):
        read_voxels(open_nifti(path), None)


def header_notes(tmp_path: Path, *edits: tuple[int, str, float]) -> str:
    """Notes on a scan whose header has bytes overwritten: (offset, struct format, value)."""
    voxels = np.random.default_rng(0).normal(30, 8, (8, 7, 6)).astype(np.int16)
    voxels[:2] = -1000
    data = bytearray(nib.Nifti1Image(voxels, np.diag([-4.0, -4.0, 5.0, 1.0])).to_bytes())
    for offset, form, value in edits:
        struct.pack_into("<" + form, data, offset, value)
    (tmp_path / "a.nii").write_bytes(data)
    return " ".join(read_nifti(tmp_path / "a.nii", domain="ct", case_id="a").notes)


def test_pixdim_left_at_ones_and_odd_intents_are_said(tmp_path: Path) -> None:
    assert header_notes(tmp_path) == ""
    ones = [(80, "f", 1.0), (84, "f", 1.0), (88, "f", 1.0)]
    assert "its pixdim says voxels of 1 mm, its sform 4 x 4 x 5 mm" in header_notes(tmp_path, *ones)
    assert "no picture's (intent_code 1002)" in header_notes(tmp_path, (68, "h", 1002))
    assert header_notes(tmp_path, (68, "h", 1001)) == ""
    for place in (112, 116):
        with pytest.raises(CaseError, match="slope|intercept"):
            header_notes(tmp_path, (112, "f", 1.0), (place, "f", float("inf")))
