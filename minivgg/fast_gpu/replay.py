"""A function recorded once as a CUDA graph and replayed: one launch in place of hundreds."""

from ..backend import get_xp


class Replay:
    """A function of one array, recorded once as a CUDA graph and then replayed: one launch in place of hundreds.

    function  takes an array and gives a tuple of arrays, without a word to the host on the way
    example   an array of the shape and type that it will be called with
    reserve   bytes that it is expected to take: asked for as one block, of which all is cut. CuPy's pool would else ask
              for a block each time that none which is free is large enough, and end with half as much again

    Raises what CuPy raises when the function cannot be recorded. The recording's memory is its own and stays taken as
    long as this object lives; results are copies.
    """

    def __init__(self, function, example, reserve=0):
        self.xp = xp = get_xp(example)
        self._image = example.copy()
        self._pool = xp.cuda.MemoryPool()
        self._stream = xp.cuda.Stream(non_blocking=True)
        xp.cuda.get_current_stream().synchronize()
        xp.get_default_memory_pool().free_all_blocks()
        with xp.cuda.using_allocator(self._pool.malloc), self._stream:
            if reserve:
                self._pool.malloc(reserve)  # and gives it back to the pool at once
            function(self._image)  # compiles, and fills the pool
            self._stream.synchronize()
            self._stream.begin_capture()
            try:
                self._results = function(self._image)
            finally:
                self._graph = self._stream.end_capture()
        self._stream.synchronize()

    def __call__(self, image):
        self._image[...] = image
        self._graph.launch()  # on the current stream, in order with what came before
        return tuple(a.copy() for a in self._results)
