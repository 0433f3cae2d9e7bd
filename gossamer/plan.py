# SPDX-License-Identifier: Apache-2.0
"""Plan: what a network becomes. Everything in the coordinates of the *original* network.

A compressed network is always cut from the original by its plan, in one step; trained values travel beside it
in a checkpoint. A plan is a frozen record, readable when printed, stored as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLAN_VERSION = 1


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one weight tensor: the share of zeros asked for, and its integer grid or its codebook.

    `step` is the distance of neighbouring grid points of the *folded* weight (batch norm multiplied in); `codebook`
    is how many values the weights share, zero counted. With neither, the tensor stays in floating point.
    """

    sparsity: float = 0.0
    step: float | None = None
    codebook: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity <= 1.0:
            raise ValueError(f"sparsity must be a share in [0, 1], got {self.sparsity}")
        if self.step is not None and not self.step > 0.0:
            raise ValueError(f"the step of a grid must be positive, got {self.step}")
        if self.codebook is not None and (self.codebook < 1 or self.step is not None):
            got = f"{self.codebook} of them" if self.step is None else f"a grid of step {self.step} beside it"
            raise ValueError(f"a codebook must have one or more values and no grid, got {got}")

    def to_json(self) -> dict[str, Any]:
        """A JSON value; the codebook is named only where there is one."""
        value: dict[str, Any] = {"sparsity": self.sparsity, "step": self.step}
        return value if self.codebook is None else value | {"codebook": self.codebook}


@dataclass(frozen=True)
class Plan:
    """Channels kept per group, zeros and grids per weight, and whether arithmetic is int8.

    >>> plan = Plan(channels={"conv1.weight": (True, True, False)}, int8=True)
    >>> Plan.from_json(plan.to_json()) == plan
    True
    >>> print(plan)
    channels: conv1.weight 2 of 3
    arithmetic: int8
    """

    channels: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)
    layers: Mapping[str, LayerPlan] = field(default_factory=dict)
    int8: bool = False

    def keep(self) -> dict[str, NDArray[np.bool_]]:
        """Kept channels per group as bool vectors, as `Network.cut` takes them."""
        return {name: np.array(keep, dtype=np.bool_) for name, keep in self.channels.items()}

    def with_channels(self, keep: Mapping[str, NDArray[np.bool_]]) -> Plan:
        """The same plan with these channels kept."""
        return replace(self, channels={name: tuple(bool(k) for k in row) for name, row in keep.items()})

    def with_layers(self, layers: Mapping[str, LayerPlan]) -> Plan:
        """The same plan with these weights' zeros and grids."""
        return replace(self, layers=dict(layers))

    def to_json(self) -> dict[str, Any]:
        """A JSON value; kept channels are a string of 1 (kept) and 0 (cut)."""
        return {
            "version": PLAN_VERSION,
            "channels": {name: "".join("01"[k] for k in keep) for name, keep in self.channels.items()},
            "layers": {name: layer.to_json() for name, layer in self.layers.items()},
            "int8": self.int8,
        }

    def in_file(self) -> dict[str, Any]:
        """What a file says of its plan: channels and arithmetic. Zeros, steps and codebooks are in its tensors."""
        return {name: value for name, value in self.to_json().items() if name != "layers"}

    @classmethod
    def from_json(cls, value: Any) -> Plan:
        """The plan written by `to_json`."""
        if not isinstance(value, dict) or value.get("version") != PLAN_VERSION:
            got = value.get("version") if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"expected a plan of version {PLAN_VERSION}, got {got}; write it again")
        return cls(
            channels={name: tuple(k == "1" for k in keep) for name, keep in value["channels"].items()},
            layers={name: LayerPlan(**layer) for name, layer in value["layers"].items()},
            int8=bool(value["int8"]),
        )

    def __str__(self) -> str:
        lines = [
            f"channels: {name} {sum(keep)} of {len(keep)}" for name, keep in self.channels.items() if not all(keep)
        ]
        lines += [
            f"weights: {name}"
            + (f" {100 * layer.sparsity:.0f} % zeros" if layer.sparsity else "")
            + (f" grid step {layer.step:.3g}" if layer.step else "")
            + (f" {layer.codebook} shared values" if layer.codebook else "")
            for name, layer in self.layers.items()
        ]
        lines.append(f"arithmetic: {'int8' if self.int8 else 'float32'}")
        return "\n".join(lines)
