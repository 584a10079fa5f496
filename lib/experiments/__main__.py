"""The command of the experiments of Problem 3.

python -m lib.experiments list
python -m lib.experiments run NAME [--profile quick|full] [--seeds 0 1 2] [--fresh] [--jobs 2 | --cluster local:2]
python -m lib.experiments status
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lib.devices import PRECISIONS
from lib.experiments.plan import CANDIDATES, EXPERIMENTS, PROFILES
from lib.experiments.status import status
from lib.experiments.units import run
from lib.files import user_path

CHECKOUT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    chosen = vars(_parser().parse_args(arguments))
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    try:
        match chosen.pop("command"):
            case "list":
                _print_list()
            case "status":
                profile = chosen.pop("profile")
                for name in [profile] if profile else PROFILES:
                    _print_status(name, status(name, **chosen))
            case "run":
                run(**chosen)
        sys.stdout.flush()
    except KeyboardInterrupt as interruption:
        print(f"{str(interruption) or 'interrupted'}; the same command resumes", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: missing results, workers that were killed
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib.experiments", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the experiments and their size")
    run_parser = commands.add_parser("run", help="run what is not finished; interrupted units resume")
    add = run_parser.add_argument
    add("name", choices=[*EXPERIMENTS, "all"], metavar="NAME", help=f"{', '.join(EXPERIMENTS)}, or all")
    add("--seeds", type=int, nargs="+", help="default: the profile's")
    add("--fresh", action="store_true", help="forget results and checkpoints of these units first")
    add("--micro-batch-size", type=int, default=256, help="images that batch normalisation sees at once (default: 256)")
    at_once = run_parser.add_mutually_exclusive_group().add_argument
    at_once("--jobs", type=_at_least_one, default=1, help="units at a time, which share the threads (default: 1)")
    at_once("--cluster", help="tcp://host:port of a Dask scheduler, or local:4 for four workers here")
    add("--threads", type=_at_least_one, help="of each unit (default: all, shared by the jobs)")
    status_parser = commands.add_parser("status", help="what is done, running and left, and the estimated hours")
    here = CHECKOUT / "book" / "results" if (CHECKOUT / "_config.yml").is_file() else None
    results = {"default": here, "help": "directory (default: book/results)"} if here else {"required": True}
    for subparser, default in ((run_parser, "quick"), (status_parser, None)):
        subparser.add_argument("--profile", choices=PROFILES, default=default, help=f"default: {default or 'both'}")
        subparser.add_argument("--precision", choices=PRECISIONS, default="auto")
        subparser.add_argument("--results", dest="directory", type=user_path, **results)
        subparser.add_argument("--checkpoints", type=user_path, help="directory (default: in the user's cache)")
    return parser


def _at_least_one(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _print_list() -> None:
    for name, what in EXPERIMENTS.items():
        print(f"{name:14}{what}")
    for profile, size in PROFILES.items():
        print(
            f"\n{profile}: Fashion-MNIST {size.subset}; lr-range {len(CANDIDATES)} x {size.range_samples:,} samples; "
            f"the others {size.arm_samples:,} samples a seed, seeds {', '.join(map(str, size.seeds))}, batch up to "
            f"{size.largest_batch}"
        )


def _print_status(profile: str, table: pd.DataFrame) -> None:
    print(f"{profile}: {(table['state'] == 'done').sum()} of {len(table)} units done, ", end="")
    print(f"about {table['hours_left'].sum():.1f} hours left")
    for row in table.itertuples():
        print(f"  {row.unit:45} {row.state:18} {row.seen:6.1%}  {row.hours_left:5.2f} h left")


if __name__ == "__main__":
    sys.exit(main())
