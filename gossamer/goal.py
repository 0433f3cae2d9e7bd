# SPDX-License-Identifier: Apache-2.0
"""A goal: how much quality may be lost, how sure one wants to be, and what is to become small.

Fractions, not points: `tolerance=0.005` is half a point of accuracy. The reverse goal says what the network must fit
into, `fit={"bytes": 200_000}`, and asks for the best quality there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Minimise = Literal["bytes", "latency", "macs"]
Runtime = Literal["onnxruntime", "openvino"]
_UNITS = {"bytes": "bytes", "latency": "ms", "macs": "multiply-adds", "ram": "bytes of working memory"}


@dataclass(frozen=True)
class Goal:
    """Promise: with `confidence`, the drop of quality on new images is at most `tolerance`.

    Under that promise the search makes `minimise` as small as it can: bytes of the coded file, milliseconds
    in `runtime`, or multiply-adds. It stops after `hours`, if given. `observed` is the largest drop to be
    seen on the selection split; without it the search takes what it can prove.

    With `fit`, limits of bytes of the file, multiply-adds ("macs"), milliseconds at batch 1 ("latency") and bytes of
    working memory ("ram", as in `measure.working_memory`), it is the other way round: all of them are kept, and as much
    quality as can be. Then `tolerance` says nothing, the certificate bounds the drop that came of it, and `minimise` is
    what is measured beside: latency where it is limited.
    """

    tolerance: float = 0.01
    confidence: float = 0.95
    minimise: Minimise = "bytes"
    runtime: Runtime = "onnxruntime"
    hours: float | None = None
    observed: float | None = None
    fit: Mapping[str, float] = field(default_factory=dict)

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
        if self.fit:
            self._check_fit()

    def _check_fit(self) -> None:
        for name, limit in self.fit.items():
            if name not in _UNITS:
                raise ValueError(f"a network can be fitted into {', '.join(_UNITS)}, got '{name}'")
            if not 0 < limit < math.inf:
                raise ValueError(f"the limit of {name} must be a positive number, got {limit}")
        if self.observed is not None:
            raise ValueError("expected limits to fit into or an observed drop, got both; leave one out")
        wanted = next((name for name in ("latency", "macs", "bytes") if name in self.fit), "bytes")
        object.__setattr__(self, "minimise", wanted)
        object.__setattr__(self, "fit", dict(self.fit))

    @property
    def wanted(self) -> float:
        """The largest drop that a candidate may show: `observed`, or else the tolerance."""
        return self.tolerance if self.observed is None else self.observed

    def exceeded(self, costs: Mapping[str, float | None]) -> dict[str, float]:
        """How many times its limit each cost is, of those that are above theirs."""
        times = {name: (costs[name] or 0.0) / limit for name, limit in self.fit.items()}
        return {name: ratio for name, ratio in times.items() if ratio > 1}

    def must_be_a_tolerance(self, recipe: str) -> None:
        """Refuse limits for a recipe that knows none."""
        if self.fit:
            raise ValueError(f"{recipe} searches within a tolerance, not within limits; use the recipe auto to fit")

    def must_be_bytes(self, recipe: str) -> None:
        """Refuse another goal for a recipe that makes files small within a tolerance and nothing else."""
        self.must_be_a_tolerance(recipe)
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
        what = f"least {self.minimise}, drop at most {100 * self.tolerance:g} points"
        if self.fit:
            what = "best quality within " + ", ".join(f"{limit:g} {_UNITS[name]}" for name, limit in self.fit.items())
        return f"{what} at {100 * self.confidence:g} % confidence, in {self.runtime}" + (
            f", within {self.hours:g} h" if self.hours is not None else ""
        )
