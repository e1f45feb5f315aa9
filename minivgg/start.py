"""The first lines of every program here: a signal that comes while the libraries load ends it in one line.

Each package imports this module before anything that takes time, so it uses nothing but what Python has loaded already.
In another's program it does nothing: its signals are its own.
"""

import os
import signal
import sys

COMMANDS = ("minivgg-style", "minivgg-weights", "minivgg_style")  # the console commands, and -m's file
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")  # where MPI's launchers say which of several this is
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one is not known everywhere


def numbers():
    """The signals that end a run, but for those that are ignored, as under nohup."""
    found = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    return [n for n in found if signal.getsignal(n) is not signal.SIG_IGN]


def is_program(argv):
    """Whether this process is being started as one of the project's programs: `python -m PACKAGE…`, or the command.

    argv  sys.argv at the time of the first import: its first entry is "-m" while Python looks for the module
    """
    first = argv[0] if argv else ""
    return first == "-m" or os.path.basename(first).split(".")[0] in COMMANDS


def end(number, frame):
    """A handler: there is nothing to tidy up yet, and an import that is cut short ends in anything but one line."""
    if all(os.environ.get(name, "0") == "0" for name in RANKS):  # else the first one says it
        os.write(2, b"interrupted before the work began: nothing was written\n")
    os._exit(128 + number)


if is_program(getattr(sys, "argv", ())):
    try:
        for _number in numbers():
            signal.signal(_number, end)
    except ValueError:  # not the main thread: signals are another's
        pass
