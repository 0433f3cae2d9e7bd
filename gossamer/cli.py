# SPDX-License-Identifier: Apache-2.0
"""The command line: `gossamer VERB ...`, one function a verb; each works on the files that the last one wrote."""

from __future__ import annotations

import errno
import shlex
import sys
from collections.abc import Sequence

from gossamer import (
    cli_bundle,
    cli_certify,
    cli_detect,
    cli_device,
    cli_export,
    cli_files,
    cli_store,
    cli_train,
    cli_work,
)
from gossamer.cli_parser import Parser
from gossamer.cli_settings import with_settings_file
from gossamer.near import meant

VERBS = (  # in the order of the help
    cli_work,
    cli_train,
    cli_files,
    cli_store,
    cli_certify,
    cli_device,
    cli_detect,
    cli_bundle,
    cli_export,
)

DESCRIPTION = (
    "Give it a trained convolutional network, its data and the quality you can spare; "
    "it gives back the smallest or fastest network that keeps the promise, with the proof, in a file."
)
GOING_ON = ("compress", "train")  # verbs that take up what was begun in --out

#: What the system says -> what was expected, and what to do.
SYSTEM_ERRORS = {
    errno.ENOENT: ("{0} is not there", "check the path"),
    errno.ENOTDIR: ("expected a folder in {0}, got a file", "choose another path"),
    errno.EEXIST: ("expected a folder in {0}, got a file", "choose another path"),
    errno.EISDIR: ("expected a file in {0}, got a folder", "name the file"),
    errno.EACCES: ("{0} may not be read or written", "check its permissions, or choose another path"),
    errno.EPERM: ("{0} may not be read or written", "check its permissions, or choose another path"),
    errno.EROFS: ("{0} is on a disk that cannot be written", "choose another path"),
    errno.ENOSPC: ("the disk of {0} is full", "make room, or choose another path"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; bad input is one sentence on standard error and exit status 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    verb = parser.verbs.get(given[0], parser) if given else parser
    try:
        options, unknown = parser.parse_known_args(with_settings_file(given, verb.flags))
        if unknown:
            flag = unknown[0].partition("=")[0]
            verb.error(f"expected its options, got {flag}, which is none{meant(flag, verb.flags).removesuffix('?')}")
        options.command_line = shlex.join(["gossamer", *given])
        return int(options.run(options))
    except KeyboardInterrupt:
        on = "; the same command goes on from here" if given[:1] and given[0] in GOING_ON else ""
        print(f"\nstopped{on}", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"{type(error).__name__}: {_system_error(error)}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, ArithmeticError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def build_parser() -> Parser:
    """All verbs with their options."""
    parser = Parser(prog="gossamer", description=DESCRIPTION)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=Parser)
    for module in VERBS:
        module.add_verbs(verbs)
    parser.verbs = dict(verbs.choices)
    return parser


def _system_error(error: OSError) -> str:
    """One sentence for what the system refused: which path, and what to do."""
    if error.filename is None:
        return str(error)
    what, remedy = SYSTEM_ERRORS.get(error.errno or 0, (f"{{0}}: {error.strerror}", "check the path"))
    return f"{what.format(str(error.filename).removesuffix('.part'))}; {remedy}"
