"""The ``xenrr`` command: for people, one class per command.

The two programs for scripts, ``python -m xenrr.client`` and ``python -m xenrr.server``,
speak netperf's words and stand beside it.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol

from xenrr import __version__
from xenrr.cli.campaign import CampaignCommand
from xenrr.cli.compare import CompareCommand
from xenrr.cli.demo import DemoCommand
from xenrr.cli.lab import LabCommand
from xenrr.cli.parser import Parser
from xenrr.cli.run import RunCommand
from xenrr.cli.shims import InstallShimsCommand
from xenrr.cli.show import ShowCommand
from xenrr.errors import CommandError, RemoteProtocolError, SpecError, XenrrError

__all__ = ["COMMANDS", "Command", "main"]

DONE, FAILED, USAGE, PEER_MISBEHAVED = 0, 1, 2, 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Command(Protocol):
    """One command; the first line of its docstring is its help.

    For one with ``takes_command`` what follows ``--`` on the command line is in
    ``args.after_dashes``, and ``None`` there without a ``--``.
    """

    name: str

    def prepare_parser(self, parser: ArgumentParser) -> None:
        """Add the command's options."""

    def run(self, args: Namespace) -> int:
        """Do it.

        Returns:
            0 done, 1 the test failed, 2 usage, 3 the peer misbehaved, 130 interrupted.
        """


COMMANDS: tuple[Command, ...] = (DemoCommand(), RunCommand(), ShowCommand(),
                                  CompareCommand(), CampaignCommand(), LabCommand(),
                                  InstallShimsCommand())


def make_parser() -> ArgumentParser:
    """Parser of the whole command line."""
    parser = Parser(
        prog="xenrr", description="Request/response network benchmark, wire-compatible with "
        "netperf. For scripts there are python -m xenrr.client and python -m xenrr.server.")
    parser.add_argument("--version", action="version", version=f"xenrr {__version__}")
    choices = parser.add_subparsers(dest="command", metavar="command", required=True)
    for command in COMMANDS:
        summary = (command.__doc__ or "").splitlines()[0]
        command.prepare_parser(
            choices.add_parser(command.name, help=summary, description=summary))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; ``None`` for the process's own.

    Returns:
        The exit code, see ``Command.run``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    names = [command.name for command in COMMANDS]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in names:
        meant = get_close_matches(arguments[0], names, n=1)
        advice = f"did you mean {meant[0]}?" if meant else f"there is {', '.join(names)}"
        print(f"xenrr: no command {arguments[0]!r}; {advice}", file=sys.stderr)
        return USAGE
    after = None
    if any(getattr(command, "takes_command", False) for command in COMMANDS
           if command.name in arguments[:1]):
        arguments, after = split_at_dashes(arguments)
    args = make_parser().parse_args(arguments or ["--help"])
    args.after_dashes = after
    command = next(command for command in COMMANDS if command.name == args.command)
    try:
        code = command.run(args)
        _write_the_rest()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (a pager, head); Python must not complain again
        # when it flushes at exit.
        sys.stdout = None
        return FAILED
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("numpy", "scipy", "msgpack", "rich"):
            raise
        print(f"xenrr {args.command}: it needs the package {exc.name}, which comes with an "
              "installed xenrr (pip install .)", file=sys.stderr)
        return FAILED
    except (XenrrError, OSError) as exc:
        text = str(exc)
        if isinstance(exc, OSError) and exc.strerror:
            # A person has no use for the number.
            text = exc.strerror if exc.filename is None else f"{exc.filename}: {exc.strerror}"
        if text:
            _complain(f"xenrr {args.command}: {text}")
        return exit_code_of(exc)


def _write_the_rest() -> None:
    """Write the output that is still in a buffer.

    At its end Python would do it, could not say what went wrong as people would understand it,
    and would exit with 120.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        sys.stdout = None
        raise CommandError(f"standard output: {exc.strerror or exc}", FAILED) from exc


def _complain(text: str) -> None:
    """An error for whoever reads it: a person's terminal gets whole words on a line, a log
    one line."""
    if sys.stderr is not None and sys.stderr.isatty():
        from xenrr.cli.screen import Screen

        Screen().talk(text)
    else:
        print(text, file=sys.stderr)


def split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Cut a command line at its first ``--``, which argparse understands differently from
    release to release.

    Returns:
        What stands before it, and what stands behind it; ``None`` without a ``--``.
    """
    if "--" not in words:
        return list(words), None
    place = list(words).index("--")
    return list(words[:place]), list(words[place + 1:])


def exit_code_of(error: Exception) -> int:
    """Exit code that says whose fault an error was."""
    if isinstance(error, CommandError):
        return error.exit_code
    if isinstance(error, SpecError):
        return USAGE
    return PEER_MISBEHAVED if isinstance(error, RemoteProtocolError) else FAILED
