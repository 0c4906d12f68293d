"""Batch norm whose statistics are those of the whole batch, where several processes train together.

torch's own SyncBatchNorm runs on GPUs alone; this one gives the same on any device, and in one process, in evaluation
and where it is frozen it is torch's batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctseg.training.processes import total, world_size


class _Shared(nn.modules.batchnorm._BatchNorm):
    """Mean and variance over all processes, in double precision between them."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(images)
        self._check_input_dim(images)  # type: ignore[no-untyped-call]
        axes = [axis for axis in range(images.dim()) if axis != 1]
        variance, mean = torch.var_mean(images.float(), dim=axes, correction=0)
        count = images.numel() // images.shape[1]
        known = torch.stack([mean.double(), variance.double() + mean.double().square()])
        everywhere = images.new_tensor([count], dtype=torch.double)
        whole = total(torch.cat([(known * count).reshape(-1), everywhere]))
        numbers = whole[-1].detach()
        first, second = (whole[:-1] / numbers).reshape(2, -1)
        variance = (second - first.square()).clamp(min=0.0)
        self._follow(first.detach(), variance.detach() * numbers / (numbers - 1.0).clamp(min=1.0))
        scale = torch.rsqrt(variance + self.eps).to(mean.dtype)
        shift = -first.to(mean.dtype) * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        shape = [1, -1, *[1] * (images.dim() - 2)]
        normalised: Tensor = images.float() * scale.reshape(shape) + shift.reshape(shape)
        return normalised.to(images.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics, as torch's batch norm keeps them; `variance` is the unbiased one."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # noqa: S101 - there where the running statistics are
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _Shared1d(_Shared, nn.BatchNorm1d):
    pass


class _Shared2d(_Shared, nn.BatchNorm2d):
    pass


class _Shared3d(_Shared, nn.BatchNorm3d):
    pass


SHARED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _Shared1d,
    nn.BatchNorm2d: _Shared2d,
    nn.BatchNorm3d: _Shared3d,
}


def share_batch_norm(*networks: nn.Module) -> None:
    """Have every batch norm of some networks see the batches of all processes; weights and names stay.

    Layers of classes of their own, as a plugin may bring, are left alone.
    """
    if world_size() == 1:
        return
    for network in networks:
        for part in network.modules():
            if type(part) in SHARED:
                part.__class__ = SHARED[type(part)]
