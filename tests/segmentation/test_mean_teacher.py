"""The mean teacher, its labels and what the student sees."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from ctseg.plugins.protocols import SegmenterOutput
from ctseg.segmentation import losses, mean_teacher


class Ramp(nn.Module):
    """Logits are the image times a weight; a batch norm for its statistics."""

    hidden_channels = 1

    def __init__(self, weight: float = 4.0) -> None:
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.tensor(weight)), nn.BatchNorm2d(1)

    def forward(self, images):
        return SegmenterOutput(self.weight * images, images)


def test_the_running_mean_by_hand():
    student = Ramp(1.0)
    teacher = mean_teacher.make_teacher(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    expected = 1.0
    for value in (3.0, -1.0):
        with torch.no_grad():
            student.weight.fill_(value)
            student.norm.running_mean.fill_(value)
        student.norm.num_batches_tracked += 1
        mean_teacher.update_ema(teacher, student, 0.9)
        expected = 0.9 * expected + 0.1 * value
        assert teacher.weight.item() == pytest.approx(expected)
    assert teacher.norm.running_mean.item() == pytest.approx(0.9 * 0.3 - 0.1)
    assert teacher.norm.num_batches_tracked == student.norm.num_batches_tracked


def test_the_running_mean_is_over_few_steps_at_first():
    decays = [mean_teacher.decay_at(step, 0.99) for step in (0, 8, 90, 889, 890, 10_000)]
    assert decays == pytest.approx([0.1, 0.5, 0.91, 890 / 899, 0.99, 0.99])
    assert mean_teacher.decay_at(10_000, 0.5) == mean_teacher.decay_at(8, 0.5) == 0.5
    # After a fifth of a training at scale cpu (540 steps), a fixed decay still holds a third of the untrained weights.
    untrained = dict.fromkeys((True, False), 1.0)
    for step in range(108):
        for fixed in untrained:
            untrained[fixed] *= 0.99 if fixed else mean_teacher.decay_at(step, 0.99)
    assert untrained[True] > 0.3
    assert untrained[False] < 1e-9


def test_only_sure_pixels_weigh():
    target = torch.tensor([[[[-1.0, -0.1, 0.1, 1.0]]]])
    labels, weights = mean_teacher.pseudo_labels(Ramp(), target, 0.9, nullcontext)
    assert labels.flatten().tolist() == [0, 0, 1, 1]
    assert weights.flatten().tolist() == [1, 0, 0, 1]


def test_consistency_by_hand_and_unsure_pixels_do_not_count():
    logits = torch.tensor([[[[2.0, -1.0, 30.0]]]], requires_grad=True)
    labels, weights = torch.tensor([[[[1.0, 0.0, 0.0]]]]), torch.tensor([[[[1.0, 1.0, 0.0]]]])
    loss = losses.consistency_loss(logits, labels, weights)
    p, q = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(1.0))
    entropy = -(np.log(p) + np.log(1 - q)) / 2
    assert loss.item() == pytest.approx(entropy + 1 - (2 * p + 1) / (p + q + 1 + 1), rel=1e-5)
    loss.backward()
    assert logits.grad[..., 2].item() == 0.0


def test_nothing_sure_is_no_error():
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    none = torch.zeros(1, 1, 2, 2)
    loss = losses.consistency_loss(logits, none, none)
    loss.backward()
    assert loss.item() == pytest.approx(0.0)
    assert torch.equal(logits.grad, none)


def test_pseudo_labels_that_are_not_bright_enough_are_removed() -> None:
    image = torch.full((1, 1, 12, 12), -0.4)
    image[..., 2:8, 2:8] = 0.2  # blood
    image[..., 2:8, 8] = -0.2  # its blurred edge, under half the way
    image[..., 0, :] = -1.0
    labels = torch.zeros_like(image)
    labels[..., 2:8, 2:9] = 1
    kept, weights = mean_teacher.filter_pseudo_labels(labels, torch.zeros_like(labels), image, 0.1)
    blood = torch.zeros_like(labels)
    blood[..., 2:8, 2:8] = 1
    assert torch.equal(kept, blood)
    edge = torch.zeros_like(labels)
    edge[..., 2:8, 8] = 1
    assert torch.equal(weights, edge)  # where a label is removed, 0 counts, however unsure the teacher was


def test_a_pseudo_label_on_usual_grey_is_removed_whole() -> None:
    image = torch.full((2, 1, 8, 8), -0.4)
    image[0, :, 2:5, 2:5] = -0.3
    labels = torch.zeros_like(image)
    labels[0, :, 2:5, 2:5] = 1
    kept, weights = mean_teacher.filter_pseudo_labels(labels, torch.ones_like(labels), image, 0.1)
    assert not kept.any()
    assert weights.all()
    assert mean_teacher.filter_pseudo_labels(labels, torch.ones_like(labels), image, 0.01)[0].sum() == 9
