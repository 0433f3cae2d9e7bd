# SPDX-License-Identifier: Apache-2.0
"""A goal: how much quality may be lost, how sure one wants to be, and what is to become small.

Fractions, not points: `tolerance=0.005` is half a point of accuracy.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Minimise = Literal["bytes", "latency", "macs"]
Runtime = Literal["onnxruntime", "openvino"]


@dataclass(frozen=True)
class Goal:
    """Promise: with `confidence`, the drop of quality on new images is at most `tolerance`.

    Under that promise the search makes `minimise` as small as it can: bytes of the coded file, milliseconds
    in `runtime`, or multiply-adds. It stops after `hours`, if given. `observed` is the largest drop to be
    seen on the selection split; without it the search takes what it can prove.
    """

    tolerance: float = 0.01
    confidence: float = 0.95
    minimise: Minimise = "bytes"
    runtime: Runtime = "onnxruntime"
    hours: float | None = None
    observed: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"tolerance must be a fraction between 0 and 1, got {self.tolerance}; half a point is 0.005"
            )
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be in [0.5, 1), got {self.confidence}; 0.95 is usual")
        if self.minimise not in get_args(Minimise):
            raise ValueError(f"minimise must be one of {', '.join(get_args(Minimise))}, got '{self.minimise}'")
        if self.runtime not in get_args(Runtime):
            raise ValueError(f"runtime must be one of {', '.join(get_args(Runtime))}, got '{self.runtime}'")
        if self.hours is not None and not (0 < self.hours < math.inf):
            raise ValueError(f"hours must be positive, got {self.hours}; leave it out for no limit")
        if self.observed is not None and not (0 <= self.observed <= self.tolerance):
            raise ValueError(
                f"observed must be between 0 and the tolerance {self.tolerance}, got {self.observed}; "
                "a larger drop could not be proven within the tolerance"
            )

    def must_be_bytes(self, recipe: str) -> None:
        """Refuse another goal for a recipe that makes files small and nothing else."""
        if self.minimise != "bytes":
            raise ValueError(
                f"{recipe} makes files small, not arithmetic fast, but {self.minimise} is to be minimised; "
                "use --minimise bytes, or the recipe auto"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Goal:
        """Inverse of `to_json`; unknown names raise a ValueError."""
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"expected the fields of a goal, got {values!r} ({error})") from error

    def __str__(self) -> str:
        return (
            f"least {self.minimise}, drop at most {100 * self.tolerance:g} points "
            f"at {100 * self.confidence:g} % confidence, in {self.runtime}"
            + (f", within {self.hours:g} h" if self.hours is not None else "")
        )
