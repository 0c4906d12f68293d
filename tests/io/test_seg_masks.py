"""DICOM SEG as masks: written by highdicom and dcmqi, in every geometry, against what these programs read in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import JPEG2000Lossless, RLELossless
from seg_files import (
    EVEN,
    GEOMETRIES,
    SHAPE,
    UNEVEN,
    changed,
    ct,
    dcmqi_seg,
    lesions,
    native,
    program,
    scan_of,
    seg,
    wanted,
)

from ctseg.errors import CaseError
from ctseg.io.drawn import ANOTHER_FRAME, ANOTHER_OWNER, OWN_FRAME, same_scan, slice_names
from ctseg.io.identity import pseudonym
from ctseg.io.masks import load_mask, save_mask
from ctseg.io.seg_masks import seg_on
from ctseg.io.spanning import spanned
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume


def put(path: Path, scan: Volume, chosen: tuple[int, ...] = (), tolerance_mm: float | None = None) -> np.ndarray:
    labels, place = load_mask(path, chosen)
    return seg_on(labels, place, scan, slice_names(scan), tolerance_mm)[0]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_frame_lies_on_its_own_slice(tmp_path: Path, name: str, kind: str) -> None:
    sources = ct(tmp_path / "ct", **GEOMETRIES[name])
    made = seg(tmp_path / "a.dcm", sources, lesions(), kind)
    assert made.NumberOfFrames < 2 * len(sources)
    scan = scan_of(tmp_path / "ct")
    for tolerance in (None, 0.1):
        mask = put(tmp_path / "a.dcm", scan, (), tolerance)
        np.testing.assert_array_equal(native(mask, scan), wanted(lesions(), sources))
    read = highdicom.seg.segread(tmp_path / "a.dcm").get_pixels_by_source_instance(
        [item.SOPInstanceUID for item in sources], combine_segments=True, skip_overlap_checks=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    np.testing.assert_array_equal(native(mask, scan), wanted(read, sources))


def test_frames_in_any_order_and_several_segments(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    seg(tmp_path / "a.dcm", sources, lesions())

    def shuffled(data: Dataset) -> None:
        order = np.random.default_rng(0).permutation(int(data.NumberOfFrames))
        planes, groups = data.pixel_array, list(data.PerFrameFunctionalGroupsSequence)
        data.PerFrameFunctionalGroupsSequence = [groups[place] for place in order]
        bits = np.packbits(planes[order].ravel(), bitorder="little").tobytes()
        data.PixelData = bits + b"\0" * (len(bits) % 2)

    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", shuffled)
    np.testing.assert_array_equal(load_mask(tmp_path / "a.dcm")[0], load_mask(tmp_path / "b.dcm")[0])
    assert set(np.unique(load_mask(tmp_path / "b.dcm")[0])) == {0, 1, 2}


@pytest.mark.parametrize("shape", [(19, 23), (17, 19), (20, 26)])
def test_frames_of_single_bits_begin_within_bytes(tmp_path: Path, shape: tuple[int, int]) -> None:
    sources = ct(tmp_path / "ct", shape=shape)
    seg(tmp_path / "a.dcm", sources, lesions(shape=shape))
    scan = scan_of(tmp_path / "ct")
    np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan), lesions(shape=shape))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL", "BINARY"])
def test_compressed_frames_are_read(tmp_path: Path, kind: str, syntax: str) -> None:
    if (kind, syntax) == ("BINARY", RLELossless):
        pytest.skip("highdicom writes none; OHIF does, see below")
    sources = ct(tmp_path / "ct", shape=(40, 36))
    labels = lesions(shape=(40, 36))
    values = (labels > 0).astype(float) if kind == "FRACTIONAL" else labels
    segments = 1 if kind == "FRACTIONAL" else 2
    seg(tmp_path / "a.dcm", sources, values, kind, segments=segments, transfer_syntax_uid=syntax)
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID == syntax
    scan = scan_of(tmp_path / "ct")
    np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan), values)


def as_ohif(data: Dataset) -> None:
    """Single bits of each frame packed into bytes, which RLE compresses; without the distance of slices."""
    encoder = get_encoder(RLELossless)
    size = -(-data.Rows * data.Columns // 8)
    packed = [np.packbits(plane.ravel(), bitorder="little") for plane in data.pixel_array]
    said = {
        "rows": 1, "columns": size, "samples_per_pixel": 1, "bits_allocated": 8, "bits_stored": 8,
        "pixel_representation": 0, "number_of_frames": 1, "photometric_interpretation": "MONOCHROME2",
    }  # fmt: skip
    frames = [encoder.encode(part.reshape(1, size), index=0, **said) for part in packed]
    data.PixelData = encapsulate(frames)
    data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = RLELossless
    shared(data, "PixelMeasuresSequence").pop("SpacingBetweenSlices", None)


def test_single_bits_in_run_lengths_are_read_as_ohif_writes_them(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    seg(tmp_path / "a.dcm", sources, lesions())
    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", as_ohif)
    np.testing.assert_array_equal(put(tmp_path / "b.dcm", scan_of(tmp_path / "ct")), lesions())

    def cut(data: Dataset) -> None:
        data.PixelData = data.PixelData[:-40]

    changed(tmp_path / "b.dcm", tmp_path / "c.dcm", cut)
    with pytest.raises(CaseError, match=r"c\.dcm: "):
        load_mask(tmp_path / "c.dcm")


def test_probabilities_are_refused_and_all_or_nothing_is_not(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    values = (lesions() > 0).astype(float)
    seg(tmp_path / "a.dcm", sources, values, "FRACTIONAL", segments=1, max_fractional_value=200)
    np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan_of(tmp_path / "ct")), values)
    values[3, 6, 8] = 0.5
    seg(tmp_path / "a.dcm", sources, values, "FRACTIONAL", segments=1)
    with pytest.raises(CaseError, match=r"a\.dcm: holds probabilities \(FRACTIONAL\).*threshold it"):
        load_mask(tmp_path / "a.dcm")


def test_segments_that_overlap_are_one_lesion_or_the_chosen_ones(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    layers = np.stack([lesions() == 1, lesions() == 2, np.zeros_like(lesions(), bool)], axis=-1)
    layers[4:6, 4:14, 2:8, 2] = True
    seg(tmp_path / "a.dcm", sources, layers.astype(np.uint8), segments=3)
    mask, place = load_mask(tmp_path / "a.dcm")
    assert place.notes == ("segments of its mask overlap; a voxel in several of them counts once",)
    scan = scan_of(tmp_path / "ct")
    np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan) > 0, layers.any(axis=-1))
    for chosen in ((1,), (2,), (3,), (1, 3), (2, 3)):
        mask = put(tmp_path / "a.dcm", scan, chosen)
        np.testing.assert_array_equal(np.isin(mask, chosen), layers[..., [n - 1 for n in chosen]].any(axis=-1))


def test_slices_that_are_left_out_between_others_are_there_again(tmp_path: Path) -> None:
    """Alone, a mask has the mL that it has on its scan, though its slices lie apart."""
    sources = ct(tmp_path / "ct")
    labels = lesions()
    labels[3] = 0
    made = seg(tmp_path / "a.dcm", sources, labels)
    mask, place = load_mask(tmp_path / "a.dcm")
    assert made.NumberOfFrames == 5
    assert mask.shape == (5, *SHAPE)
    np.testing.assert_allclose(place.slab_mm, 2.5)
    np.testing.assert_array_equal(mask, labels[2:7])
    assert place.drawn.is_frame.tolist() == [True, False, True, True, True]
    scan = scan_of(tmp_path / "ct")
    on = put(tmp_path / "a.dcm", scan)
    assert float((mask > 0).sum(axis=(1, 2)) @ place.voxel_ml) == pytest.approx(
        float((on > 0).sum(axis=(1, 2)) @ scan.voxel_ml)
    )


def test_an_uneven_stack_alone_does_not_say_how_thick_its_slices_are(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct", UNEVEN)
    seg(tmp_path / "a.dcm", sources, lesions())
    mask, place = load_mask(tmp_path / "a.dcm")
    assert not place.drawn.is_even
    assert mask.shape == (5, *SHAPE)
    with pytest.raises(CaseError, match="one holds uneven slices"):
        spanned(place, place)


def of_every_second_slice(folder: Path, step: int = 2) -> tuple[list[Dataset], list[Dataset]]:
    """A thin series, and a thick one in its frame of reference whose slices lie in places of the thin one's."""
    thin = ct(folder / "ct", [(-8.0, -9.0, 2.5 * k) for k in range(18)])
    place = thin[0].FrameOfReferenceUID
    thick = ct(
        folder / "thick",
        [(-8.0, -9.0, 2.5 * step * k) for k in range(9)],
        FrameOfReferenceUID=place,
        SliceThickness=5.0,
    )
    return thin, thick


@pytest.mark.parametrize("with_names", [True, False])
@pytest.mark.parametrize("slices", [slice(2, 7), slice(3, 4)])
def test_a_mask_of_every_second_slice_is_none_of_this_scan(tmp_path: Path, slices: slice, with_names: bool) -> None:
    """All its voxels lie on voxels of the thin series: half of the lesion would be missing."""
    _, thick = of_every_second_slice(tmp_path)
    labels = np.zeros((9, *SHAPE), np.uint8)
    labels[slices] = lesions()[slices]
    seg(tmp_path / "a.dcm", thick, labels)
    if not with_names:
        changed(tmp_path / "a.dcm", tmp_path / "a.dcm", nameless)
    scan = scan_of(tmp_path / "ct")
    with pytest.raises(CaseError, match="has slices 5 mm apart, which are no neighbours in its scan"):
        put(tmp_path / "a.dcm", scan)
    labels, place = load_mask(tmp_path / "a.dcm")
    with pytest.raises(CaseError, match="no neighbours"):
        seg_on(labels, place, scan, (), 0.1)


def nameless(data: Dataset) -> None:
    """Nothing says from which slices it was made."""
    for group in data.PerFrameFunctionalGroupsSequence:
        group.pop("DerivationImageSequence", None)
    data.pop("ReferencedSeriesSequence", None)
    data.pop("SourceImageSequence", None)


@pytest.mark.parametrize("change", [None, nameless])
def test_slices_drawn_far_apart_on_this_scan_are_taken(
    tmp_path: Path, change: Callable[[Dataset], None] | None
) -> None:
    """Each third slice, and one alone: the names say that they are this scan's slices, or their distance does."""
    sources = ct(tmp_path / "ct")
    scan = scan_of(tmp_path / "ct")
    for chosen in ([1, 4, 7], [5]):
        labels = np.zeros((9, *SHAPE), np.uint8)
        labels[chosen] = lesions()[3]
        seg(tmp_path / "a.dcm", sources, labels)
        if change:
            changed(tmp_path / "a.dcm", tmp_path / "a.dcm", change)
        np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan), labels)


def test_nothing_says_which_slices_these_are(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    labels = np.zeros((9, *SHAPE), np.uint8)
    labels[5] = lesions()[3]
    seg(tmp_path / "a.dcm", sources, labels)

    def unsaid(data: Dataset) -> None:
        nameless(data)
        for group in (*data.SharedFunctionalGroupsSequence, *data.PerFrameFunctionalGroupsSequence):
            for item in group.get("PixelMeasuresSequence") or ():
                item.pop("SpacingBetweenSlices", None)
                item.pop("SliceThickness", None)

    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", unsaid)
    with pytest.raises(CaseError, match="does not say how far apart its slices are, nor which slices of this scan"):
        put(tmp_path / "b.dcm", scan_of(tmp_path / "ct"))


def moved(by: tuple[float, float, float]) -> Callable[[Dataset], None]:
    def change(data: Dataset) -> None:
        for group in data.PerFrameFunctionalGroupsSequence:
            item = group.PlanePositionSequence[0]
            item.ImagePositionPatient = [a + b for a, b in zip(item.ImagePositionPatient, by, strict=True)]

    return change


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize(
    ("by", "words"),
    [((0.3, 0, 0), ""), ((0, 0.4, 0), ""), ((0, 0, 1.2), ""), ((0.05, 0, 0), ""), ((0, 0, 1.4), "another slice"),
     ((0, 0, 60.0), ""), ((5.0, 0, 0), ""), ((0.7 * 12, 0, 0), "outside of its scan")],
)  # fmt: skip
def test_half_a_voxel_is_noted_and_more_is_refused(
    tmp_path: Path, by: tuple[float, float, float], words: str, names: bool
) -> None:
    """As of any other mask by `preprocess`; where voxel centres may not lie apart, as by `evaluate`, it is refused."""
    sources = ct(tmp_path / "ct")
    seg(tmp_path / "a.dcm", sources, lesions())
    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", moved(by))
    if not names:
        changed(tmp_path / "b.dcm", tmp_path / "b.dcm", nameless)
    scan = scan_of(tmp_path / "ct")
    labels, place = load_mask(tmp_path / "b.dcm")
    furthest = max(map(abs, by))
    if words == "another slice" and not names:
        return  # nothing tells that it is not the slice that is nearest
    is_near = furthest <= 1.25 and abs(by[0]) <= 0.35 and abs(by[1]) <= 0.45
    if is_near:
        on, notes = seg_on(labels, place, scan, slice_names(scan))
        np.testing.assert_array_equal(on, lesions())
        said = [f"its mask lies up to {furthest:.1f} mm off by its header; taken voxel by voxel"]
        assert notes == (said if furthest > 0.1 else [])
    else:
        with pytest.raises(CaseError, match=(words if names else "") or "of its scan"):
            seg_on(labels, place, scan, slice_names(scan))
    if furthest > 0.1:
        with pytest.raises(CaseError, match="of its scan|another slice"):
            seg_on(labels, place, scan, slice_names(scan), 0.1)


def test_the_mask_of_another_scan_is_refused_and_of_another_series_said(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    scan = scan_of(tmp_path / "ct")
    same = {name: sources[0][name].value for name in ("FrameOfReferenceUID", "StudyInstanceUID")}
    seg(tmp_path / "a.dcm", ct(tmp_path / "kernel", **same), lesions())
    labels, place = load_mask(tmp_path / "a.dcm")
    on, notes = seg_on(labels, place, scan, slice_names(scan))
    np.testing.assert_array_equal(on, lesions())
    assert notes == ["its mask names another series, which lies in the same place; is it the mask of this scan?"]
    seg(tmp_path / "b.dcm", ct(tmp_path / "other"), lesions())
    with pytest.raises(CaseError, match="lies in another frame of reference than its scan: is it the mask of another"):
        put(tmp_path / "b.dcm", scan)
    changed(tmp_path / "b.dcm", tmp_path / "c.dcm", lambda data: data.pop("FrameOfReferenceUID"))
    labels, place = load_mask(tmp_path / "c.dcm")
    assert seg_on(labels, place, scan, slice_names(scan))[1] == [ANOTHER_OWNER.format("StudyInstanceUID"), *notes]


@pytest.mark.parametrize(("tags", "named"), [
    ({}, ""),
    ({"PatientID": "OTHER-1"}, "PatientID"),
    ({"PatientName": "Roe^Rick", "PatientBirthDate": "19700101"}, "PatientName, PatientBirthDate"),
    ({"StudyInstanceUID": "1.2.3"}, "StudyInstanceUID"),
    ({"PatientID": " secret-4711", "PatientName": "DOE^JANE^^"}, ""),
    ({"PatientID": "", "PatientName": "", "PatientBirthDate": ""}, ""),
    ({"PatientID": pseudonym("SECRET-4711"), "PatientName": f"{pseudonym('SECRET-4711')}^"}, ""),
])  # fmt: skip
def test_a_mask_of_another_person_or_study_is_said(tmp_path: Path, tags: dict[str, str], named: str) -> None:
    """It names the slices of this scan, and the header around it is somebody else's."""
    seg(tmp_path / "a.dcm", ct(tmp_path / "ct"), lesions())
    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", lambda data: [setattr(data, *tag) for tag in tags.items()])
    scan = scan_of(tmp_path / "ct")
    labels, place = load_mask(tmp_path / "b.dcm")
    assert seg_on(labels, place, scan, slice_names(scan))[1] == ([ANOTHER_OWNER.format(named)] if named else [])
    other = load_mask(tmp_path / "a.dcm")[1]
    assert same_scan(place, other) == ([ANOTHER_OWNER.format(named)] if named else [])


def test_a_mask_of_this_scan_in_another_frame_of_reference_is_said(tmp_path: Path) -> None:
    """Anonymised apart from its scan; of a series that holds two frames of reference it may be the other's."""
    sources = ct(tmp_path / "ct")
    scan = scan_of(tmp_path / "ct")
    seg(tmp_path / "a.dcm", sources, lesions())
    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", lambda data: setattr(data, "FrameOfReferenceUID", "1.2.3"))
    labels, place = load_mask(tmp_path / "b.dcm")
    on, notes = seg_on(labels, place, scan, slice_names(scan))
    np.testing.assert_array_equal(on, lesions())
    assert notes == [OWN_FRAME]
    unnamed = replace(place, drawn=replace(place.drawn, sources=(frozenset(),) * len(place.drawn.sources)))
    assert seg_on(labels, unnamed, scan, slice_names(scan))[1] == [OWN_FRAME]
    seg(tmp_path / "c.dcm", ct(tmp_path / "other", SeriesInstanceUID=sources[0].SeriesInstanceUID), lesions())
    with pytest.raises(CaseError, match=re.escape(ANOTHER_FRAME)):
        put(tmp_path / "c.dcm", scan)


@pytest.mark.parametrize("name", ["even", "sagittal", "coronal"])
def test_a_frame_that_names_another_slice_is_refused(tmp_path: Path, name: str) -> None:
    sources = ct(tmp_path / "ct", **GEOMETRIES[name])
    seg(tmp_path / "a.dcm", sources, lesions())

    def swapped(data: Dataset) -> None:
        first, last = data.PerFrameFunctionalGroupsSequence[0], data.PerFrameFunctionalGroupsSequence[2]
        one, other = (item.DerivationImageSequence[0].SourceImageSequence[0] for item in (first, last))
        one.ReferencedSOPInstanceUID, other.ReferencedSOPInstanceUID = (
            other.ReferencedSOPInstanceUID, one.ReferencedSOPInstanceUID,
        )  # fmt: skip

    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", swapped)
    with pytest.raises(CaseError, match="names another slice of its scan than the one where it lies"):
        put(tmp_path / "b.dcm", scan_of(tmp_path / "ct"))


@pytest.mark.parametrize(("thickness", "taken"), [(5.0, 5.0), (2.5, 1.0)])
def test_a_single_slice_is_as_thick_as_its_scans(tmp_path: Path, thickness: float, taken: float) -> None:
    """highdicom says of a mask of one slice that the next is 1 mm away: 5 mL were 1 mL."""
    sources = ct(tmp_path / "ct", EVEN[:1], SliceThickness=thickness)
    made = seg(tmp_path / "a.dcm", sources, lesions()[3:4])
    assert shared(made, "PixelMeasuresSequence").SpacingBetweenSlices == 1
    place = load_mask(tmp_path / "a.dcm")[1]
    assert place.thickness_mm == taken
    assert place.notes[0].startswith(f"its one slice is {thickness:.3g} mm thick and 1 mm from the next by its header")


def shared(data: Dataset, name: str) -> Dataset:
    return getattr(data.SharedFunctionalGroupsSequence[0], name)[0]


def first(data: Dataset, name: str) -> Dataset:
    return getattr(data.PerFrameFunctionalGroupsSequence[0], name)[0]


def tiled(data: Dataset) -> None:
    """As pathology has it: the order of the frames says where each lies."""
    data.DimensionOrganizationType = "TILED_FULL"
    data.pop("PerFrameFunctionalGroupsSequence")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: setattr(d, "NumberOfFrames", 400), "says 400 frames and describes 6"),
        (lambda d: setattr(d, "NumberOfFrames", 5), "says 5 frames and describes 6"),
        (lambda d: setattr(d, "Rows", 60000), "its header claims 60000 x 26 pixels a frame|has .* bytes of pixels"),
        (lambda d: setattr(d, "Columns", 27), "has 372 bytes of pixels where 6 frames need 385"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:100]), "has 100 bytes of pixels where 6 frames need 371"),
        (lambda d: d.pop("PixelData"), "has no pixel data"),
        (lambda d: setattr(d, "BitsAllocated", 32), "BitsAllocated is 32"),
        (lambda d: d.pop("PerFrameFunctionalGroupsSequence"), "says 6 frames and describes 0; write it as NIfTI"),
        (lambda d: tiled(d), r"tiles of larger pictures.*\(TILED_FULL\), which is not read; write it as NIfTI"),
        (lambda d: d.pop("SegmentSequence"), "its segments have the numbers none, where 1 to 255 are read"),
        (lambda d: setattr(d.SegmentSequence[1], "SegmentNumber", 300), "have the numbers 1 to 300"),
        (lambda d: setattr(d.SegmentSequence[1], "SegmentNumber", 7), "frames of a segment that it does not describe"),
        (lambda d: setattr(d, "SegmentationType", "LABELMAP"), "its SegmentationType is none of its SOPClassUID"),
        (lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.5"), "no DICOM SEG of voxels"),
        (lambda d: first(d, "PlanePositionSequence").pop("ImagePositionPatient"), "no usable ImagePositionPatient"),
        (lambda d: shared(d, "PixelMeasuresSequence").pop("PixelSpacing"), "no usable PixelSpacing"),
        (lambda d: setattr(shared(d, "PixelMeasuresSequence"), "PixelSpacing", [0, 0.7]), "no usable PixelSpacing"),
        (lambda d: shared(d, "PlaneOrientationSequence").clear(), "no usable ImageOrientationPatient"),
        (
            lambda d: setattr(shared(d, "PlaneOrientationSequence"), "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
            "no usable ImageOrientationPatient",
        ),
        (lambda d: moved_beside(d), "its frames of one slice lie beside each other"),
        (lambda d: doubled(d), "two of its frames show one segment in one place"),
        (lambda d: setattr(shared(d, "PixelMeasuresSequence"), "PixelSpacing", [40, 40]), "voxels of 2.5 x 40 x 40 mm"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused(tmp_path: Path, change: Callable[[Dataset], object], words: str) -> None:
    seg(tmp_path / "a.dcm", ct(tmp_path / "ct"), lesions())
    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", change)
    with pytest.raises(CaseError, match=words) as caught:
        load_mask(tmp_path / "b.dcm")
    assert str(caught.value).startswith(f"{tmp_path / 'b.dcm'}: ")
    assert "Jane" not in str(caught.value)


def moved_beside(data: Dataset) -> None:
    """Of the slice that shows two segments, one frame lies elsewhere."""
    places = [group.PlanePositionSequence[0] for group in data.PerFrameFunctionalGroupsSequence]
    heights = [float(item.ImagePositionPatient[2]) for item in places]
    twice = next(item for item, z in zip(places, heights, strict=True) if heights.count(z) == 2)
    twice.ImagePositionPatient = [0.0, 0.0, twice.ImagePositionPatient[2]]


def doubled(data: Dataset) -> None:
    for group in data.PerFrameFunctionalGroupsSequence:
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1


def test_slices_far_apart_make_no_room_for_those_between(tmp_path: Path) -> None:
    """A header cannot ask for more than its file holds: a kilometre of slices is not filled in."""
    seg(tmp_path / "a.dcm", ct(tmp_path / "ct"), lesions())

    def far(data: Dataset) -> None:
        first(data, "PlanePositionSequence").ImagePositionPatient = [-8.0, -9.0, 2.5e8]

    changed(tmp_path / "a.dcm", tmp_path / "b.dcm", far)
    mask, place = load_mask(tmp_path / "b.dcm")
    assert len(mask) <= 6
    assert not place.drawn.is_even


def test_an_empty_mask_is_one(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    seg(tmp_path / "a.dcm", sources, np.zeros((9, *SHAPE), np.uint8))
    mask = put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    assert mask.shape == (9, *SHAPE)
    assert not mask.any()


def test_a_mask_may_have_another_matrix_of_the_same_pixels(tmp_path: Path) -> None:
    """A SEG that is cut in-plane lies where its positions say."""
    ct(tmp_path / "ct")
    place = pydicom.dcmread(next((tmp_path / "ct").iterdir())).FrameOfReferenceUID
    cut = [(x + 0.7 * 2, y + 0.9 * 3, z) for x, y, z in EVEN]
    small = ct(tmp_path / "cut", cut, shape=(14, 20), FrameOfReferenceUID=place)
    seg(tmp_path / "a.dcm", small, lesions()[:, 3:17, 2:22])
    np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan_of(tmp_path / "ct")), lesions())


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--segmentationType", "labelmap"), ("--skip", "0"), ("--compress", "deflate")])
@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name not in ("uneven", "tilted")])
def test_what_dcmqi_writes_lies_where_simpleitk_has_it(tmp_path: Path, name: str, flags: tuple[str, ...]) -> None:
    """Labels go out as NIfTI on the grid of the scan, and through dcmqi come back as the same mask."""
    sitk = pytest.importorskip("SimpleITK")
    sources = ct(tmp_path / "ct", **GEOMETRIES[name])
    scan = scan_of(tmp_path / "ct")
    labels = wanted(lesions(), sources)
    mask = np.ascontiguousarray(scan.native.to_canonical(labels.transpose(2, 1, 0)))
    save_mask(tmp_path / "a.nii.gz", scan, mask)
    path = dcmqi_seg(tmp_path / "a.dcm", tmp_path / "a.nii.gz", tmp_path / "ct", [1, 2], *flags)
    np.testing.assert_array_equal(put(path, scan), mask)
    words = [program("segimage2itkimage"), "--inputDICOM", str(path), "--outputDirectory", str(tmp_path / "back")]
    (tmp_path / "back").mkdir()
    subprocess.run([*words, "-t", "nrrd", "--prefix", "back"], capture_output=True, check=True)
    read, place = load_mask(path)
    for number in (1, 2):
        file = tmp_path / "back" / f"back-{number}.nrrd"  # of a label map there is one file
        image = sitk.ReadImage(str(file if file.exists() else file.with_name("back-1.nrrd")))
        marked = np.argwhere(sitk.GetArrayFromImage(image) == number)[:, ::-1]
        theirs = np.array([image.TransformIndexToPhysicalPoint(index.tolist()) for index in marked])
        ours = Grid.of(place).points_mm(read == number)
        np.testing.assert_allclose(in_order(ours), in_order(theirs), atol=1e-3)


def in_order(points: np.ndarray) -> np.ndarray:
    rounded = np.round(points, 2)
    return points[np.lexsort(rounded.T)]
