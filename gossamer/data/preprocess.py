# SPDX-License-Identifier: Apache-2.0
"""From a picture to what the network reads: resize, crop, scale, normalise.

    x[n, c, i, j] = (pixel[n, i, j, c] / scale - mean[c]) / std[c]

computed as one multiplication and one addition in float32, in this order, by numpy and by torch alike, so
that a network sees the same bits in training, in a runtime and on the device. Needs neither torch nor Pillow
until they are used.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from PIL import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")  # as Pillow does them
SMALL = 64  # images up to this size are resized directly; larger ones lose a border to a centre crop


@dataclass(frozen=True)
class Preprocess:
    """What happens to a picture before the network; `mean` and `std` are for values between 0 and 255/scale.

    `size` is the side of a square, or (height, width). Of larger pictures the centre is kept: `crop` is its
    side over the shorter side of the picture (224 of 256 pixels is the ImageNet habit); `interpolation` is how
    Pillow resizes. `bgr` reverses the
    channels (networks from Caffe and Darknet), `turned` rotates the picture by 180 degrees: TensorFlow pads
    'SAME' at the bottom and right, PyTorch evenly, and turning both kernels and picture makes the two
    agree.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | tuple[int, int]
    channels: int = 3
    scale: float = 255.0
    bgr: bool = False
    turned: bool = False
    crop: float = 0.875
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise ValueError(
                    f"{name} needs {self.channels} numbers, one per channel, got {list(values)}; "
                    f"give e.g. --{name} {' '.join(['0.5'] * self.channels)}"
                )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {list(self.std)}; images are divided by it")
        if min(self.height, self.width) < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}; use 255 for networks that read 0..1")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1], got {self.crop}; 0.875 keeps 224 of 256 pixels")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got '{self.interpolation}'")
        if self.bgr and self.channels != 3:
            raise ValueError(f"bgr needs 3 channels, got {self.channels}")

    @property
    def height(self) -> int:
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        return self.size if isinstance(self.size, int) else self.size[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one example."""
        return self.channels, self.height, self.width

    def fit(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A decoded picture of any size -> (H, W, C): the shorter side is resized, the centre kept.

        Up to 64 pixels the picture is resized to the size directly: small ones are cut to their object
        already.
        """
        height, width = self.height, self.width
        if max(height, width) <= SMALL:
            return self.squeeze(picture)
        zoom = max(height / picture.height, width / picture.width) / self.crop
        wide = max(width, round(picture.width * zoom))
        high = max(height, round(picture.height * zoom))
        left, top = (wide - width) // 2, (high - height) // 2
        resized = self._resized(picture, high, wide)
        return resized[top : top + height, left : left + width].copy()

    def squeeze(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A decoded picture of any size -> (H, W, C): the whole of it, whatever its sides; nothing is cut off."""
        return self._resized(picture, self.height, self.width)

    def _resized(self, picture: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
        """A decoded picture -> (height, width, C), grey or in colour as the network reads it."""
        from PIL import Image

        converted = picture.convert("L" if self.channels == 1 else "RGB")
        resized = converted.resize((width, height), Image.Resampling[self.interpolation.upper()])
        return np.asarray(resized, dtype=np.uint8).reshape(height, width, self.channels)

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, C) -> float32 (N, C, H, W), contiguous."""
        self._check(images.dtype == np.uint8, images.shape, (self.height, self.width, self.channels), images.dtype)
        if self.bgr:
            images = images[..., ::-1]
        if self.turned:
            images = images[:, ::-1, ::-1]
        factor, offset = self._affine()
        values = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
        values *= factor[:, None, None]
        values += offset[:, None, None]
        return values

    def apply_tensor(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N, C, H, W) -> float32 (N, C, H, W), on the same device; the same bits as `apply`."""
        import torch

        self._check(images.dtype == torch.uint8, tuple(images.shape), self.shape, images.dtype)
        if self.bgr:
            images = images.flip(1)
        if self.turned:
            images = images.flip(2, 3)
        factor, offset = (torch.from_numpy(v).to(images.device).view(1, -1, 1, 1) for v in self._affine())
        return images.to(torch.float32).mul_(factor).add_(offset)

    def _affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Factor (C,) and offset (C,): x = pixel * factor + offset; rounded to float32 once, from float64."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (self.scale * std)).astype(np.float32), (-mean / std).astype(np.float32)

    @staticmethod
    def _check(is_uint8: bool, shape: tuple[int, ...], expected: tuple[int, ...], dtype: object) -> None:
        if not is_uint8 or len(shape) != 4 or shape[1:] != expected:
            size = ", ".join(map(str, expected))
            raise ValueError(f"images must be uint8 (N, {size}), got {dtype} {shape}; resize them or change --size")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocess:
        """Inverse of `to_json`; unknown or missing names raise a ValueError."""
        try:
            size = values["size"]
            return cls(
                **{
                    **values,
                    "mean": tuple(values["mean"]),
                    "std": tuple(values["std"]),
                    "size": size if isinstance(size, int) else (int(size[0]), int(size[1])),
                }
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"expected the preprocessing of a network, got {values!r} ({error})") from error


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PRESETS = {
    "cifar10": Preprocess((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 32),
    "cifar10-imagenet-stats": Preprocess(IMAGENET_MEAN, IMAGENET_STD, 32),
    "half": Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224),
    "imagenet": Preprocess(IMAGENET_MEAN, IMAGENET_STD, 224),
    "mnist": Preprocess((0.1307,), (0.3081,), 28, channels=1),
    "emg": Preprocess((128 / 255,), (16 / 255,), (33, 8), channels=1),
}


def preset(name: str) -> Preprocess:
    """A well-known preprocessing by name.

    >>> preset("cifar10").size
    32
    """
    if name not in PRESETS:
        raise ValueError(f"no preset is called '{name}'; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
