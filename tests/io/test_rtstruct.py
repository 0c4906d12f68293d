"""RT structure sets as masks: in every geometry, in every form of hole, and what lies elsewhere or says wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from rt_files import borders, contours, nameless, rtstruct
from seg_files import (
    EVEN,
    GEOMETRIES,
    SHAPE,
    TILTED,
    UNEVEN,
    ct,
    lesions,
    native,
    program,
    scan_of,
    wanted,
)
from skimage.measure import points_in_poly

from ctseg.errors import CaseError
from ctseg.inference.dicom_rtstruct import write_rtstruct
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.io.dicom.header import read_tags
from ctseg.io.dicom.rtstruct import is_rtstruct, read_rtstruct
from ctseg.io.drawn import ANOTHER_OWNER, OWN_FRAME, slice_names
from ctseg.io.masks import load_mask
from ctseg.io.named_masks import named_case
from ctseg.io.outlines import CROSSING, LOST, NESTED, OVERLAP, outlines_on
from ctseg.io.polygons import filled
from ctseg.io.source import Source
from ctseg.io.volume import Volume

SEVERAL = "all of its regions count as lesions (1, 2); choose by their numbers where they are none"


def put(
    path: Path, scan: Volume, chosen: tuple[int, ...] = (), tolerance_mm: float | None = None
) -> tuple[np.ndarray, list[str]]:
    return outlines_on(read_rtstruct(Source(str(path)), chosen), scan, slice_names(scan), chosen, tolerance_mm)


def square(low: float, high: float, *, turn: int = 1) -> np.ndarray:
    """(4, 2) the corners of a square in a picture, one way round or the other."""
    return np.array([(low, low), (low, high), (high, high), (high, low)], float)[::turn]


def inner(*bounds: tuple[int, int]) -> np.ndarray:
    """(rows, columns) of SHAPE: squares of whole pixels, nested ones by turns in and out."""
    mask = np.zeros(SHAPE, bool)
    for low, high in bounds:
        mask[low:high, low:high] ^= True
    return mask


@pytest.mark.parametrize("tolerance", [None, 0.1])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_outlines_enclose_the_pixels_they_were_drawn_around(tmp_path: Path, name: str, tolerance: float | None) -> None:
    sources = ct(tmp_path / "ct", **GEOMETRIES[name])
    labels = lesions()
    labels[3, 6, 8] = 0  # a hole
    rtstruct(tmp_path / "a.dcm", sources, {n: borders(labels == n) for n in (1, 2)})
    scan = scan_of(tmp_path / "ct")
    for chosen, said in (((), [SEVERAL, NESTED]), ((1,), [NESTED]), ((2,), []), ((1, 2), [NESTED])):
        mask, notes = put(tmp_path / "a.dcm", scan, chosen, tolerance)
        counted = np.where(np.isin(labels, chosen or (1, 2)), labels, 0)
        np.testing.assert_array_equal(native(mask, scan), wanted(counted, sources))
        assert notes == said


@pytest.mark.parametrize("name", ["even", "tilted", "oblique", "uneven"])
def test_pixel_centres_inside_by_a_second_implementation(tmp_path: Path, name: str) -> None:
    """Outlines that follow no pixels, in a matrix whose centres all lie off them."""
    rng = np.random.default_rng(3)
    sources = ct(tmp_path / "ct", shape=(60, 70), **GEOMETRIES[name])
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    drawn, truth = [], np.zeros((9, 60, 70), bool)
    for k in range(9):
        radius = 20 + 4 * np.cos(3 * angle + rng.uniform(0, 6)) + rng.normal(0, 0.4, 90)
        points = np.stack([30 + radius * np.sin(angle), 34 + radius * np.cos(angle)], axis=1)
        drawn.append((k, points))
        truth[k] = points_in_poly(np.argwhere(np.ones((60, 70))), points).reshape(60, 70)
    rtstruct(tmp_path / "a.dcm", sources, {1: drawn})
    mask, notes = put(tmp_path / "a.dcm", scan := scan_of(tmp_path / "ct"))
    differ = native(mask, scan) != wanted(truth, sources)
    assert differ.sum() <= 0.001 * truth.sum()  # on the path within 0.002 mm
    assert notes == []


def test_points_on_the_path_are_part_of_the_region(tmp_path: Path) -> None:
    """PS3.3, C.8.8.6.3. rt-utils and OpenCV draw through pixel centres: one pixel is a point, two are a line."""
    sources = ct(tmp_path / "ct")
    drawn = [
        (2, square(4, 9)), (3, square(4, 9)), (3, square(6, 7)), (4, np.array([[5.0, 6.0]])),
        (5, np.array([[5.0, 6.0], [5.0, 9.0]])), (6, np.array([[5.0, 5.0], [9.0, 9.0]])),
    ]  # fmt: skip
    rtstruct(tmp_path / "a.dcm", sources, {1: drawn}, digits=3)
    mask, notes = put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    expected = np.zeros((9, *SHAPE), np.uint8)
    expected[2, 4:10, 4:10] = expected[3, 4:10, 4:10] = 1  # the hole's path is that of its border pixels
    expected[4, 5, 6] = 1
    expected[5, 5, 6:10] = 1
    expected[6, range(5, 10), range(5, 10)] = 1
    np.testing.assert_array_equal(mask, expected)
    assert notes in ([], [NESTED])


@pytest.mark.parametrize(
    ("drawn", "kind", "note"),
    [
        ([square(3.5, 13.5), square(5.5, 9.5)], "CLOSED_PLANAR", [NESTED]),
        ([square(5.5, 9.5, turn=-1), square(3.5, 13.5)], "CLOSED_PLANAR", [NESTED]),
        ([square(3.5, 13.5), square(5.5, 9.5)], "CLOSEDPLANAR_XOR", []),
        ([np.array([*square(3.5, 13.5), (3.5, 3.5), (5.5, 5.5), *square(5.5, 9.5)[:0:-1], (5.5, 5.5)])],
         "CLOSED_PLANAR", []),
    ],
    ids=["nested", "nested, turned", "exclusive or", "keyhole"],
)  # fmt: skip
def test_holes_in_every_form(tmp_path: Path, drawn: list[np.ndarray], kind: str, note: list[str]) -> None:
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", sources, {1: [(4, points) for points in drawn]}, kind=kind)
    mask, notes = put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    np.testing.assert_array_equal(mask[4], inner((4, 14), (6, 10)))
    assert not np.delete(mask, 4, axis=0).any()
    assert notes == note


def test_islands_in_holes_and_parts_beside_each_other(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    bounds = [(1, 17), (3, 15), (5, 12), (7, 9)]
    drawn = [square(low - 0.5, high - 0.5) for low, high in bounds] + [square(1.5, 2.5) + np.array([0, 18])]
    rtstruct(tmp_path / "a.dcm", sources, {1: [(4, points) for points in drawn[::-1]]})
    mask, _ = put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    expected = inner(*bounds)
    expected[2, 20] = True
    np.testing.assert_array_equal(mask[4], expected)


@pytest.mark.parametrize("second", [square(6.5, 12.5), square(3.5, 9.5)], ids=["crossing", "twice"])
def test_outlines_that_cross_are_refused_where_no_rule_is_said(tmp_path: Path, second: np.ndarray) -> None:
    """Together they enclose more, or less, by the rule that a program takes: twice the same would be nothing."""
    sources = ct(tmp_path / "ct")
    both = {1: [(4, square(3.5, 9.5)), (4, second)]}
    rtstruct(tmp_path / "a.dcm", sources, both)
    with pytest.raises(CaseError, match=CROSSING[:40]):
        put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    rtstruct(tmp_path / "b.dcm", sources, both, kind="CLOSEDPLANAR_XOR")
    mask, _ = put(tmp_path / "b.dcm", scan_of(tmp_path / "ct"))
    low, high = round(second.min() + 0.5), round(second.max() + 0.5)
    np.testing.assert_array_equal(mask[4], inner((4, 10), (low, high)))
    rtstruct(tmp_path / "c.dcm", sources, {1: both[1][:1], 2: both[1][1:]})
    mask, notes = put(tmp_path / "c.dcm", scan_of(tmp_path / "ct"))
    np.testing.assert_array_equal(mask[4] > 0, inner((4, 10)) | inner((low, high)))
    assert OVERLAP in notes


def test_regions_that_overlap_are_one_lesion_or_the_chosen_ones(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    parts = {n: inner((2 * n, 2 * n + 6)) for n in (1, 2, 3)}
    rtstruct(tmp_path / "a.dcm", sources, {n: [(4, square(2 * n - 0.5, 2 * n + 5.5))] for n in (3, 1, 2)})
    scan = scan_of(tmp_path / "ct")
    mask, _ = put(tmp_path / "a.dcm", scan)
    np.testing.assert_array_equal(mask[4] > 0, parts[1] | parts[2] | parts[3])
    for chosen in ((1,), (2,), (3,), (1, 3), (2, 3)):
        mask, _ = put(tmp_path / "a.dcm", scan, chosen)
        union = np.any([parts[n] for n in chosen], axis=0)
        np.testing.assert_array_equal(np.isin(mask[4], chosen), union)


def test_what_encloses_nothing_is_said(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", sources, {1: [(4, square(3.5, 9.5)), (5, square(4.2, 4.8))]})
    mask, notes = put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    assert (mask.sum(), notes) == (36, [LOST.format(1)])

    def opened(made: Dataset) -> None:
        contours(made)[1].ContourGeometricType = "OPEN_PLANAR"

    rtstruct(tmp_path / "b.dcm", sources, {1: [(4, square(3.5, 9.5)), (5, square(3.5, 9.5))]}, change=opened)
    mask, notes = put(tmp_path / "b.dcm", scan_of(tmp_path / "ct"))
    assert mask.sum() == 36
    assert notes == ["leaves out points and open lines, which enclose nothing (region 1)"]


def test_an_empty_structure_set_is_an_empty_mask(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", sources, {1: []})
    mask, notes = put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    assert not mask.any()
    assert notes == ["its structure set holds no outline; it counts as an empty mask"]
    rtstruct(tmp_path / "b.dcm", sources, {1: [(4, square(3.5, 9.5))]})
    mask, notes = put(tmp_path / "b.dcm", scan_of(tmp_path / "ct"), (2,))
    assert not mask.any()
    assert notes == ["has none of the chosen regions (it has 1); it counts as an empty mask"]


def test_the_body_is_no_lesion_unless_it_is_chosen(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    regions = {1: [(4, square(0.5, 16.5))], 2: [(4, square(3.5, 9.5))]}
    rtstruct(tmp_path / "a.dcm", sources, regions, types={1: "EXTERNAL", 2: "GTV"})
    scan = scan_of(tmp_path / "ct")
    with pytest.raises(CaseError, match=r"its region 1 is no lesion by its type \(EXTERNAL\); name the numbers"):
        put(tmp_path / "a.dcm", scan)
    mask, notes = put(tmp_path / "a.dcm", scan, (2,))
    assert (mask.sum(), notes) == (72, [])


def test_numbers_that_are_no_label_values(tmp_path: Path) -> None:
    sources = ct(tmp_path / "ct")
    scan = scan_of(tmp_path / "ct")
    for number in (0, 300):
        rtstruct(tmp_path / "a.dcm", sources, {number: [(4, square(3.5, 9.5))]})
        assert put(tmp_path / "a.dcm", scan)[0].sum() == 36
        rtstruct(tmp_path / "b.dcm", sources, {number: [(4, square(3.5, 9.5))], 7: [(5, square(3.5, 9.5))]})
        with pytest.raises(CaseError, match=r"its regions have the numbers \d+ to \d+, where 1 to 255 are read"):
            put(tmp_path / "b.dcm", scan)


def of_another_place(made: Dataset) -> None:
    made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    made.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"


def test_the_scan_that_it_names_is_this_one(tmp_path: Path) -> None:
    sources, other = ct(tmp_path / "ct"), ct(tmp_path / "other")
    drawn = {1: borders(lesions() > 0)}
    scan = scan_of(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", other, drawn)
    with pytest.raises(CaseError, match="lies in another frame of reference than its scan"):
        put(tmp_path / "a.dcm", scan)

    def same_place(made: Dataset) -> None:
        frame = sources[0].FrameOfReferenceUID
        made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = frame
        made.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = frame
        made.StudyInstanceUID = sources[0].StudyInstanceUID

    rtstruct(tmp_path / "b.dcm", other, drawn, change=same_place)
    mask, notes = put(tmp_path / "b.dcm", scan)
    assert mask.sum() == (lesions() > 0).sum()
    assert notes == ["its mask names another series, which lies in the same place; is it the mask of this scan?"]
    rtstruct(tmp_path / "c.dcm", sources, drawn, change=of_another_place)
    again, notes = put(tmp_path / "c.dcm", scan)
    np.testing.assert_array_equal(again, mask)
    assert notes == [OWN_FRAME]  # the slices that it names are this scan's


def test_outlines_of_another_person_are_said(tmp_path: Path) -> None:
    drawn = {1: borders(lesions() > 0)}
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", sources, drawn, change=lambda made: setattr(made, "PatientID", "OTHER-1"))
    assert put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))[1] == [ANOTHER_OWNER.format("PatientID")]


def test_a_region_of_another_frame_is_refused_and_another_is_not(tmp_path: Path) -> None:
    sources, other = ct(tmp_path / "ct"), ct(tmp_path / "other")
    drawn = {1: borders(lesions() == 1), 2: borders(lesions() == 2)}

    def both(made: Dataset) -> None:
        foreign = rtstruct(tmp_path / "x.dcm", other, drawn)
        made.ReferencedFrameOfReferenceSequence.append(foreign.ReferencedFrameOfReferenceSequence[0])
        made.StructureSetROISequence[1] = foreign.StructureSetROISequence[1]
        made.ROIContourSequence[1] = foreign.ROIContourSequence[1]

    rtstruct(tmp_path / "a.dcm", sources, drawn, change=both)
    scan = scan_of(tmp_path / "ct")
    for chosen in ((), (2,)):
        with pytest.raises(CaseError, match="another frame of reference"):
            put(tmp_path / "a.dcm", scan, chosen)
    np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan, (1,))[0], lesions() == 1)


@pytest.mark.parametrize("name", ["even", "sagittal", "coronal"])
def test_an_outline_that_names_another_slice_is_refused(tmp_path: Path, name: str) -> None:
    sources = ct(tmp_path / "ct", **GEOMETRIES[name])

    def swapped(made: Dataset) -> None:
        first, last = contours(made)[0], contours(made)[-1]
        first.ContourImageSequence, last.ContourImageSequence = last.ContourImageSequence, first.ContourImageSequence

    rtstruct(tmp_path / "a.dcm", sources, {1: borders(lesions() == 1)}, change=swapped)
    with pytest.raises(CaseError, match="names another slice of its scan than the one where it lies"):
        put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))


def moved(by: tuple[float, float, float]) -> Callable[[Dataset], None]:
    def change(made: Dataset) -> None:
        for contour in contours(made):
            points = np.array(contour.ContourData, float).reshape(-1, 3) + by
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]

    return change


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize(
    ("by", "words"),
    [((0, 0, 0.09), ""), ((0, 0, 1.2), ""), ((0, 0, 1.4), "another slice"), ((0, 0, 25.0), "beside its scan"),
     ((0.7 * 12.6, 0, 0), "beside its scan"), ((0, 60.0, 0), "beside its scan"), ((1e300, 0, 0), "beside its scan")],
)  # fmt: skip
def test_half_a_slice_is_noted_and_more_is_refused(
    tmp_path: Path, by: tuple[float, float, float], words: str, names: bool
) -> None:
    sources = ct(tmp_path / "ct")
    drawn = {1: borders(lesions() == 1)}

    def change(made: Dataset) -> None:
        moved(by)(made)
        if not names:
            nameless(made)

    rtstruct(tmp_path / "a.dcm", sources, drawn, change=change)
    scan = scan_of(tmp_path / "ct")
    if words and (names or words != "another slice"):
        with pytest.raises(CaseError, match=words):
            put(tmp_path / "a.dcm", scan)
    elif not words:
        mask, notes = put(tmp_path / "a.dcm", scan)
        np.testing.assert_array_equal(mask, lesions() == 1)
        said = [f"its mask lies up to {by[2]:.1f} mm off by its header; taken voxel by voxel"]
        assert notes == (said if by[2] > 0.1 else [])
    if max(by) > 0.1:
        with pytest.raises(CaseError, match=r"from the nearest slice|beside its scan|another slice"):
            put(tmp_path / "a.dcm", scan, (), 0.1)


def test_outlines_across_the_slices_are_refused(tmp_path: Path) -> None:
    """Of a tilted stack nothing lies in the planes across it; of no stack lines that are bent."""
    sources = ct(tmp_path / "ct", TILTED)

    def across(made: Dataset) -> None:
        points = [(-3, -5, 3), (0, -5, 3), (0, -5, 12), (-3, -5, 12)]
        contours(made)[0].ContourData = [str(value) for point in points for value in point]

    rtstruct(tmp_path / "a.dcm", sources, {1: [(4, square(3.5, 9.5))]}, change=across)
    with pytest.raises(CaseError, match="has outlines that cross slices of its scan"):
        put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))


@pytest.mark.parametrize("with_names", [True, False])
@pytest.mark.parametrize("slices", [slice(2, 7), slice(3, 4)])
def test_outlines_of_every_second_slice_are_none_of_this_scan(tmp_path: Path, slices: slice, with_names: bool) -> None:
    """All lie on slices of the thin series: half of the lesion would be missing."""
    ct(tmp_path / "ct", thin := [(-8.0, -9.0, 2.5 * k) for k in range(18)], FrameOfReferenceUID="1.2.3")
    thick = ct(tmp_path / "thick", thin[::2], FrameOfReferenceUID="1.2.3", SliceThickness=5.0)
    labels = np.zeros((9, *SHAPE), np.uint8)
    labels[slices] = lesions()[slices]
    rtstruct(
        tmp_path / "a.dcm", thick, {1: borders(labels > 0)}, change=lambda made: None if with_names else nameless(made)
    )
    with pytest.raises(CaseError, match="no neighbours in its scan|how far apart its slices are"):
        put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))


def test_slices_drawn_far_apart_on_this_scan_are_taken(tmp_path: Path) -> None:
    """No slice between them is filled. The names say that they are this scan's, or the number of slices does."""
    sources = ct(tmp_path / "ct")
    scan = scan_of(tmp_path / "ct")

    def listed(made: Dataset) -> None:
        for contour in contours(made):
            del contour.ContourImageSequence

    for places in ([1, 4, 7], [5]):
        labels = np.zeros((9, *SHAPE), np.uint8)
        labels[places] = lesions()[3] == 1
        for change in (lambda made: None, listed):
            rtstruct(tmp_path / "a.dcm", sources, {1: borders(labels)}, change=change)
            np.testing.assert_array_equal(put(tmp_path / "a.dcm", scan)[0], labels)


def points_of(made: Dataset, words: str, count: int | None = None) -> None:
    contour = contours(made)[0]
    contour.add_new("ContourData", "LO", words)  # as text, which can be anything
    contour.NumberOfContourPoints = len(words.split("\\")) // 3 if count is None else count


def roi(made: Dataset) -> Dataset:
    return made.StructureSetROISequence[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: points_of(d, "1\\2\\3\\4"), "an outline says 1 points and holds 4 coordinates"),
        (lambda d: points_of(d, "1\\2\\3\\4\\5\\6", 3), "an outline says 3 points and holds 6 coordinates"),
        (lambda d: points_of(d, "nan\\2\\3"), "coordinates that are no numbers"),
        (lambda d: points_of(d, "inf\\2\\3"), "coordinates that are no numbers"),
        (lambda d: points_of(d, "1e999\\2\\3"), "coordinates that are no numbers"),
        (lambda d: points_of(d, "1\\\\3"), "coordinates that are no numbers"),
        (lambda d: points_of(d, "1;5\\2\\3"), "coordinates that are no numbers"),
        (lambda d: contours(d)[0].pop("ContourData"), "coordinates that are no numbers"),
        (lambda d: contours(d)[0].pop("NumberOfContourPoints"), "says -1 points"),
        (lambda d: setattr(contours(d)[0], "ContourOffsetVector", [0, 0, 1]), "lie off their slices"),
        (lambda d: setattr(roi(d), "ROINumber", 5), "outlines of a region that it does not describe"),
        (lambda d: d.StructureSetROISequence.append(roi(d)), "two of its regions have one number"),
        (lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), "no DICOM RTSTRUCT by its SOPClassUID"),
    ],
)  # fmt: skip
def test_a_file_that_lies_is_refused(tmp_path: Path, change: Callable[[Dataset], object], words: str) -> None:
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", sources, {1: [(4, square(3.5, 9.5))]}, change=change)
    with pytest.raises(CaseError, match=words) as caught:
        put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))
    assert str(caught.value).startswith(f"{tmp_path / 'a.dcm'}: ")
    assert "Jane" not in str(caught.value)


def test_numbers_beyond_any_head_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "a.dcm", sources, {1: [(4, square(3.5, 9.5))], 2: [(5, square(3.5, 9.5))]})
    for name, most, words in (("MOST_POINTS", 7, "more than 7 points"), ("MOST_ITEMS", 9, "more outlines than a head")):
        with monkeypatch.context() as patched:
            patched.setattr(f"ctseg.io.dicom.rtstruct.{name}", most)
            with pytest.raises(CaseError, match=words):
                read_rtstruct(Source(str(tmp_path / "a.dcm")))


@pytest.mark.parametrize("tag", [0x30060010, 0x30060039])
def test_a_header_is_read_without_the_items_behind_it(tmp_path: Path, tag: int) -> None:
    """pydicom reads through a sequence of undefined length to find its end: two million items took four minutes."""
    path = tmp_path / "a.dcm"
    rtstruct(path, ct(tmp_path / "ct"), {1: []}, change=lambda made: strip(made, tag))
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 500_000
    begin = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + b"SQ\0\0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + begin + items + b"\xfe\xff\xdd\xe0\0\0\0\0")
    with path.open("rb") as stream:
        assert read_tags(stream, ["Modality"]).Modality == "RTSTRUCT"
        assert stream.tell() < 4000
    assert is_rtstruct(Source(str(path)))
    assert named_case(path) == ""
    with pytest.raises(CaseError, match="holds more outlines than a head has"):
        read_rtstruct(Source(str(path)))


def strip(made: Dataset, tag: int) -> None:
    """Leave out everything from a tag on."""
    for element in [element.tag for element in made if element.tag >= tag]:
        del made[element]


def test_edges_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million points take no more memory than the parts that are in it together."""
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 40, (500, 2))
    whole = filled(points, (0.01, 0.02))
    monkeypatch.setattr("ctseg.io.polygons.MOST_AT_ONCE", 300)
    parts = filled(points, (0.01, 0.02))
    np.testing.assert_array_equal(whole.inside, parts.inside)
    np.testing.assert_array_equal(whole.path, parts.path)
    low = np.array(whole.first)
    grid = np.argwhere(np.ones_like(whole.inside)) + low
    assert (points_in_poly(grid, points) == whole.inside.ravel()).mean() > 0.999


def test_the_file_alone_has_no_pixels(tmp_path: Path) -> None:
    rtstruct(tmp_path / "a.dcm", ct(tmp_path / "ct"), {1: borders(lesions() == 1)})
    with pytest.raises(CaseError, match="whose outlines have no pixels of their own; give it with its scan"):
        load_mask(tmp_path / "a.dcm")


@pytest.mark.slow
def test_plastimatch_leaves_the_holes_of_what_segment_writes(tmp_path: Path) -> None:
    """Holes that are outlines of their own were filled."""
    sitk = pytest.importorskip("SimpleITK")
    ct(tmp_path / "ct")
    scan = scan_of(tmp_path / "ct")
    mask = np.zeros((9, *SHAPE), bool)
    mask[2:7, 2:17, 3:20] = True
    mask[3:6, 5:13, 6:15] = mask[4, 15, 18] = False
    mask[4, 8:10, 9:12] = True
    write_rtstruct(tmp_path / "a.dcm", scan, mask, SegAlgorithm("x"))
    words = [program("plastimatch"), "convert", "--input", str(tmp_path / "a.dcm"), "--referenced-ct"]
    output = ["--output-labelmap", str(tmp_path / "a.nrrd")]
    subprocess.run([*words, str(tmp_path / "ct"), *output], capture_output=True, check=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd"))), mask)
    ours, notes = put(tmp_path / "a.dcm", scan)
    np.testing.assert_array_equal(ours, mask)
    assert notes == []


@pytest.mark.slow
@pytest.mark.parametrize("origins", [EVEN, UNEVEN[:5]], ids=["even", "few"])
def test_plastimatch_encloses_the_same_pixels(tmp_path: Path, origins: list[Any]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    labels = lesions()[: len(origins)]
    sources = ct(tmp_path / "ct", origins)
    rtstruct(tmp_path / "a.dcm", sources, {1: borders(labels > 0)})
    words = [program("plastimatch"), "convert", "--input", str(tmp_path / "a.dcm"), "--referenced-ct"]
    output = ["--output-labelmap", str(tmp_path / "a.nrrd")]
    subprocess.run([*words, str(tmp_path / "ct"), *output], capture_output=True, check=True)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd")))
    np.testing.assert_array_equal(theirs, put(tmp_path / "a.dcm", scan_of(tmp_path / "ct"))[0])
