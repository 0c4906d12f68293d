"""U-Nets and FCNs on the CPU by ncnn, with Winograd's convolutions (Lavin and Gray, CVPR 2016), which torch has not.

They need about half the multiplications of a 3 x 3 convolution, in float32: logits differ in their last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ctseg.errors import InputError
from ctseg.networks.blocks import crop_to, pad_to_multiple
from ctseg.networks.fcn import FcnVgg16, normalised, padded
from ctseg.networks.unet import KindsUNet, UNet
from ctseg.plugins.protocols import SegmenterOutput

if TYPE_CHECKING:
    from ctseg.inference.models import LoadedModel, ModelGroup

MAGIC = "7767517"
"""First line of a network's description."""
FLOAT32 = np.zeros(1, dtype=np.int32).tobytes()
"""Says that the weights behind it are float32, as they are."""
IN, OUT = "images", "logits"


def run_by_ncnn(groups: Sequence[ModelGroup]) -> list[ModelGroup]:
    """The models, each with its network in ncnn.

    Raises:
        InputError: if the package is missing, a model is not on the CPU, or its network is neither U-Net nor FCN.
    """
    try:
        import ncnn  # noqa: F401
    except ImportError:
        raise InputError("engine=ncnn needs a package that is not installed: pip install 'ctseg[ncnn]'") from None
    return [
        replace(
            group,
            models=tuple(map(_converted, group.models)),
            other_blood=None if group.other_blood is None else _converted(group.other_blood),
        )
        for group in groups
    ]


def _converted(model: LoadedModel) -> LoadedModel:
    if model.device.type != "cpu":
        raise InputError("engine=ncnn computes on the CPU; add --device cpu, or leave engine out")
    if type(model.module) not in (UNet, KindsUNet, FcnVgg16):
        raise InputError(f"engine=ncnn runs U-Nets and FCNs, and {model.label} is neither; leave engine out")
    return replace(model, module=NcnnNetwork(cast(UNet | FcnVgg16, model.module)))


class NcnnNetwork(nn.Module):
    """A network with the weights that it had when this was made; its hidden map is not computed.

    ncnn's own object is made in the process that runs it, with as many threads as torch has there.
    """

    def __init__(self, network: UNet | FcnVgg16) -> None:
        super().__init__()
        if isinstance(network, FcnVgg16):
            self.prepared = partial(_fcn_images, mean=network.input_mean, std=network.input_std)
            self.graph = _fcn(network)
        else:
            self.prepared = partial(pad_to_multiple, multiple=network.stride)
            self.graph = _unet(network)
        self._net: Any = None

    def forward(self, images: Tensor) -> SegmenterOutput:
        """(B, C, H, W) in [-1, 1] -> logits (B, classes, H, W), and the same as hidden."""
        self._net = self._net or _loaded(self.graph)
        pictures = self.prepared(images).float().contiguous().numpy()
        logits = crop_to(torch.from_numpy(np.stack([_logits(self._net, picture) for picture in pictures])), images)
        return SegmenterOutput(logits, logits)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, and for copies."""
        return {**self.__dict__, "_net": None}


def _fcn_images(images: Tensor, mean: float, std: float) -> Tensor:
    return normalised(padded(images), mean, std)


def _logits(net: Any, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) -> (classes, H, W)."""
    import ncnn

    run = net.create_extractor()
    run.input(IN, ncnn.Mat(picture))
    status, found = run.extract(OUT)
    if status:
        raise RuntimeError(f"ncnn ends with status {status}; leave engine out")
    return np.array(found, dtype=np.float32)  # a copy: ncnn frees its own array with `run`


def _loaded(graph: Graph) -> Any:
    """The network, in float32 throughout."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_vulkan_compute = False
    for name in ("bf16_storage", "fp16_packed", "fp16_storage", "fp16_arithmetic"):
        setattr(net.opt, f"use_{name}", False)
    with TemporaryDirectory(prefix="ctseg-ncnn-") as folder:
        path = Path(folder) / "weights.bin"
        path.write_bytes(b"".join(graph.weights))
        if net.load_param_mem(graph.text()) or net.load_model(str(path)):
            raise RuntimeError("ncnn does not take the network; leave engine out")
    return net


@dataclass
class Graph:
    """Layers of a network as ncnn describes them, and their weights in the same order."""

    layers: list[str] = field(default_factory=list)
    weights: list[bytes] = field(default_factory=list)
    blobs: int = 0
    """Arrays between the layers."""

    def add(self, kind: str, inputs: Sequence[str], settings: str = "", outputs: Sequence[str] = ()) -> list[str]:
        """Add a layer; the names of its outputs, one new by default."""
        names = list(outputs) or [f"{kind}{len(self.layers)}"]
        ends = " ".join((*inputs, *names))
        self.layers.append(f"{kind} layer{len(self.layers)} {len(inputs)} {len(names)} {ends} {settings}".strip())
        self.blobs += len(names)
        return names

    def convolution(self, source: str, conv: nn.Conv2d | nn.ConvTranspose2d, *, relu: bool, out: str = "") -> str:
        """Add a convolution, or a transposed one.

        With padding, a transposed convolution can give two sizes, and gives the larger one. The smaller one is the same
        without its last row and column.
        """
        weight = conv.weight.detach().float()
        turned = isinstance(conv, nn.ConvTranspose2d)
        weight = weight.transpose(0, 1) if turned else weight  # (K, C, h, w)
        size, padding = weight.shape[-1], cast(tuple[int, ...], conv.padding)[0]
        self.weights += [FLOAT32, weight.contiguous().numpy().tobytes()]
        self.weights += [] if conv.bias is None else [conv.bias.detach().float().numpy().tobytes()]
        settings = {
            0: len(weight), 1: size, 3: conv.stride[0], 4: padding, 5: int(conv.bias is not None),
            6: weight.numel(), 9: int(relu),
        }  # fmt: skip
        settings |= {18: 1} if turned and padding else {}
        text = " ".join(f"{key}={value}" for key, value in settings.items())
        return self.add("Deconvolution" if turned else "Convolution", [source], text, [out] if out else ())[0]

    def norm(self, source: str, norm: nn.BatchNorm2d) -> str:
        """Add a batch norm with the statistics of the training."""
        numbers = (norm.weight, norm.running_mean, norm.running_var, norm.bias)
        self.weights += [cast(Tensor, number).detach().float().numpy().tobytes() for number in numbers]
        return self.add("BatchNorm", [source], f"0={norm.num_features} 1={norm.eps}")[0]

    def halved(self, source: str) -> str:
        """Add a max pooling of 2 x 2 that rounds down."""
        return self.add("Pooling", [source], "0=0 1=2 2=2 5=1")[0]

    def block(self, source: str, convs: nn.Module) -> str:
        """Add the convolutions of a `double_conv`, with batch norm in their weights."""
        parts = list(convs.children())
        for conv, norm in ((parts[0], parts[1]), (parts[3], parts[4])):
            fused = fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
            source = self.convolution(source, fused, relu=True)
        return source

    def twice(self, source: str) -> list[str]:
        """Two names of one array, for two layers that read it."""
        return self.add("Split", [source], outputs=[f"{source}a", f"{source}b"])

    def text(self) -> str:
        """The whole description."""
        return "\n".join([MAGIC, f"{len(self.layers)} {self.blobs}", *self.layers, ""])


def _unet(unet: UNet) -> Graph:
    """A U-Net in evaluation mode, from padded images to logits."""
    graph = Graph()
    [maps] = graph.add("Input", [], outputs=[IN])
    if unet.stem > 1:
        [maps] = graph.add("Reorg", [maps], f"0={unet.stem}")
    maps = graph.block(maps, unet.downs[0])
    skips = []
    for down in list(unet.downs)[1:]:
        kept, maps = graph.twice(maps)
        skips.append(kept)
        maps = graph.block(graph.halved(maps), down)
    for up, join in zip(unet.ups, unet.joins, strict=True):
        wide = graph.convolution(maps, cast(nn.ConvTranspose2d, up), relu=False)
        maps = graph.block(graph.add("Concat", [skips.pop(), wide])[0], join)
    shuffle = f"0={unet.stem}"
    if unet.stem == 1:
        graph.convolution(maps, unet.classifier, relu=False, out=OUT)
    elif isinstance(unet, KindsUNet):
        graph.add("PixelShuffle", [graph.convolution(maps, unet.classifier, relu=False)], shuffle, [OUT])
    else:
        graph.convolution(graph.add("PixelShuffle", [maps], shuffle)[0], unet.classifier, relu=False, out=OUT)
    return graph


def _fcn(fcn: FcnVgg16) -> Graph:
    """An FCN in evaluation mode, from padded and normalised images to logits."""
    graph = Graph()
    [maps] = graph.add("Input", [], outputs=[IN])
    skips = []
    for place, stage in enumerate(fcn.stages):
        for part in cast(nn.Sequential, stage):
            maps = graph.convolution(maps, part, relu=True) if isinstance(part, nn.Conv2d) else maps
        maps = graph.halved(maps)
        if place < len(fcn.stages) - 1:
            kept, maps = graph.twice(maps)
            skips.append(kept)
    for up, norm in zip(fcn.ups, fcn.norms, strict=True):
        maps = graph.convolution(maps, cast(nn.ConvTranspose2d, up), relu=True)
        if len(skips) == len(fcn.stages) - 1:  # the one pooling that may have rounded down
            skip, like = graph.twice(skips.pop())
            [maps] = graph.add("Crop", [maps, like])
        else:
            skip = skips.pop() if skips else ""
        maps = graph.norm(maps, cast(nn.BatchNorm2d, norm))
        maps = graph.add("BinaryOp", [maps, skip], "0=0")[0] if skip else maps
    graph.convolution(maps, fcn.classifier, relu=False, out=OUT)
    return graph
