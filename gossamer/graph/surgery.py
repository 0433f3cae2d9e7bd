# SPDX-License-Identifier: Apache-2.0
"""The cut itself: tensors lose the slots of removed units, and sizes written into the graphs are counted again.

Where a group keeps nothing, a branch of the network ends, and a constant takes its place (`emptied`).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from gossamer.graph.analysis import Analysis
from gossamer.graph.calls import Call, SizeOf
from gossamer.graph.emptied import Emptied, find_emptied, without
from gossamer.graph.export import Form
from gossamer.graph.labels import Labelled
from gossamer.graph.rules import RULES


class Cut:
    """What a cut leaves of each tensor, given `keep` per class; also what `resize` rules ask (`calls.Kept`).

    `constants` are the new tensors that the forms made by `forms` need, and no state dict holds.
    """

    def __init__(self, analysis: Analysis, keep: NDArray[np.bool_]) -> None:
        self._analysis = analysis
        self._keep = keep
        self.constants: dict[str, Tensor] = {}

    def dim(self, tensor: Labelled, dim: int) -> NDArray[np.bool_]:
        """Which slots along `dim` are kept, bool (n,)."""
        dim %= len(tensor.shape)
        classes = self._analysis.axes(tensor).get(dim)
        return np.ones(tensor.shape[dim], np.bool_) if classes is None else self._keep[classes]

    def shape(self, tensor: Labelled) -> tuple[int, ...]:
        """The shape that is left, at batch 1."""
        shape = list(tensor.shape)
        for dim, classes in self._analysis.axes(tensor).items():
            shape[dim] = int(self._keep[classes].sum())
        if (columns := self._columns(tensor)) is not None:
            shape[1] = int(columns[0].sum())
        return tuple(shape)

    def _columns(self, tensor: Labelled) -> NDArray[np.bool_] | None:
        """The columns that each row of a ragged weight keeps, equally many, bool (rows, columns)."""
        rows = self._analysis.ragged_rows(tensor)
        return None if rows is None else np.asarray(self._keep[rows])

    def tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies of the network's tensors (by their first names) without the removed slots."""
        return {name: self._compacted(tensors[name], labelled) for name, labelled in self._analysis.tensors.items()}

    def _compacted(self, tensor: Tensor, labelled: Labelled) -> Tensor:
        left = tensor.detach()
        if (columns := self._columns(labelled)) is not None and not columns.all():
            kept = torch.from_numpy(columns).to(left.device)  # in row-major order, so rows stay apart
            left = left[kept].reshape(left.shape[0], -1, *left.shape[2:])
        for dim in self._analysis.axes(labelled):
            keep = self.dim(labelled, dim)
            if not keep.all():
                left = left.index_select(dim, torch.from_numpy(np.flatnonzero(keep)).to(left.device))
        left = left.clone()
        return nn.Parameter(left, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else left

    def forms(self, forms: Mapping[bool, Form], left: Mapping[str, Tensor]) -> dict[bool, Form]:
        """Copies of both forms for the tensors that are `left`: sizes are counted again, ended branches are gone."""
        emptied = {training: self._emptied(training, form, left) for training, form in forms.items()}
        names = [f"constants.{node.name}" for node in emptied[False].constants]
        return {training: self._form(training, form, emptied[training], names) for training, form in forms.items()}

    def branches(self, forms: Mapping[bool, Form], left: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
        """The constants in the place of branches that have ended, by name; both forms read the same."""
        found = {training: self._emptied(training, form, left).constants for training, form in forms.items()}
        first, second = (list(constants.values()) for constants in found.values())
        if [value.shape for value in first] != [value.shape for value in second]:
            raise ValueError("expected branches that end at the same places in training and in evaluation")
        return {f"constants.{node.name}": nn.Parameter(value) for node, value in found[False].items()}

    def statistics(self, forms: Mapping[bool, Form], left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Running means and variances of the norms that ended with a branch, as re-estimated, by name."""
        return self._emptied(False, forms[False], left).statistics

    def _emptied(self, training: bool, form: Form, left: Mapping[str, Tensor]) -> Emptied:
        if not any(0 in tensor.shape for tensor in left.values()):
            return Emptied()
        return find_emptied(form, self._analysis.calls[training], self.shape, left.__getitem__)

    def _form(self, training: bool, form: Form, emptied: Emptied, names: Sequence[str]) -> Form:
        """A copy of one form."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        graph.output(graph.graph_copy(form.graph, copies))
        gone = set(emptied.gone)
        for call in self._analysis.calls[training]:
            rule = RULES.get(call.name)
            if rule is not None and rule.resize is not None and call.node not in gone:
                prefix = "constants.training_form" if training else "constants.evaluation_form"
                self._rewrite(copies, call, rule.resize(call, self), prefix)
        if gone:
            without(graph, emptied, copies, names)
        return Form(graph, form.outputs)

    def _rewrite(self, copies: Mapping[fx.Node, fx.Node], call: Call, changes: Mapping[str, Any], prefix: str) -> None:
        """Write changed arguments into the copy of a call's node."""
        node = copies[call.node]
        names = [argument.name for argument in call.node.target._schema.arguments]  # type: ignore[union-attr]
        for name, value in changes.items():
            if isinstance(value, Tensor):
                constant = f"{prefix}.{node.name}_{name}"
                self.constants[constant] = value
                with node.graph.inserting_before(node):
                    value = node.graph.get_attr(constant)
            elif isinstance(value, SizeOf):
                operand = copies[call.written[value.argument]]
                with node.graph.inserting_before(node):
                    size = node.graph.call_function(torch.ops.aten.sym_size.int, (operand, value.dim))
                    value = node.graph.call_function(operator.floordiv, (size, value.parts))
            elif value == call.written[name]:
                continue
            else:
                value = fx.map_arg(value, copies.__getitem__)
            if names.index(name) < len(node.args):
                node.update_arg(names.index(name), value)
            else:
                node.update_kwarg(name, value)
