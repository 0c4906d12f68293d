from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ctseg.errors import InputError
from ctseg.preprocess.brain_network import WEIGHTS, BrainNetworkExtractor
from ctseg.preprocess.small_unet import DEPTH, IMAGES, SmallUNet, layer_shapes, read_weights

SHIPPED = WEIGHTS / "brain-1.safetensors"


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.2 if name.endswith("bias") else 0.1, shape).astype(np.float32)
        for name, shape in layer_shapes().items()
    }


def test_a_map_as_large_as_the_images_comes_out():
    network = SmallUNet(random_weights())
    logits = network(np.random.default_rng(1).random((IMAGES, 2 * DEPTH, 3 * DEPTH), dtype=np.float32))
    assert logits.shape == (2 * DEPTH, 3 * DEPTH)
    assert np.isfinite(logits).all()
    assert logits.std() > 0


def test_a_convolution_is_the_one_of_scipy():
    from scipy.ndimage import correlate

    rng = np.random.default_rng(2)
    taps, bias = rng.normal(size=(9, 2, 3)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    network = SmallUNet({"here": taps, "here.bias": bias})
    maps = rng.normal(size=(3, 7, 5)).astype(np.float32)
    found = network._convolved("here", np.pad(maps, ((0, 0), (1, 1), (1, 1))))
    kernels = taps.transpose(1, 2, 0).reshape(2, 3, 3, 3)
    wanted = [
        sum(correlate(one, kernel, mode="constant") for one, kernel in zip(maps, row, strict=True)) for row in kernels
    ]
    np.testing.assert_allclose(
        found[:, 1:-1, 1:-1], np.maximum(np.stack(wanted) + bias[:, None, None], 0), rtol=1e-4, atol=1e-4
    )
    assert not found[:, [0, -1]].any()
    assert not found[:, :, [0, -1]].any()


def test_the_shipped_weights_are_small_and_have_a_card():
    assert SHIPPED.stat().st_size < 1_000_000
    read_weights(SHIPPED)
    card = SHIPPED.with_suffix(".md").read_text()
    import hashlib

    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card


@pytest.mark.parametrize("fault", ["missing", "empty", "cut", "text", "other shape", "one tensor less", "not finite"])
def test_bad_weights_are_one_line_with_the_way_out(fault: str, tmp_path: Path, volume_of):
    path = tmp_path / "weights.safetensors"
    weights = load_file(SHIPPED)
    if fault == "other shape":
        weights["head"] = weights["head"][:, :3].copy()
    if fault == "one tensor less":
        del weights["head.bias"]
    if fault == "not finite":
        weights["head.bias"][0] = np.nan
    if fault != "missing":
        save_file(weights, path)
    if fault == "empty":
        path.write_bytes(b"")
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if fault == "text":
        path.write_text("no weights")
    with pytest.raises(InputError) as caught:
        BrainNetworkExtractor(path)(volume_of(np.random.default_rng(0).normal(30, 100, (3, 40, 40))))
    assert str(path) in str(caught.value)
    assert "reproduce brain-model" in str(caught.value)
    assert "\n" not in str(caught.value)
