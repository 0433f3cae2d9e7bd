# SPDX-License-Identifier: Apache-2.0
"""The certificate: a promise about the drop in quality, tested on images that nothing was chosen on.

certificate    what is promised and counted
sequence       the candidates tested beside it, and the order that was fixed before
recheck        the check of a certificate with nothing but itself
exact          the test and its bound
binomial       its probabilities, with numpy alone
ledger         several candidates, several runs
disagreement   counts where labels are missing
betting        a bound for qualities between 0 and 1, such as IoU
elias_fano     the differences that such a bound follows from, as a short text
by_area        how far the mean drop varies where images of one area are not independent; approximate
planning       what n images can prove
gate           whether one certified network may take the place of another
"""

from __future__ import annotations

from gossamer.certify.betting import Differences as Differences
from gossamer.certify.by_area import ByArea as ByArea
from gossamer.certify.by_area import by_known_areas as by_known_areas
from gossamer.certify.by_area import drop_by_area as drop_by_area
from gossamer.certify.certificate import ACCURACY as ACCURACY
from gossamer.certify.certificate import BETTING as BETTING
from gossamer.certify.certificate import METHOD as METHOD
from gossamer.certify.certificate import Certificate as Certificate
from gossamer.certify.certificate import certificate_of as certificate_of
from gossamer.certify.certificate import certify as certify
from gossamer.certify.certificate import level as level
from gossamer.certify.certificate import smallest_tolerance as smallest_tolerance
from gossamer.certify.exact import Counts as Counts
from gossamer.certify.exact import p_value as p_value
from gossamer.certify.exact import upper_bound as upper_bound
from gossamer.certify.gate import weaker as weaker
from gossamer.certify.ledger import Ledger as Ledger
from gossamer.certify.ledger import default_ledger as default_ledger
from gossamer.certify.ledger import fixed_sequence as fixed_sequence
from gossamer.certify.ledger import listed as listed
from gossamer.certify.planning import provable_drop as provable_drop
from gossamer.certify.planning import smallest_by_bets as smallest_by_bets
from gossamer.certify.planning import smallest_provable as smallest_provable
from gossamer.certify.planning import usual_wager as usual_wager
from gossamer.certify.recheck import not_recomputed as not_recomputed
from gossamer.certify.recheck import recheck as recheck
from gossamer.certify.sequence import Listed as Listed
from gossamer.certify.sequence import Rival as Rival
from gossamer.certify.sequence import is_sha256 as is_sha256
from gossamer.certify.sequence import order_hash as order_hash
