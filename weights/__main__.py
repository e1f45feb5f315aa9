"""`python -m weights`: fetch, list, verify, convert and find the weights of VGG networks."""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from minivgg import program as console

from . import WeightsError, load_file, locate
from .cache import cache_dir, entry, names, present
from .fetch import SOURCES, Progress, fetch
from .known import file_hash, identify, kind_of, read_head
from .store import PRECISIONS, Network, check_name, save_compact

OK, FAILED = 0, 1  # argparse has 2, a signal 128 and its number


class TerminalProgress(Progress):
    """Messages and a bar on standard error; results alone go to standard output."""

    bar = None

    def message(self, text):
        console.say(text, sys.stderr)

    def start(self, done, total):
        self.bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, unit_divisor=1024, mininterval=0.5)

    def advance(self, count):
        self.bar.update(count)

    def stop(self):
        self.bar.close()


def main(argv=None):
    """Run one command; returns the exit code."""
    console.ready()
    options = build_parser().parse_args(argv)
    signals = console.Signals()
    try:
        with signals:
            return options.command(options)
    except BrokenPipeError:  # `list | head`
        return FAILED
    except (WeightsError, OSError) as error:  # OSError: a disk that fails, a file that goes away meanwhile
        console.say(f"weights: {error}", sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        more = "; what was received is kept, the same command goes on" if options.command is _fetch else ""
        console.say(f"\nweights: interrupted{more}", sys.stderr)
        return signals.code


def _result(text):
    """Print a line of what the program was run for: where it cannot be written, the program has failed."""
    try:
        print(text, flush=True)
    except OSError as error:
        console.give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise WeightsError(f"standard output: cannot be written ({error.strerror})") from None


def build_parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m weights", description="Fetch, list, verify and convert the weights of VGG networks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=function)
        return sub

    sub = command("fetch", _fetch, "download a published network, verify it and keep it in the cache")
    sub.add_argument("name", choices=sorted(SOURCES), help="which network")
    sub.add_argument("--url", help="a mirror to ask instead of the built-in addresses")
    sub.add_argument("--keep", action="store_true", help="keep the downloaded .mat beside the converted file")

    command("list", _list, "say which weights are there")

    sub = command("verify", _verify, "check weights: every layer's shape and values, and the hash of the source")
    sub.add_argument("what", nargs="?", metavar="NAME|FILE", help="default: everything that is there")

    sub = command("convert", _convert, "turn a .mat file brought by hand into an entry of the cache")
    sub.add_argument("file", type=Path, help="a MatConvNet .mat, or compact .npz")
    sub.add_argument("--name", help="name of the entry (default: the network's own)")
    sub.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: %(default)s")
    sub.add_argument("-o", "--output", type=Path, help="write this .npz instead of an entry of the cache")
    sub.add_argument("--overwrite", action="store_true", help="replace what is there")

    sub = command("path", _path, "print where weights lie; without a name, the cache folder")
    sub.add_argument("name", nargs="?", metavar="NAME", help="vgg19, vgg16, mini, best, or another entry")
    return parser


def _fetch(options):
    path = fetch(options.name, url=options.url, keep=options.keep, progress=TerminalProgress())
    _result(path)
    return OK


def _list(options):
    there = present()
    _result(f"cache: {cache_dir()}")
    for name in names():
        path = entry(name)
        if name not in there:
            how = f"python -m weights fetch {name}" if name in SOURCES else "not part of this installation"
            _result(f"  {name:<8} -          ({how})")
            continue
        best = "   <- used when no weights are named" if name == there[0] else ""
        _result(f"  {name:<8} {path.stat().st_size / 2**20:6.1f} MB  {path}{best}")
    return OK


def _verify(options):
    if options.what is None and not present():
        raise WeightsError("no weights are there; get some: python -m weights fetch vgg19")
    paths = [locate(options.what)] if options.what is not None else [entry(name) for name in present()]
    failed = False
    for path in paths:
        try:
            verdict = _verdict(path)
        except WeightsError as error:
            console.say(f"weights: {error}", sys.stderr)
            failed = True
        else:
            _result(f"{path}: {verdict}")
    return FAILED if failed else OK


def _verdict(path):
    """One line on a sound file: what it holds and whether its source is a published one; raises when it is not."""
    network = load_file(path)
    is_mat = kind_of(read_head(path)) == "mat"
    known = identify(sha256=network.sha256, md5=file_hash(path, "md5") if is_mat else None)
    count = sum(w.size + b.size for w, b in network.params.values())
    if known:
        source = known.label
    elif network.about:
        source = network.about
    else:
        source = f"a source that is not in the list of published files (sha256 {network.sha256})"
    return (
        f"ok, {network.name} ({network.arch}, {len(network.params)} convolutions, {count:,} values, "
        f"{network.order}); from {source}"
    )


def _convert(options):
    got = load_file(options.file)
    name = got.name if options.name is None else options.name
    check_name(name, got.arch)
    target = options.output or entry(name)
    if os.path.exists(target) and not options.overwrite:
        raise WeightsError(f"{target}: is there already; --overwrite replaces it")
    network = Network(name, got.arch, got.params, got.mean, got.order, got.sha256, options.file, got.about)
    save_compact(network, target, options.precision)
    _result(target)
    return OK


def _path(options):
    if options.name is None:
        _result(cache_dir())
        return OK
    path = locate(options.name)
    read_head(path)  # which says why it cannot be read
    _result(path)
    return OK


if __name__ == "__main__":
    sys.exit(main())
