# SPDX-License-Identifier: Apache-2.0
"""The cheapest plan within the tolerance."""
