# SPDX-License-Identifier: Apache-2.0
"""What a run has to show: report.json, one self-contained HTML page, and tables on the terminal."""

from gossamer.report.page import write_page as write_page
from gossamer.report.record import Report as Report
from gossamer.report.record import read_reports as read_reports
from gossamer.report.record import write_json as write_json
