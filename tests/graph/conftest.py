# SPDX-License-Identifier: Apache-2.0
"""Small networks, one per pattern that surgery must understand, traced once per session."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gossamer.graph import USUAL, Choices, Network, trace


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """These networks are too small for two threads, which only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def conv(i: int, o: int, k: int = 3, **options: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, bias=False, **options), nn.BatchNorm2d(o), nn.ReLU())


class Plain(nn.Module):
    """Convolutions with biases, a flatten that gives each channel 16 features, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.hidden = nn.Linear(12 * 16, 20)
        self.fc = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.pool(self.features(x)), 1)
        return self.fc(F.dropout(F.relu(self.hidden(x)), 0.5, self.training))


class PaddedResidual(nn.Module):
    """The CIFAR ResNet's shortcut: every second pixel, channels padded with zeros (option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.a1, self.a2 = conv(8, 8), nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.b1 = conv(8, 16, stride=2)
        self.b2 = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.a2(self.a1(x)) + x)
        x = F.relu(self.b2(self.b1(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0))
        x = F.avg_pool2d(x, x.size()[3])
        return self.fc(x.view(x.size(0), -1))


class Dense(nn.Module):
    """Concatenation, as in DenseNet: norms and convolutions read what several layers produced."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 4, 3, padding=1, bias=False))
            for i in range(3)
        )
        self.norm = nn.BatchNorm2d(20)
        self.fc = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.fc(F.relu(self.norm(torch.cat(features, 1))).mean((2, 3)))


class Shuffle(nn.Module):
    """ShuffleNet V2: halves that are split, processed, joined and shuffled."""

    def __init__(self, groups: int = 2) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), conv(8, 8, 1)
            )
            for _ in range(3)
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            left, right = x.chunk(2, dim=1)
            x = torch.cat([left, branch(right)], 1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.fc(x.mean([2, 3]))


class Grouped(nn.Module):
    """ResNeXt: many narrow groups (whole groups go), few wide groups (positions go), residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.reduce, self.many = conv(16, 24, 1), conv(24, 24, groups=8)
        self.widen, self.few = conv(24, 18, 1), conv(18, 12, groups=2)
        self.expand = nn.Sequential(nn.Conv2d(12, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.expand(self.few(self.widen(self.many(self.reduce(x))))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Excite(nn.Module):
    """MobileNet with squeeze and excitation: inverted residual, depthwise with multiplier 2, hard swish, PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand, self.act = nn.Conv2d(8, 16, 1), nn.PReLU(16)
        self.depthwise = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.norm = nn.BatchNorm2d(32)
        self.squeeze, self.excite = nn.Conv2d(32, 6, 1), nn.Conv2d(6, 32, 1)
        self.project = nn.Sequential(nn.Conv2d(32, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.scale = nn.Parameter(torch.full((8, 1, 1), 1e-6))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.relu6(self.norm(self.depthwise(self.act(self.expand(x)))))
        y = y * self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return self.fc((x + self.scale * self.project(y)).amax((2, 3)))


class Decoder(nn.Module):
    """U-Net: transposed and resized upsampling, skip by concatenation, pixel shuffle, dense output."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = conv(3, 8), conv(8, 12)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.depth_up = nn.ConvTranspose2d(6, 6, 3, padding=1, groups=6)
        self.merge, self.widen = conv(14, 8), nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down1(x)
        deep = self.down2(F.max_pool2d(skip, 2))
        x = self.merge(torch.cat([self.depth_up(self.up(deep)), skip], 1))
        x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        return self.head(F.pixel_shuffle(self.widen(x), 2))


class Shared(nn.Module):
    """One convolution used twice, and under two names; group norm; instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm, self.instance = nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.again = self.twice
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x)))
        x = F.relu(self.instance(self.again(F.relu(self.twice(x)))))
        return self.fc(x.mean((2, 3)))


class TwoHeads(nn.Module):
    """Two inputs, a dictionary of outputs, an auxiliary head that only trains, split sizes, stacking."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(3, 8), conv(1, 8)
        self.mix = conv(8, 12)
        self.parts = nn.ModuleList([conv(4, 4), conv(8, 4)])
        self.aux, self.fc = nn.Linear(8, 5), nn.Linear(4, 5)
        self.register_buffer("bias", torch.ones(12, 1, 1), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        z = F.avg_pool2d(self.left(x), 2) + self.right(y)
        a, b = (self.mix(z) + self.bias).split([4, 8], 1)
        joined = torch.stack([self.parts[0](a), self.parts[1](b)]).sum(0)
        out = {"logits": self.fc(joined.mean((2, 3)))}
        if self.training:
            out["aux"] = self.aux(z.mean((2, 3)))
        return out


class Slices(nn.Module):
    """Partial convolutions (FasterNet, Res2Net): slices computed apart or updated in place; unflatten, reshape_as."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.partial, self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([self.partial(x[:, :4]), x[:, 4:]], 1)
        x = x.clone()
        x[:, 8:] += self.second(x[:, :8].relu())
        x = x.unflatten(1, (2, 8)).flatten(1, 2).flatten(2).reshape_as(x)
        return self.fc(x.mean((2, 3)))


class Strided(nn.Module):
    """Every second channel, and channels in an order given by a list and by a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.even, self.odd = conv(3, 16), conv(8, 8), conv(8, 8)
        self.register_buffer("order", torch.tensor([3, 1, 0, 2, 7, 6, 5, 4]))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        even, odd = self.even(x[:, ::2]), self.odd(x[:, 1::2])
        x = even + odd.index_select(1, self.order)
        return self.fc(x.mean((2, 3)))


class Attention(nn.Module):
    """Heads of attention over pixels, softmax over branches (selective kernels), expand_as."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv, self.proj = conv(3, 12), nn.Conv2d(12, 36, 1), nn.Conv2d(12, 12, 1)
        self.branches = nn.ModuleList([conv(12, 8), conv(12, 8, 1)])
        self.select = nn.Conv2d(8, 16, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, 2, 6, h * w).unbind(1)
        weights = (q.transpose(-2, -1) @ k * 6**-0.5).softmax(-1)
        x = x + self.proj((v @ weights.transpose(-2, -1)).reshape(n, c, h, w))
        y = torch.stack([branch(x) for branch in self.branches], 1)
        share = self.select(y.sum(1).mean((2, 3), keepdim=True)).view(n, 2, 8, 1, 1).softmax(1)
        return self.fc((y * share.expand_as(y)).sum(1).amax((2, 3)))


class Upward(nn.Module):
    """A grouped transposed convolution, 1-d and 3-d convolutions, patches, repeated channels, an image rolled; one
    image's channels for each of four windows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12)
        self.up = nn.ConvTranspose2d(12, 18, 2, stride=2, groups=3)
        self.norm = nn.BatchNorm2d(18)
        self.patches = nn.Conv2d(18 * 4, 6, 1)
        self.line, self.volume = nn.Conv1d(6, 8, 3, padding=1), nn.Conv3d(8, 10, (1, 3, 1), padding=(0, 1, 0))
        self.fc = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.up(self.stem(x)))).roll((1, 2), (2, 3)).flip(3)
        n, _, h, w = x.shape
        x = self.patches(F.unfold(x, 2, stride=2).view(n, -1, h // 2, w // 2))
        x = F.relu(self.line(x.flatten(2))).view(n, 8, 1, h // 2, w // 2)
        x = F.relu(self.volume(x)).mean((2, 3, 4))
        windows = x.repeat_interleave(4, 0).view(n, 4, 10).mean(1)
        return self.fc(torch.cat([x.repeat_interleave(2, 1)[:, :10], windows.repeat(1, 1)], 1))


class ShuffledGroups(nn.Module):
    """ShuffleNet V1: two grouped convolutions with a shuffle between them; a native shuffle; an order of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.first, self.second = conv(16, 16, 1, groups=2), conv(16, 16, groups=2)
        self.shuffle = nn.ChannelShuffle(4)
        self.register_buffer("order", torch.randperm(16))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        n, c, h, w = x.shape
        x = self.second(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        return self.fc(self.shuffle(x)[:, self.order].amax((2, 3)))


class Positions(nn.Module):
    """Attention with a table of relative positions, once by products and once by the fused operator."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv, self.proj = conv(3, 12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.fused, self.fc = nn.Linear(12, 36), nn.Linear(12, 5)
        self.table = nn.Parameter(torch.randn(3, 31))
        self.register_buffer("index", torch.arange(16)[:, None] - torch.arange(16)[None] + 15)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        n, tokens, c = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[:, self.index]
        weights = (q @ k.transpose(-2, -1) * 0.5 + bias).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(n, tokens, c))
        q, k, v = self.fused(x).reshape(n, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        return self.fc(x.transpose(1, 2).reshape(n, tokens, c).mean(1))


class StandardConv(nn.Conv2d):
    """Weight standardisation with a gain, as in NF-ResNet."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(o, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = F.batch_norm(self.weight.reshape(1, self.out_channels, -1), None, None, training=True, momentum=0.0)
        weight = self.gain * flat.reshape_as(self.weight) * (self.weight[0].numel()) ** -0.5
        return F.conv2d(x, weight, self.bias, padding=1)


class Standardised(nn.Module):
    """Convolutions that standardise their weights in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.fc = StandardConv(3, 8), StandardConv(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.body(F.relu(self.stem(x)))).mean((2, 3)))


class LayerNorms(nn.Module):
    """Norms over channels: ConvNeXt's block with its global response norm, a group norm with one group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.LayerNorm(12)
        self.widen, self.narrow = nn.Linear(12, 20), nn.Linear(20, 12)
        self.weight, self.bias = nn.Parameter(torch.rand(20)), nn.Parameter(torch.rand(20))
        self.one, self.last, self.fc = nn.GroupNorm(1, 12), nn.Conv2d(12, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.gelu(self.widen(self.norm(x.permute(0, 2, 3, 1))))
        strength = y.norm(p=2, dim=(1, 2), keepdim=True)
        y = y + self.weight * (y * strength / (strength.mean(-1, keepdim=True) + 1e-6)) + self.bias
        x = x + self.narrow(y).permute(0, 3, 1, 2)
        return self.fc(F.relu(self.last(self.one(x))).mean((2, 3)))


class Conditional(nn.Module):
    """Convolutions with weights of their own for each example (CondConv), dense and depthwise; gates read one by one
    (FocalNet), by slices and by a split."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.routing = conv(3, 8), nn.Linear(8, 3)
        self.experts = nn.Parameter(torch.randn(3, 12 * 8 * 3 * 3) / 8)
        self.deep = nn.Parameter(torch.randn(3, 12 * 3 * 3) / 3)
        self.gates, self.fc = nn.Conv2d(12, 12 + 3, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n, c, h, w = x.shape
        share = self.routing(x.mean((2, 3))).sigmoid()
        weight = (share @ self.experts).view(n * 12, c, 3, 3)
        x = F.conv2d(x.reshape(1, n * c, h, w), weight, padding=1, groups=n).view(n, 12, h, w)
        weight = (share @ self.deep).view(n * 12, 1, 3, 3)
        x = F.conv2d(F.relu(x).reshape(1, n * 12, h, w), weight, padding=1, groups=n * 12).view(n, 12, h, w)
        x, gates = self.gates(F.relu(x)).split([12, 3], 1)
        first, second, third = gates[:, 0:1], *gates[:, 1:3].split(1, 1)
        return self.fc((x * first + x.relu() * second + x.tanh() * third).mean((2, 3)))


PATTERNS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "plain": (Plain, ((2, 3, 16, 16),)),
    "padded residual": (PaddedResidual, ((1, 3, 16, 16),)),
    "dense": (Dense, ((3, 3, 8, 8),)),
    "shuffle": (Shuffle, ((1, 3, 8, 8),)),
    "grouped": (Grouped, ((1, 3, 8, 8),)),
    "excite": (Excite, ((1, 3, 8, 8),)),
    "decoder": (Decoder, ((1, 3, 16, 16),)),
    "shared": (Shared, ((1, 3, 8, 8),)),
    "two heads": (TwoHeads, ((1, 3, 16, 16), (1, 1, 8, 8))),
    "strided": (Strided, ((1, 3, 8, 8),)),
    "attention": (Attention, ((1, 3, 4, 4),)),
    "slices": (Slices, ((1, 3, 8, 8),)),
    "upward": (Upward, ((1, 3, 4, 4),)),
    "shuffled groups": (ShuffledGroups, ((1, 3, 8, 8),)),
    "positions": (Positions, ((1, 3, 4, 4),)),
    "conditional": (Conditional, ((1, 3, 6, 6),)),
    "layer norms": (LayerNorms, ((1, 3, 6, 6),)),
}


#: Not with the parameters of the user's module: some are folded into others.
REWRITTEN = {"standardised": (Standardised, ((1, 3, 8, 8),))}


def spread_norms(model: nn.Module) -> nn.Module:
    """Give every vector (norm statistics and scales, biases) values that a wrong cut cannot hide behind."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.squeeze().dim() == 1:
                tensor.uniform_(0.5, 1.5)
    return model


@functools.cache
def _traced(name: str, choices: Choices = USUAL) -> tuple[nn.Module, Network]:
    build, shapes = (PATTERNS | REWRITTEN)[name]
    torch.manual_seed(0)
    model = spread_norms(build())
    return model, trace(model, tuple(torch.zeros(shape) for shape in shapes), choices=choices)


@pytest.fixture(params=PATTERNS)
def pattern(request: pytest.FixtureRequest) -> tuple[nn.Module, Network]:
    """A small network and its trace; both are shared, so neither may be changed."""
    return _traced(request.param)


@pytest.fixture
def traced() -> Callable[..., tuple[nn.Module, Network]]:
    """The network and the trace of one pattern by name, with choices or the usual ones."""
    return _traced


def _random_keep(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    keep = {}
    for group in network.groups:
        if group.removable and group.exact:
            most = group.size // group.multiple_of - 1  # of each part; at least one goes
            count = group.multiple_of * max(1, min(most, int(rng.binomial(group.size // group.multiple_of, 0.5))))
            keep[group.name] = group.best(rng.random(group.size), count)
    return keep


@pytest.fixture
def random_keep() -> Callable[..., dict[str, np.ndarray]]:
    """Keep about half of the channels of every exact group at random; at least one stays and one goes."""
    return _random_keep


def _silenced(model: nn.Module, network: Network, keep: dict[str, np.ndarray]) -> nn.Module:
    silent = copy.deepcopy(model).double()
    weights = dict(silent.named_parameters())
    with torch.no_grad():
        for group in network.groups:
            for member in group.members:
                if member.role == "column" and group.name in keep:
                    drop = torch.from_numpy(member.index[~keep[group.name]].ravel())
                    weight = weights[member.tensor]
                    (weight.flatten(0, 1) if member.ragged else weight.movedim(member.dim, 0))[drop] = 0
    return silent


@pytest.fixture
def silenced() -> Callable[..., nn.Module]:
    """The user's own module in float64 with the weights that read removed channels really set to zero."""
    return _silenced
