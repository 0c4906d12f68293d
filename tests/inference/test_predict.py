from dataclasses import replace

import numpy as np
import pytest
import torch
from segment_helpers import BrightIsLesion, Head, NonAirIsBrain, Stack, bright_header, bright_model, bright_models
from torch import nn

from ctseg.errors import CaseError, InputError
from ctseg.inference import predict
from ctseg.inference.models import by_preprocessing, load_models
from ctseg.inference.predict import predict_slices, predict_volume
from ctseg.inference.prepare import preprocessing_of
from ctseg.inference.settings import SegmentSettings
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.preprocess.frame import Frame
from ctseg.runs import save_model


class LeftIsLesion(nn.Module):
    """Logits by column alone, so that a left-right mirror image changes them; counts the slices it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        columns = torch.linspace(3, -3, images.shape[-1]).expand_as(images)
        return SegmenterOutput(columns, images)


def model_of(module, size=64, fov_mm=96.0):
    return replace(bright_model(size, fov_mm), module=module.eval())


@pytest.fixture
def head(tilted):
    return tilted.volume(Head().hu(tilted.points()))


def test_probabilities_end_at_the_brain(head):
    prediction = predict_volume(head, by_preprocessing([model_of(LeftIsLesion())]), SegmentSettings(), NonAirIsBrain())
    assert prediction.probability.dtype == np.float32
    assert prediction.probability.shape == head.voxels.shape
    assert not prediction.probability[~prediction.brain].any()
    assert prediction.probability[prediction.brain].min() > 0
    np.testing.assert_array_equal(prediction.mask, prediction.probability >= 0.5)
    assert prediction.brain_ml == pytest.approx(np.count_nonzero(prediction.brain, (1, 2)) @ head.voxel_ml)


@pytest.mark.parametrize("step", [0.8, 3.1])
def test_a_members_mask_is_that_of_all_its_interpolated_pixels(rng, step):
    frame = Frame((24, 24), (70, 64), 2.0, step, 1.0, 2.4)
    part = slice(4, 66), slice(3, 60)
    for threshold in (0.2, 0.5, 0.95):
        maps = rng.random((7, 24, 24)).astype(np.float32) ** 3
        maps[3] = 0
        whole = frame.to_native(maps)[:, *part] >= threshold
        np.testing.assert_array_equal(predict._segmented(maps, frame, threshold, part), whole)
        assert whole.any()
        assert not whole.all()


def test_flips_are_undone_before_averaging(head):
    """A map that rises with the column averages to one half when mirror images count; a wrong undo would not."""
    images = np.full((1, 8, 8), 100, np.uint8)
    flat = predict_slices(images, model_of(LeftIsLesion()), SegmentSettings(tta=True))
    np.testing.assert_allclose(flat, 0.5, atol=1e-6)
    images = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) * 3
    plain = predict_slices(images, bright_model(), SegmentSettings())
    flipped = predict_slices(images, bright_model(), SegmentSettings(tta=True))
    np.testing.assert_allclose(flipped, plain, atol=1e-6)


def test_slices_that_show_nothing_are_not_mirrored():
    """Their four members are the one image's; the others are run four times, in whatever batches."""

    class Right(LeftIsLesion):
        def forward(self, images):
            found = super().forward(images)
            dark = images.amax(dim=(1, 2, 3), keepdim=True) < 0
            return replace(found, logits=torch.where(dark, torch.full_like(found.logits, -9.0), found.logits))

    images = np.full((5, 8, 8), 20, np.uint8)
    images[[0, 3, 4]] = 200
    for batch_size in (1, 2, 8):
        module = Right()
        maps = predict_slices(images, model_of(module), SegmentSettings(tta=True, batch_size=batch_size))
        assert module.seen == 5 + 3 * 3
        np.testing.assert_allclose(maps[[0, 3, 4]], 0.5, atol=1e-6)
        np.testing.assert_allclose(maps[[1, 2]], 1 / (1 + np.exp(9)), rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batch_size_changes_nothing(head, batch_size):
    one = predict_volume(head, bright_models(), SegmentSettings(batch_size=batch_size), NonAirIsBrain())
    other = predict_volume(head, bright_models(), SegmentSettings(batch_size=8), NonAirIsBrain())
    np.testing.assert_allclose(one.probability, other.probability, atol=1e-6)
    np.testing.assert_array_equal(one.mask, other.mask)


def test_slices_without_brain_are_not_run():
    module = LeftIsLesion()
    images = np.zeros((5, 8, 8), np.uint8)
    images[[1, 3]] = 50
    maps = predict_slices(images, model_of(module), SegmentSettings())
    assert module.seen == 2
    assert not maps[[0, 2, 4]].any()
    assert maps[1].any()


def test_two_models_of_other_sizes_are_averaged_on_the_scans_grid(head):
    settings, brain = SegmentSettings(), NonAirIsBrain()
    one, other = model_of(LeftIsLesion()), bright_model(48, 96.0)
    single = [predict_volume(head, by_preprocessing([model]), settings, brain).probability for model in (one, other)]
    both = predict_volume(head, by_preprocessing([one, other]), settings, brain)
    np.testing.assert_allclose(both.probability, (single[0] + single[1]) / 2, atol=1e-6)


def test_models_with_other_brain_extractors_do_not_go_together():
    one = bright_model()
    other = replace(one, preprocessing=one.preprocessing.model_copy(update={"brain_extractor": "threshold"}))
    with pytest.raises(InputError, match="different brain extractors"):
        by_preprocessing([one, other])


def test_models_are_grouped_by_preprocessing_in_order():
    one, other = bright_model(), bright_model(48)
    groups = by_preprocessing([one, other, one])
    assert [group.preprocessing for group in groups] == [one.preprocessing, other.preprocessing]
    assert [group.models for group in groups] == [(one, one), (other,)]


def test_training_only_settings_do_not_make_groups():
    base = bright_header().input["preprocess"]
    assert preprocessing_of(
        {"preprocess": {**base, "seed": 7, "split": [1.0], "select": "any", "later": 1}}
    ) == preprocessing_of({"preprocess": base})
    with pytest.raises(InputError, match="no preprocessing settings"):
        preprocessing_of({})


def test_mr_is_refused(head):
    with pytest.raises(CaseError, match="is MR"):
        predict_volume(replace(head, domain="mr"), bright_models(), SegmentSettings(), NonAirIsBrain())


def test_bf16_is_close_to_full_precision(head):
    settings = SegmentSettings(precision="bf16-mixed")
    low = predict_volume(head, bright_models(), settings, NonAirIsBrain())
    full = predict_volume(head, bright_models(), SegmentSettings(), NonAirIsBrain())
    assert low.measures.ml == pytest.approx(full.measures.ml, rel=0.01)


def test_single_slice(tilted):
    stack = Stack(np.array([0.0]), tilt_deg=0.0)
    prediction = predict_volume(
        stack.volume(Head().hu(stack.points())), bright_models(), SegmentSettings(), NonAirIsBrain()
    )
    np.testing.assert_array_equal(prediction.mask, Head().inside_blood(stack.points()))


def test_models_load_from_runs_with_their_digest(tmp_path):
    save_model(tmp_path / "a" / "model.safetensors", BrightIsLesion(), bright_header())
    module = BrightIsLesion()
    module.threshold.data += 1
    save_model(tmp_path / "b" / "model.safetensors", module, bright_header(48))
    first, second = load_models([tmp_path / "a", tmp_path / "b"], lambda header: BrightIsLesion())
    assert (first.preprocessing.size, second.preprocessing.size) == (64, 48)
    assert first.digest != second.digest
    assert second.module.threshold.item() == pytest.approx(1.1)
    assert first.describe()["segmenter"] == "bright"
    assert str(tmp_path) not in str(first.describe())
    with pytest.raises(InputError, match="no model given"):
        load_models([], lambda header: BrightIsLesion())


@pytest.mark.gpu
def test_gpu_gives_the_cpus_numbers(head):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cpu = predict_volume(head, bright_models(), SegmentSettings(tta=True), NonAirIsBrain())
    model = replace(bright_model(), module=BrightIsLesion().eval().cuda(), device=torch.device("cuda"))
    gpu = predict_volume(head, by_preprocessing([model]), SegmentSettings(tta=True), NonAirIsBrain())
    np.testing.assert_allclose(gpu.probability, cpu.probability, atol=1e-5)
    np.testing.assert_array_equal(gpu.mask, cpu.mask)
