# SPDX-License-Identifier: Apache-2.0
"""`trace` makes a `Network` of any CNN; a network shows its layers and channel groups, and is cut into smaller ones.

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))
>>> network = trace(model, torch.zeros(1, 3, 16, 16))
>>> [(group.name, group.size, group.reason) for group in network.groups]
[('0.weight', 8, ''), ('2.weight', 4, 'it is an output of the network')]
>>> smaller = network.cut({"0.weight": np.arange(8) < 5})
>>> (network.macs, smaller.macs, network.check(smaller) < 1e-10)
(48608, 30380, True)
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from gossamer.graph.analysis import Analysis, analyse
from gossamer.graph.any_size import check_other_size
from gossamer.graph.calls import USUAL, Choices, Space
from gossamer.graph.check import cut_error
from gossamer.graph.cost import Layer, Prediction, find_layers
from gossamer.graph.emptied import unread
from gossamer.graph.export import Form, canonical_names, export_forms
from gossamer.graph.flow import Flow, find_flow
from gossamer.graph.groups import Group, find_groups
from gossamer.graph.labels import Labelled
from gossamer.graph.surgery import Cut
from gossamer.graph.traced import TracedModule
from gossamer.graph.write_back import copied, write_back
from gossamer.near import meant
from gossamer.plan import Plan

Keep = NDArray[np.bool_]


def trace(
    model: nn.Module,
    example: Tensor | tuple[Any, ...],
    freeze: Iterable[str] = (),
    choices: Choices = USUAL,
    any_size: bool = False,
) -> Network:
    """The network of a module: exported, analysed, and independent of `model`, which is never changed.

    `example`: an input (N, C, H, W), or a tuple of inputs; the batch stays free. `freeze`: names of parameters or
    modules whose output channels must all stay. `choices`: where channels can go in several ways, which way they go.
    `any_size`: images of other heights and widths than the example's are taken too, where the network's own forward
    allows it. Raises ValueError naming the line that cannot be exported.
    """
    inputs = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    frozen = tuple(freeze)
    tensors = _all_tensors(model)
    _check_names("freeze", frozen, {prefix for name in tensors for prefix in _prefixes(name)}, "parameter or module")
    exported = export_forms(model, inputs, zeros=choices.norms == "zeros", any_size=any_size)
    transient = {name for name in tensors if name not in model.state_dict()} | set(exported.constants)
    own: dict[int, Tensor] = {
        id(tensor): copied(tensor) for tensor in [*tensors.values(), *exported.constants.values()]
    }
    for name, value in exported.folded.items():
        own[id(tensors[name])] = copied(nn.Parameter(value, tensors[name].requires_grad))
    tensors = {
        name: own[id(tensor)]
        for name, tensor in (tensors | dict(exported.constants)).items()
        if name not in exported.absorbed
    }
    shapes = [_shape(leaf, any_size) for leaf in pytree.tree_leaves(inputs)]
    module = TracedModule(tensors, exported.forms, transient, shapes).train(model.training)
    if any_size:
        check_other_size(model, module, inputs)
    source = Source(model, frozen, frozenset(transient), choices, tuple(shapes))
    return Network(module, inputs, exported.forms, source, {})


def resize(model: nn.Module, plan: Plan, example: Tensor | tuple[Any, ...]) -> nn.Module:
    """The user's module at the widths that a plan leaves it: a copy, ready for `load_state_dict` of a cut network.

    `example` as in `trace`; `plan` in the channels of `model`. Raises ValueError where the module's own forward holds
    a width, naming the line.
    """
    return trace(model, example).cut(plan.keep(), into="module")


@dataclass(frozen=True)
class Source:
    """Where a network comes from and how it was asked for; the same for all that is cut from it.

    `model` is the user's module, never changed; `transient` names tensors that no state dict holds; `shapes` are those
    of the inputs behind the batch, None where a size is free.
    """

    model: nn.Module
    frozen: tuple[str, ...]
    transient: frozenset[str]
    choices: Choices
    shapes: tuple[tuple[int | None, ...], ...]


class Network:
    """A traced network: `module` runs and trains, `layers` and `groups` describe it, `cut` makes it smaller.

    `example`: the inputs it was traced with. `kept`: the cut that made it, group name -> bool (K,), in the
    channels of the network that was cut.
    """

    def __init__(
        self,
        module: TracedModule,
        example: tuple[Any, ...],
        forms: Mapping[bool, Form],
        source: Source,
        kept: Mapping[str, Keep],
    ) -> None:
        self.module = module
        self.example = example
        self.kept = kept
        self._forms = forms
        self._source = source

    # --- what it is

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Every channel group in forward order, removable or not."""
        return find_groups(self._analysis)

    @property
    def prunable(self) -> list[Group]:
        """The groups that may be cut without changing what their other channels compute, in forward order."""
        return [group for group in self.groups if group.removable and group.exact]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every convolution and linear layer in forward order."""
        return find_layers(self._analysis)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers for one example."""
        return self.macs_if({})

    @property
    def parameters(self) -> int:
        """Numbers stored for inference: parameters and buffers that the evaluation form reads."""
        return self.parameters_if({})

    def macs_if(self, counts: Mapping[str, int]) -> int:
        """The multiply-adds that would be left if each named group kept so many channels; nothing is cut."""
        return self._prediction.macs(counts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """For each use of a layer in forward order: operator, kernel and size of the map ("conv2d 3x3 at 16x16")."""
        return self._prediction.kinds

    def macs_of_uses_if(self, counts: Mapping[str, int]) -> NDArray[np.int64]:
        """The multiply-adds of each use of a layer, (uses,), if each named group kept so many channels."""
        return self._prediction.macs_of_uses(counts)

    def weights_if(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Numbers in the weight of each layer, by its name, if each named group kept so many channels."""
        return self._prediction.weights(counts)

    @property
    def flow(self) -> Flow:
        """Which operator of the evaluation form makes which activation, and from which."""
        return self._flow[0]

    def activations_if(self, counts: Mapping[str, int]) -> NDArray[np.int64]:
        """Numbers in each activation of `flow` at batch 1, (activations,), if each named group kept so many channels.

        Where a group keeps none, activations without channels have none; what is computed from them is counted still.
        """
        return self._prediction.activations(counts)

    def can_end(self, *groups: str) -> bool:
        """Whether these groups may all keep nothing: the network goes on without the branches through them."""
        sizes = {group.name: group.size for group in self.groups}
        try:
            cut, _ = self._planned("cut", {name: np.zeros(sizes[name], np.bool_) for name in groups})
            cut.branches(self._forms, cut.tensors(self.tensors))
        except ValueError:
            return False
        return True

    def ending(self, groups: Sequence[str]) -> list[str]:
        """Those of the groups that may all keep nothing; where not all of them may, the first go before the others.

        Two branches between which the output can choose may each end, but not both.
        """
        if not groups or self.can_end(*groups):
            return list(groups)
        found: list[str] = []
        for name in groups:
            if self.can_end(*found, name):
                found.append(name)
        return found

    def parameters_if(self, counts: Mapping[str, int]) -> int:
        """The numbers that would be left if each named group kept so many channels; nothing is cut.

        Where a group keeps none, the norms that end with its branch are counted still: the result is an upper bound.
        """
        return self._prediction.parameters(counts)

    # --- what can be done with it

    @overload
    def cut(self, keep: Mapping[str, Keep], into: Literal["network"] = "network") -> Network: ...

    @overload
    def cut(self, keep: Mapping[str, Keep], into: Literal["module"]) -> nn.Module: ...

    def cut(self, keep: Mapping[str, Keep], into: str = "network") -> Network | nn.Module:
        """A smaller network without the channels where `keep[group]`, bool (K,), is False; this one is untouched.

        Where a group keeps nothing, the branch through it is gone, and the mean that its last batch norm gave is a
        parameter in its place (`emptied`).

        `into="module"` gives an object of the user's own class instead, with narrower layers, where its forward runs
        unchanged at the new widths. Raises ValueError for a group that does not exist or must stay, for a keep of the
        wrong length, for a group without channels that the output hangs on, and for a forward with a width written
        into it, naming the line.
        """
        if into not in ("network", "module"):
            raise ValueError(f"into must be 'network' or 'module', got '{into}'")
        cut, kept = self._planned("cut", keep)
        left = cut.tensors(self.tensors)
        forms, branches = cut.forms(self._forms, left), cut.branches(self._forms, left)
        ended = not all(vector.any() for vector in kept.values())
        if into == "module" and ended:
            raise ValueError(
                "expected groups that keep a channel, got some with none: a module of the user's own class cannot lose "
                'a branch; use the traced network (into="network")'
            )
        gone = unread(self._forms, forms) if ended else set()
        names = {name: first for name, first in canonical_names(self.module).items() if first not in gone}
        tensors = {name: left[first] for name, first in names.items()} | branches
        source = replace(self._source, transient=self._source.transient | set(cut.constants))
        module = TracedModule(tensors | cut.constants, forms, source.transient, source.shapes)
        module.train(self.module.training)
        module.norm_momentum = self.module.norm_momentum
        if into == "module":
            return write_back(source.model, module, tensors, self._forms, forms, self.example)
        return Network(module, self.example, forms, source, kept)

    def check(self, smaller: Network, seed: int = 0) -> float:
        """How far `smaller`, a cut of this network, is from exact: relative error, below 1e-10 where it is.

        The structure is checked, on random weights in float64, in both forms; the weights of `smaller` may have
        been trained since. A cut of a group that is not `exact` shows by how much.
        """
        cut, _ = self._planned("check", smaller.kept)
        theirs = smaller.tensors
        gone = unread(self._forms, smaller._forms)
        for name, labelled in self._analysis.tensors.items():
            shape = cut.shape(labelled)
            if name in gone:
                continue
            if name not in theirs or theirs[name].shape != shape:
                got = tuple(theirs[name].shape) if name in theirs else "none"
                raise ValueError(
                    f"check: expected a cut of this network, with '{name}' of shape {shape}, got {got}; "
                    "check against the network that was cut"
                )
        return cut_error(self._analysis, self._forms, smaller._forms, self.tensors, cut, theirs, self.example, seed)

    def channels_of(self, smaller: Network) -> dict[str, list[tuple[str, int]]]:
        """Per group of `smaller`, a cut of this network: the group and the place in it that each channel has here."""
        cut, _ = self._planned("channels_of", smaller.kept)
        analysis = self._analysis
        here = {int(unit): (g.name, place) for g in self.groups for place, unit in enumerate(g.classes)}
        found = {}
        for group in smaller.groups:
            member = next(m for m in group.members if m.tensor in analysis.tensors and not m.ragged)
            labelled = analysis.tensors[member.tensor]
            slots = np.flatnonzero(cut.dim(labelled, member.dim))[member.index[:, 0]]
            found[group.name] = [here[int(unit)] for unit in analysis.axes(labelled)[member.dim][slots]]
        return found

    def copy(self) -> Network:
        """The same network with parameters of its own."""
        other = copy.copy(self)
        other.module = copy.deepcopy(self.module)
        return other

    # --- how it is known

    @property
    def evaluation_graph(self) -> fx.Graph:
        """The graph of the evaluation form; `get_attr` nodes name tensors of `module`."""
        return self._forms[False].graph

    def _planned(self, verb: str, keep: Mapping[str, Keep]) -> tuple[Cut, dict[str, Keep]]:
        """The cut that `keep` asks for, and `keep` as checked copies."""
        groups = {group.name: group for group in self.groups}
        _check_names(verb, keep, groups, "group")
        kept = {name: _checked(groups[name], given) for name, given in keep.items()}
        kept_class = np.ones(len(self._analysis.classes.pinned), np.bool_)
        for name, vector in kept.items():
            kept_class[groups[name].classes] = vector
        return Cut(self._analysis, kept_class), kept

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers and constants by all their names."""
        return _all_tensors(self.module)

    @cached_property
    def _analysis(self) -> Analysis:
        names = canonical_names(self.module)
        tensors = self.tensors
        return analyse(
            self._forms,
            {name: tensors[name] for name in dict.fromkeys(names.values())},
            self.example,
            self._protect,
            self._source.choices,
        )

    def _protect(self, space: Space) -> None:
        """Pin the output channels of everything that the user froze."""
        names = canonical_names(self.module)
        for frozen in self._source.frozen:
            for name in {first for name, first in names.items() if frozen in _prefixes(name)}:
                for dim in range(len(space.parameters[name].shape)):
                    plane = space.parameters[name].plane(dim)
                    if plane is not None and space.roles.get((name, dim), "column") != "column":
                        space.labels.pin(plane, f"'{frozen}' is frozen")

    @cached_property
    def _prediction(self) -> Prediction:
        used = [node.target for node in self._forms[False].graph.nodes if node.op == "get_attr" and node.users]
        flow, tensors = self._flow
        activations = [tensors[name] for name in flow.activations]
        return Prediction(self._analysis, self.groups, list(dict.fromkeys(used)), activations)

    @cached_property
    def _flow(self) -> tuple[Flow, dict[str, Labelled]]:
        return find_flow(self._forms[False].graph, self._analysis.calls[False], self.example)


def _checked(group: Group, keep: Keep) -> Keep:
    """`keep` as a bool vector, or the error that says what is wrong with it."""
    keep = np.asarray(keep)
    if keep.dtype != np.bool_ or keep.shape != (group.size,):
        raise ValueError(
            f"keep of group '{group.name}' must be a bool vector of shape ({group.size},), "
            f"got {keep.dtype} of shape {keep.shape}"
        )
    if not group.removable and not keep.all():
        raise ValueError(
            f"group '{group.name}' cannot be cut: {group.reason}; leave it out or keep all its {group.size} channels"
        )
    counts = np.bincount(group.part, keep)
    if (counts != counts[0]).any():
        raise ValueError(
            f"group '{group.name}' must keep equally many channels of each of its {group.multiple_of} parts, got "
            f"{int(counts.min())} to {int(counts.max())}; see group.part"
        )
    return keep.copy()


def _check_names(what: str, names: Iterable[str], known: Iterable[str], kind: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{what}: expected the name of a {kind} of this network, got '{name}'{meant(name, known)}")


def _prefixes(name: str) -> list[str]:
    """A tensor's name and the names of all modules around it."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by all their names."""
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _shape(leaf: Any, any_size: bool) -> tuple[int | None, ...]:
    """What an input has behind its batch; height and width of an image may be free."""
    if not isinstance(leaf, Tensor):
        return ()
    return (leaf.shape[1], None, None) if any_size and leaf.dim() == 4 else tuple(leaf.shape[1:])
