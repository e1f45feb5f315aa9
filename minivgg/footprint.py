"""How much memory an evaluation takes, and how much work it is, without doing it.

The walk follows VGG.forward and VGG.backward step by step over one tile (or the whole picture) and counts what is
alive; the network's kernels say what each step takes (Kernels.footprint). Shapes are (C, H, W), of one picture.
"""

from .table import level

ELEMENT_COST = 60  # multiplications that take as long as an activation's one way through memory (measured)


class Heap:
    """Bytes in use, and the most there were."""

    def __init__(self):
        self.used = self.scratch = self.peak = 0

    def take(self, nbytes):
        """A block; hand it back with give()."""
        self.used += nbytes
        self.note()
        return nbytes

    def give(self, block):
        """Hand a block back; None is nothing."""
        if block is not None:
            self.used -= block

    def held(self):
        """Bytes that cannot be anybody else's now."""
        return self.used

    def note(self, passing=0):
        """Remember the peak, with `passing` bytes that are only there at this moment."""
        self.peak = max(self.peak, self.held() + self.scratch + passing)


class Footprint:
    """The bytes that a set of kernels takes. What stands here is the textbook's; see Kernels for how that is meant.

    step           vgg.Step
    before, after  (C, H, W) of its input and output
    size           bytes of a number
    """

    tiled = 1.15  # what tiles take as a multiple of what is counted: uneven buffers leave gaps (measured, benchmarks/)
    adds_rows = False  # whether conv_relu's backward adds a Given row by row, which then never exists as a whole

    def heap(self):
        """A Heap that hands out memory as the kernels' is handed out."""
        return Heap()

    def scratch(self, shapes, size):
        """What is kept for a pass besides its arrays. shapes  [(before, after), …] of its steps"""
        return 0

    def passing(self, step, before, after, size, *, backward):
        """What is there while the step is computed, besides what goes in and what comes out."""
        inputs, elements = count(before), count(after)
        if step.kind == "conv":  # padded input, columns, product
            return size * (10 * inputs if backward else max(10 * inputs, 9 * inputs + elements))
        if backward:
            return size * inputs
        return 2 * size * elements if step.kind == "pool" else 0

    def cache(self, step, after, asked):
        """What forward keeps for backward; where `asked`, the caller holds the output meanwhile."""
        return 0 if step.kind == "conv" else count(after)

    def holds_output(self, step):
        """Whether that cache holds the output itself where it was asked for."""
        return False

    def transforms(self, step, before, after, size):
        """What a convolution takes of the kernels' buffers meanwhile: its filters' transforms, or its padded input."""
        return 0

    def kept_transforms(self, convs, pixels, size):
        """What filters keep from call to call. convs  [(before, after), …] of convolutions; pixels  of the picture"""
        return 0

    def filters(self, F, C, size):
        """Prepared filters (F, C, 3, 3)."""
        return 9 * F * C * size


class Walk:
    """The walk over one tile of a segment.

    net    minivgg.VGG
    names  what forward is asked for;  start  where it begins;  h, w  size of the tile at its input
    """

    def __init__(self, net, names, start, h, w):
        self.net, self.names, self.start = net, names, start
        self.steps = net.steps(names, start)
        self.size, self.size_hw = net.dtype.itemsize, (h, w)
        self.footprint = net.kernels.footprint
        base = level(start)
        self.shapes, before = [], (3 if start is None else net.channels[start], h, w)
        for step in self.steps:
            depth = level(step.output) - base
            shape = (net.channels[step.output], h >> depth, w >> depth)
            self.shapes.append((before, shape))
            before = shape

    def peak(self, *, backward, needed=(), between=0, within=()):
        """Most bytes alive beside the tile's input, over two passes (the second finds the first one's buffers).

        backward  forward and backward; else forward alone, without a cache
        needed    layers whose activation is needed for its gradient: it lives until backward has used it at its own
                  layer. Others are let go of before backward begins, but where the cache holds them
        between   bytes that are only there after forward and before backward, beside all activations
        within    other walks, each made forward and backward at that moment
        """
        heap = self.footprint.heap()
        heap.scratch = self.footprint.scratch([s for walk in (self, *within) for s in walk.shapes], self.size)
        for _ in range(2):
            self._pass(heap, backward, needed, between, within)
        return heap.peak

    def _pass(self, heap, backward, needed, between, within=()):
        """One pass on a heap: see peak."""
        asked, caches, x = {}, [], None
        for step, shapes in zip(self.steps, self.shapes, strict=True):
            out, cache = self._forward(heap, step, *shapes)
            if not backward:
                heap.give(cache)
                cache = None
            caches.append(cache)
            heap.give(x)
            x = out
            if step.output in self.names:
                asked[step.output], x = out, None
        heap.give(x)
        for walk in within:
            walk._pass(heap, True, walk.names, 0)
        heap.note(between)
        if backward:
            self._backward(heap, asked, caches, needed)
        for buffer in asked.values():
            heap.give(buffer)

    def _forward(self, heap, step, before, after):
        """(output, cache) of one step."""
        heap.note(self.footprint.passing(step, before, after, self.size, backward=False))
        out = heap.take(self.size * count(after))
        kept = self.footprint.cache(step, after, step.output in self.names)
        cache = heap.take(kept) if kept else None
        self._transforms(heap, step, before, after)
        return out, cache

    def _backward(self, heap, asked, caches, needed):
        """The way back, which takes the activations that it lets go of out of `asked`."""
        for step in self.steps:
            if step.output not in needed and not self.footprint.holds_output(step):
                heap.give(asked.pop(step.output, None))
        dx = None
        for step, (before, after), cache in reversed(list(zip(self.steps, self.shapes, caches, strict=True))):
            if step.output in self.names and (dx is None or step.kind != "conv_relu" or not self.footprint.adds_rows):
                extra = heap.take(self.size * count(after))
                heap.note(self.size * count(after) if dx is not None else 0)
                heap.give(dx)
                dx = extra
            heap.note(self.footprint.passing(step, before, after, self.size, backward=True))
            new = heap.take(self.size * count(before))
            self._transforms(heap, step, before, after)
            heap.give(dx)
            heap.give(cache)
            heap.give(asked.pop(step.output, None))
            dx = new
        heap.give(dx)

    def _transforms(self, heap, step, before, after):
        nbytes = self.footprint.transforms(step, before, after, self.size)
        if nbytes:
            heap.give(heap.take(nbytes))

    def transforms(self):
        """What filters keep from call to call for a picture of this size: their transforms, for both directions."""
        if self.start is not None:
            return 0
        convs = [shapes for step, shapes in zip(self.steps, self.shapes, strict=True) if step.conv]
        return self.footprint.kept_transforms(convs, self.size_hw[0] * self.size_hw[1], self.size)

    def cost(self):
        """Work of one forward pass, in multiplications; backward is the same again."""
        total = 0
        for step, (before, after) in zip(self.steps, self.shapes, strict=True):
            total += ELEMENT_COST * (count(before) + count(after))
            if step.conv:
                _, H, W = before
                total += 9 * before[0] * self.net.channels[step.conv] * H * W
        return total


def count(shape):
    """Numbers in an array (C, H, W)."""
    C, H, W = shape
    return C * H * W


def network_bytes(net):
    """What the network itself keeps: biases, and filters laid out for its kernels (the textbook's are those loaded)."""
    total, C, size = 0, 3, net.dtype.itemsize
    for name in net.names:
        if name.startswith("conv"):
            F = net.channels[name]
            total += net.kernels.footprint.filters(F, C, size) + F * size
            C = F
    return total
