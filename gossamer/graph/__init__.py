# SPDX-License-Identifier: Apache-2.0
"""Any CNN as an exported graph: channel labels, groups that go together, exact cuts, and the check."""

from gossamer.graph.as_matrix import MatrixForm as MatrixForm
from gossamer.graph.calls import USUAL as USUAL
from gossamer.graph.calls import Choices as Choices
from gossamer.graph.cost import Layer as Layer
from gossamer.graph.cost import Norm as Norm
from gossamer.graph.explain import Row as Row
from gossamer.graph.explain import explain as explain
from gossamer.graph.groups import Group as Group
from gossamer.graph.groups import Member as Member
from gossamer.graph.network import Network as Network
from gossamer.graph.network import resize as resize
from gossamer.graph.network import trace as trace
from gossamer.graph.traced import TracedModule as TracedModule
from gossamer.graph.walk import Stop as Stop
from gossamer.graph.walk import Use as Use
from gossamer.graph.walk import walk as walk
from gossamer.graph.walk import with_taps as with_taps
