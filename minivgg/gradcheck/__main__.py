"""`python -m minivgg.gradcheck`: a row for each layer, the network, each loss and the objective."""

import argparse
import sys

from .. import program
from ..backend import BackendError, Device, resolve_device
from . import rows

FORM = "{:40} {:14} {:10} {:22} {:13} {:>8} {:>8}  {}"


def main(argv=None):
    """Print the table. 0: every row passed; 1: one failed, or device, file or output unusable; 128 + N: signal N."""
    parser = argparse.ArgumentParser(prog="python -m minivgg.gradcheck", description="Check every gradient.")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: both if there")
    parser.add_argument("--weights", metavar="PATH", help="check the objective through this real network too")
    program.ready()
    args = parser.parse_args(argv)
    done = []

    def work(_):
        found = devices(args.device)
        if args.weights is not None:
            for source in rows.sources():  # now: its rows come last, minutes later
                source.check(args.weights)
        print_table((row for device in found for row in rows.all_rows(device, args.weights)), done)
        return program.OK if all(row.passed for row in done) else program.FAILURE

    return program.end(
        "gradcheck",
        work,
        {BackendError: program.FAILURE, rows.SourceError: program.FAILURE},
        interrupted=lambda: f"interrupted after {len(done)} checks",
    )


def devices(spec):
    """The devices to check: the CPU always unless "gpu" is asked for, the GPU if it is there."""
    found = resolve_device(spec)
    return [found] if found.kind == "cpu" or spec != "auto" else [Device("cpu"), found]


def print_table(table, done):
    """Print the rows as they come, each kept in the list `done`, and at the end how many failed."""
    program.tell(FORM.format("what", "backend", "dtype", "method", "largest in", "error", "bound", "verdict"))
    for row in table:
        verdict = "ok" if row.passed else "FAILED"
        numbers = row.worst.gradient, f"{row.error:.1e}", f"{row.bound:.0e}", verdict
        program.tell(FORM.format(row.name, row.backend, row.dtype, row.method, *numbers))
        if not row.passed:
            program.tell(f"    {row.worst}")
        done.append(row)
    program.tell(f"{len(done)} checks, {sum(not row.passed for row in done)} failed")


if __name__ == "__main__":
    sys.exit(main())
