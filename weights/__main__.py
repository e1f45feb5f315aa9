"""`python -m weights`: fetch, list, verify, convert and find the weights of VGG networks."""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from minivgg import program
from minivgg.program import FAILURE, OK, tell

from . import WeightsError, load_file, locate
from .cache import cache_dir, entry, names, present
from .fetch import SOURCES, Progress, fetch
from .known import file_hash, identify, kind_of, read_head
from .store import PRECISIONS, Network, check_name, save_compact


class TerminalProgress(Progress):
    """Messages and a bar on standard error; results alone go to standard output."""

    bar = None

    def message(self, text):
        program.say(text, sys.stderr)

    def start(self, done, total):
        self.bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, unit_divisor=1024, mininterval=0.5)

    def advance(self, count):
        self.bar.update(count)

    def stop(self):
        self.bar.close()


def main(argv=None):
    """Run one command; returns the exit code."""
    program.ready()
    options = build_parser().parse_args(argv)
    kept = "; what was received is kept, the same command goes on" if options.command is _fetch else ""
    return program.end(
        "weights", lambda _: options.command(options), {WeightsError: FAILURE}, interrupted=lambda: f"interrupted{kept}"
    )


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
    sub.add_argument("-o", "--output", help="write this .npz instead of an entry of the cache")
    sub.add_argument("--overwrite", action="store_true", help="replace what is there")

    sub = command("path", _path, "print where weights lie; without a name, the cache folder")
    sub.add_argument("name", nargs="?", metavar="NAME", help="vgg19, vgg16, mini, best, or another entry")
    return parser


def _fetch(options):
    path = fetch(options.name, url=options.url, keep=options.keep, progress=TerminalProgress())
    tell(path)
    return OK


def _list(options):
    there = present()
    tell(f"cache: {cache_dir()}")
    for name in names():
        path = entry(name)
        if name not in there:
            how = f"python -m weights fetch {name}" if name in SOURCES else "not part of this installation"
            tell(f"  {name:<8} -          ({how})")
            continue
        best = "   <- used when no weights are named" if name == there[0] else ""
        tell(f"  {name:<8} {path.stat().st_size / 2**20:6.1f} MB  {path}{best}")
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
            failed = bool(program.fail("weights", error, FAILURE))
        else:
            tell(f"{path}: {verdict}")
    return FAILURE if failed else OK


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
        f"{network.order}{', average pooling' if network.pooling == 'avg' else ''}); from {source}"
    )


def _convert(options):
    if options.output is not None and (said := program.no_name("-o", options.output)):
        raise program.UsageError(said)
    got = load_file(options.file)
    name = got.name if options.name is None else options.name
    check_name(name, got.arch)
    target = options.output or entry(name)
    if os.path.exists(target) and not options.overwrite:
        raise WeightsError(f"{target}: is there already; --overwrite replaces it")
    network = Network(name, got.arch, got.params, got.mean, got.order, got.sha256, options.file, got.about, got.pooling)
    save_compact(network, target, options.precision)
    tell(target)
    return OK


def _path(options):
    if options.name is None:
        tell(cache_dir())
        return OK
    path = locate(options.name)
    read_head(path)  # which says why it cannot be read
    tell(path)
    return OK


if __name__ == "__main__":
    sys.exit(main())
