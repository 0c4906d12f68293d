"""U-Nets and FCNs run by ncnn: the logits of torch, in other processes too, and what it refuses."""

from __future__ import annotations

import json
import pickle
import sys
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from segment_helpers import Head, NonAirIsBrain, Stack, bright_model, bright_models, write_nifti
from torch import nn

from ctseg.api import find_models, load_for_segment
from ctseg.cli.main import main
from ctseg.errors import InputError, SettingError
from ctseg.inference.engines import in_engine
from ctseg.inference.models import LoadedModel, by_preprocessing
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.networks.blocks import init_he
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.unet import KindsUNet, UNet

NCNN = SegmentSettings(engine="ncnn")


def with_ncnn(network: nn.Module) -> nn.Module:
    model: LoadedModel = replace(bright_model(), module=network.eval())
    [group] = in_engine(by_preprocessing([model]), NCNN)
    return group.models[0].module


def drawn(network: nn.Module) -> nn.Module:
    """Weights, batch norm and biases that are not those of a start."""
    init_he(network)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.4, 2)
            nn.init.normal_(part.weight, 1, 0.3)
            nn.init.normal_(part.bias, 0, 0.3)
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None:
            nn.init.normal_(part.bias, 0, 0.3)
    return network.eval()


@pytest.fixture(autouse=True)
def _needs_ncnn():
    pytest.importorskip("ncnn")
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("network", "channels", "side"),
    [
        (UNet(8, 2), 1, (40, 36)),
        (UNet(8, 3, stem=2), 1, (64, 64)),
        (UNet(6, 1), 1, (33, 47)),
        (UNet(4, 4, 2), 2, (50, 50)),
        (KindsUNet(5, 8, 2, 3, stem=2), 3, (48, 41)),
        (KindsUNet(3, 4, 1), 1, (20, 20)),
        (FcnVgg16(4), 1, (96, 64)),
        (FcnVgg16(4, input_mean=0.074, input_std=0.148), 1, (240, 48)),
        (FcnVgg16(2, 3), 3, (41, 90)),
        (FcnVgg16(4), 1, (20, 16)),
    ],
)
def test_logits_are_those_of_torch(network, channels, side):
    network = drawn(network)
    images = torch.rand(3, channels, *side) * 2 - 1
    with torch.inference_mode():
        wanted = network(images).logits
        found = with_ncnn(network)(images).logits
    assert found.shape == wanted.shape
    assert wanted.std() > 0.01
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * float(wanted.std()))


def test_a_copy_is_made_anew_where_it_runs():
    network = with_ncnn(drawn(UNet(4, 1)))
    images = torch.rand(2, 1, 16, 16)
    wanted = network(images).logits
    again = pickle.loads(pickle.dumps(network))  # noqa: S301 - made here
    for copied in (again, deepcopy(network)):
        assert copied._net is None
        torch.testing.assert_close(copied(images).logits, wanted, rtol=0, atol=0)


@pytest.mark.slow
def test_the_shipped_models_mask_is_the_same():
    stack = Stack(np.arange(-6, 7) * 10.0, 0.0, 40, 5.0)
    head, points = Head((62, 80, 60), (20, 0, 0), (20, 20, 20)), stack.points()
    noise = np.random.default_rng(0).normal(0, 3, points.shape[:-1])
    inside = head.hu(points) > -500
    volume = stack.volume(np.where(inside, np.where(head.inside_blood(points), 70, 33) + noise, -1000))
    groups, _ = load_for_segment(find_models("default"), "cpu", other_blood=True)
    settings = SegmentSettings(other_blood=True)
    there = predict_volume(volume, groups, settings, NonAirIsBrain())
    here = predict_volume(volume, in_engine(groups, NCNN), settings, NonAirIsBrain())
    assert there.measures.ml > 10
    np.testing.assert_array_equal(here.mask, there.mask)
    np.testing.assert_array_equal(here.other_blood.kinds, there.other_blood.kinds)
    assert np.abs(here.probability - there.probability).max() < 1e-3


def test_what_it_does_not_run_is_refused(monkeypatch):
    with pytest.raises(InputError, match="engine=ncnn runs U-Nets and FCNs, and .* is neither"):
        in_engine(bright_models(), NCNN)
    on_gpu = replace(bright_model(), module=UNet(4, 1).eval(), device=torch.device("meta"))
    with pytest.raises(InputError, match="--device cpu"):
        in_engine(by_preprocessing([on_gpu]), NCNN)
    with pytest.raises(SettingError, match="float32"):
        in_engine(bright_models(), SegmentSettings(engine="ncnn", precision="bf16-mixed"))
    assert in_engine(bright_models(), SegmentSettings())[0].models[0].module.training is False
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(InputError, match=r"pip install 'ctseg\[ncnn\]'"):
        in_engine(bright_models(), NCNN)


@pytest.mark.slow
def test_the_command_takes_the_engine_and_refuses_another_arithmetic(tmp_path, capsys):
    write_nifti(tmp_path / "scan.nii.gz", Head())
    call = ["segment", str(tmp_path / "scan.nii.gz"), "--set", "engine=ncnn", "-o", str(tmp_path / "out")]
    assert main([*call, "--precision", "bf16"]) == 2
    said = capsys.readouterr().err
    assert "engine=ncnn computes in float32" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    main(call)
    written = json.loads((tmp_path / "out" / "volumes.json").read_text())
    assert "ncnn" in json.dumps(written)
    assert main([*call[:2], "-o", str(tmp_path / "out"), "--resume"]) == 2
    assert "engine" in capsys.readouterr().err
