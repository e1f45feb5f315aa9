"""How much memory an evaluation takes, and how much work it is, without doing it.

The walk follows VGG.forward and VGG.backward step by step over one tile (or the whole picture) and counts what is
alive. Buffers of the fast path on the CPU are counted as its Workspace hands them out, since what it holds for reuse
is held all the same.
"""

from minivgg.fast_cpu.winograd import FEW_TILES, tile_rows
from minivgg.fast_gpu.winograd import WORKSPACE
from minivgg.table import level
from minivgg.threads import cores
from minivgg.vgg import SMALL_PICTURE

ELEMENT_COST = 60  # multiplications that take as long as an activation's one way through memory (measured)


class Heap:
    """Bytes in use, and the most there were. With `slabs`, memory is handed out like fast_cpu's Workspace does it:
    at the lowest free place of a slab, whose touched part stays in use.
    """

    def __init__(self, slabs):
        self.slabs = [] if slabs else None  # [room, touched, [(low, high), …]]
        self.plain = self.scratch = self.peak = 0

    def take(self, nbytes):
        """A block; hand it back with give()."""
        if self.slabs is None:
            self.plain += nbytes
            block = (None, 0, nbytes)
        else:
            block = self._place(nbytes)
        self.note()
        return block

    def _place(self, nbytes):
        for slab in self.slabs:
            start = 0
            for i, (low, high) in enumerate([*slab[2], (slab[0], None)]):
                if low - start >= nbytes:
                    slab[2].insert(i, (start, start + nbytes))
                    slab[1] = max(slab[1], start + nbytes)
                    return (slab, start, start + nbytes)
                start = high
        self.slabs = [s for s in self.slabs if s[2] or s[0] > nbytes]
        self.slabs.append([4 * nbytes, nbytes, [(0, nbytes)]])
        return (self.slabs[-1], 0, nbytes)

    def give(self, block):
        if block is None:
            return
        slab, low, high = block
        if slab is None:
            self.plain -= high
        else:
            slab[2].remove((low, high))

    def note(self, passing=0):
        """Remember the peak, with `passing` bytes that are only there at this moment."""
        touched = sum(s[1] for s in self.slabs) if self.slabs else 0
        self.peak = max(self.peak, self.plain + self.scratch + passing + touched)

    def need_scratch(self, nbytes):
        self.scratch = max(self.scratch, nbytes)
        self.note()


class Walk:
    """The walk over one tile of a segment.

    net    minivgg.VGG
    names  what forward is asked for;  start  where it begins;  h, w  size of the tile at its input
    """

    def __init__(self, net, names, start, h, w):
        self.net, self.names, self.start = net, names, start
        self.steps = net._steps(names, start)
        self.size, self.size_hw = net.dtype.itemsize, (h, w)
        base = level(start)
        self.shapes, before = [], (3 if start is None else net.channels[start], h, w)
        for step in self.steps:
            depth = level(step.output) - base
            shape = (net.channels[step.output], h >> depth, w >> depth)
            self.shapes.append((before, shape))
            before = shape
        self.family = _family(net)

    def peak(self, *, backward, style=(), whole=False):
        """Most bytes alive beside the tile's input, over two passes (the second finds the first one's buffers).

        backward  forward and backward; else forward alone, without a cache
        style     layers whose activation is needed for its gradient: it lives until backward is past the next of them
        whole     … or, as in Objective, until backward has used it
        """
        heap = Heap(slabs=self.family == "fast_cpu")
        self._scratch(heap)
        for _ in range(2):
            asked, caches, x = {}, [], None
            for step, (before, after) in zip(self.steps, self.shapes, strict=True):
                out, cache = self._forward(heap, step, before, after)
                if not backward:
                    heap.give(cache)
                    cache = None
                caches.append(cache)
                heap.give(x)
                x = out
                if step.output in self.names:
                    asked[step.output], x = out, None
            heap.give(x)
            if backward:
                self._backward(heap, asked, caches, style, whole)
            for buffer in asked.values():
                heap.give(buffer)
        return heap.peak

    def _scratch(self, heap):
        if self.family == "fast_cpu":
            heap.need_scratch(max(self._strips(*shapes)[0] for shapes in self.shapes))
        elif self.family == "fast_gpu":
            heap.need_scratch(WORKSPACE)

    def _strips(self, before, after):
        """Scratch of all workers of fast_cpu for a layer, and its transformed filters (winograd.convolve)."""
        (C, H, W), F = before, after[0]
        ty, tx, workers = -(-H // 4), -(-W // 4), cores()
        R = tile_rows(ty, tx, C, F)
        strips = -(-ty // R)
        own = 6 * (4 * R + 2) * tx * C + 28 * R * tx * F
        products = 6 * R * tx * (C + F)
        rows = (4 * R + 4) * W * 3 * max(C, F) // 2
        if strips >= 2 * workers or (strips > 1 and strips % workers == 0):
            return self.size * min(workers, strips) * (own + products + rows), self.size * 36 * C * F
        return self.size * (own + workers * max(products + 6 * C * F, rows)), 0

    def _filters(self, heap, step, shapes):
        """The transformed filters, which are there while a layer is computed."""
        if self.family == "fast_cpu" and step.conv and min(shapes[0][0], shapes[1][0]) >= 16:
            heap.give(heap.take(self._strips(*shapes)[1]))

    def _forward(self, heap, step, before, after):
        """(output, cache) of one step."""
        elements, inputs = _count(after), _count(before)
        if self.family == "textbook":
            return self._forward_textbook(heap, step, inputs, elements, before)
        out, code = heap.take(self.size * elements), None
        if self.family == "fast_gpu":
            code = heap.take(elements // 8)
        elif step.kind == "pool" or step.kind == "conv_relu_pool" or step.output not in self.names:
            code = heap.take(elements)  # a byte a place: alive or not, or the pooling's code
        self._filters(heap, step, (before, after))
        return out, code

    def _forward_textbook(self, heap, step, inputs, elements, before):
        if step.kind == "conv":
            heap.note(self.size * max(10 * inputs, 9 * inputs + elements))  # padded input, columns, product
            return heap.take(self.size * elements), None
        if step.kind == "pool":
            heap.note(self.size * elements * 2)
            return heap.take(self.size * elements), heap.take(elements)
        return heap.take(self.size * elements), heap.take(elements)

    def _backward(self, heap, asked, caches, style, whole):
        """The way back, which takes the activations that it lets go of out of `asked`."""
        dx, deeper = None, None
        for step, (before, after), cache in reversed(list(zip(self.steps, self.shapes, caches, strict=True))):
            elements, inputs, name = _count(after), _count(before), step.output
            if name in asked:
                if name in style and not whole:
                    heap.give(asked.pop(deeper, None))
                    deeper = name
                if self.family != "fast_cpu" or dx is None or step.kind != "conv_relu":  # else added row by row
                    extra = heap.take(self.size * elements)
                    heap.note(self.size * elements if dx is not None else 0)
                    heap.give(dx)
                    dx = extra
            if self.family == "textbook":
                heap.note(self.size * (10 * inputs if step.kind == "conv" else inputs))
            new = heap.take(self.size * inputs)
            self._filters(heap, step, (before, after))
            heap.give(dx)
            heap.give(cache)
            if whole or name not in style:
                heap.give(asked.pop(name, None))
            dx = new
        heap.give(dx)

    def transforms(self):
        """What fast_cpu's filters keep from call to call for a small picture: their transforms, for both directions."""
        if self.family != "fast_cpu" or self.start is not None or self.size_hw[0] * self.size_hw[1] > SMALL_PICTURE:
            return 0
        layers = [(before, after[0]) for step, (before, after) in zip(self.steps, self.shapes) if step.conv]
        few = [C * F for (C, H, W), F in layers if min(C, F) >= 16 and -(-H // 4) * -(-W // 4) <= FEW_TILES]
        return 2 * 36 * self.size * sum(few)

    def cost(self):
        """Work of one forward pass, in multiplications; backward is the same again."""
        total = 0
        for step, (before, after) in zip(self.steps, self.shapes, strict=True):
            total += ELEMENT_COST * (_count(before) + _count(after))
            if step.conv:
                _, H, W = before
                total += 9 * before[0] * self.net.channels[step.conv] * H * W
        return total


def _count(shape):
    C, H, W = shape
    return C * H * W


def _family(net):
    name = net.kernels.__name__.rsplit(".", 1)[-1]
    return name if name in ("fast_cpu", "fast_gpu") else "textbook"


def network_bytes(net):
    """What the network itself keeps: biases, and filters laid out for its kernels (the textbook's are those loaded)."""
    total, family = 0, _family(net)
    for w, b in net._params.values():
        F, C, KH, KW = w.shape
        nbytes = F * C * KH * KW * net.dtype.itemsize
        copies = 1
        if family == "fast_gpu" and min(C, F) >= 16:
            copies = 5  # the transforms, and w
        elif family == "fast_cpu" and min(C, F) >= 16 and C * F <= 256 * 256:
            copies = 2  # small ones in another layout for backward
        total += copies * nbytes + b.nbytes
    return total
