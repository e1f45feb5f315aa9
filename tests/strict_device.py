"""A device array without a device: behaves like CuPy's where ours is used, and refuses what CuPy refuses.

`xp = StrictModule()` stands where the module cupy stands; its arrays hold their values in host memory, but let nobody
see them: NumPy functions, arithmetic with NumPy arrays and implicit conversion raise TypeError. What crosses between
host and device is counted in `xp.crossings`, whether asked for by name (asarray, get) or caused on the way (float(a),
`if a:`, indexing by a mask), as each of these stalls a real device.

Fresh memory (`empty`) is filled with NaN and lies between guards, so that an element nobody wrote and a write beside
the array are both found out. `engine` makes xp.RawModule: kernels as NumPy functions (cuda_twins.py) or compiled with
a C++ compiler (cuda_on_cpu.py).
"""

import contextlib
import ctypes
import operator
from types import SimpleNamespace

import numpy as np
from scipy import fft

words = str.split
GUARD = 256  # bytes before and after fresh memory, all 0xFF

# Functions that CuPy has with NumPy's signature and that our code may use; test_strict_device.py compares with CuPy.
FUNCTIONS = words("""
    abs absolute add all any arange argmax argmin argsort ascontiguousarray broadcast_to clip concatenate copy cumsum
    diag dot einsum empty empty_like exp expand_dims eye floor full full_like isfinite kron linspace log matmul max
    maximum mean meshgrid min minimum moveaxis multiply negative ones ones_like outer pad prod ravel repeat reshape roll
    round sign sqrt square squeeze stack subtract sum swapaxes take tensordot tile transpose trace tril triu vdot where
    zeros zeros_like copyto vstack hstack isnan logical_and logical_or logical_not power divide inner promote_types
    result_type shares_memory arcsinh sinh bincount searchsorted take_along_axis
""")
LINALG = words("eigh")  # of xp.linalg
TYPES = words("float16 float32 float64 complex64 complex128 uint8 uint16 int8 int16 int32 int64 uint32 uint64 bool_")
METHODS = words("""
    all any argmax argmin astype clip copy cumsum diagonal dot fill max mean min prod ravel reshape round squeeze std
    sum swapaxes take trace transpose var view
""")
ATTRIBUTES = words("dtype itemsize nbytes ndim shape size strides flags")
SCALARS = (int, float, complex, np.generic)


class Crossings:
    """What has crossed between host and device: bytes of each transfer, and each wait for a number."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.to_host, self.to_device = [], []
        self.capturing = False

    def add(self, direction, size):
        """Count a crossing; while a CUDA graph is recorded none is allowed."""
        if self.capturing:
            raise RuntimeError("operation not permitted when stream is capturing: a transfer or a wait")
        direction.append(size)


class StrictArray:
    """An array of a StrictModule's. See the module's docstring."""

    def __init__(self, values, xp, buffer=None):
        self._values, self._xp, self._buffer = np.asarray(values), xp, buffer

    @property
    def __xp__(self):
        return self._xp

    def __repr__(self):
        return f"<strict device array {self.shape} {self.dtype}>"

    def _of(self, values):
        return StrictArray(values, self._xp, self._buffer)  # the buffer lives as long as its views

    @property
    def T(self):
        return self._of(self._values.T)

    @property
    def real(self):
        return self._of(self._values.real)

    @property
    def imag(self):
        return self._of(self._values.imag)

    @property
    def data(self):
        return SimpleNamespace(ptr=self._values.ctypes.data)

    # the host's side

    def get(self):
        return self._cross().copy()

    def item(self):
        return self._cross().item()

    def tolist(self):
        return self._cross().tolist()

    def __float__(self):
        return float(self._cross())

    def __int__(self):
        return int(self._cross())

    def __complex__(self):
        return complex(self._cross())

    def __bool__(self):
        return bool(self._cross())

    def __index__(self):
        return operator.index(self._cross())

    def _cross(self):
        self._xp.crossings.add(self._xp.crossings.to_host, self._values.nbytes)
        return self._values

    def set(self, host):
        if not isinstance(host, np.ndarray) or host.shape != self.shape or host.dtype != self.dtype:
            raise TypeError(f"set: {type(host).__name__}, expected a NumPy array {self.shape} {self.dtype}")
        self._xp.crossings.add(self._xp.crossings.to_device, host.nbytes)
        self._values[...] = host

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion of a device array to NumPy: use backend.to_numpy")

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"np.{function.__name__} on a device array: use get_xp(a).{function.__name__}")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        scalars = all(isinstance(a, (StrictArray, *SCALARS)) for a in inputs)
        if method != "__call__" or kwargs or not scalars or not any(isinstance(a, np.generic) for a in inputs):
            raise TypeError(f"np.{ufunc.__name__} on a device array: use get_xp(a).{ufunc.__name__}")
        return self._of(ufunc(*[a._values if isinstance(a, StrictArray) else a for a in inputs]))  # np.float64(2) * a

    # the device's side

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key):
        if isinstance(key, StrictArray) and key.dtype == bool:
            self._xp.crossings.add(
                self._xp.crossings.to_host, 8
            )  # how many elements come out is known on the device only
        return self._of(self._values[_index(key)])

    def __setitem__(self, key, value):
        self._values[_index(key)] = _operand(value)

    def __pow__(self, other, modulo=None):
        return self._of(self._values ** _operand(other))

    def __rpow__(self, other):
        return self._of(_operand(other) ** self._values)


def _index(key):
    if isinstance(key, tuple):
        return tuple(_index(k) for k in key)
    if isinstance(key, StrictArray):
        return key._values
    if isinstance(key, np.ndarray):
        raise TypeError("a device array indexed by a NumPy array")
    return key


def _operand(value):
    if isinstance(value, StrictArray):
        return value._values
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"a device array together with {type(value).__name__}: move it with xp.asarray first")


def _binary(op, swapped):
    def method(self, other):
        a, b = self._values, _operand(other)
        return self._of(op(b, a) if swapped else op(a, b))

    return method


def _in_place(op):
    def method(self, other):
        self._values = op(self._values, _operand(other))
        return self

    return method


def _unary(op):
    return lambda self: self._of(op(self._values))


def _method(name):
    def method(self, *args, **kwargs):
        args, kwargs = _unwrap(args), _unwrap(kwargs)
        return self._of(getattr(self._values, name)(*args, **kwargs))

    return method


def _unwrap(value):
    """Arguments with the device arrays' values; a NumPy array among them raises."""
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array given to a device function: move it with xp.asarray first")
    if isinstance(value, StrictArray):
        return value._values
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(v) for v in value)
    if isinstance(value, dict):
        return {k: _unwrap(v) for k, v in value.items()}
    return value


for _name in words("add sub mul truediv floordiv mod matmul and or xor lshift rshift"):
    _op = getattr(operator, f"__{_name}__")
    setattr(StrictArray, f"__{_name}__", _binary(_op, False))
    setattr(StrictArray, f"__r{_name}__", _binary(_op, True))
    setattr(StrictArray, f"__i{_name}__", _in_place(getattr(operator, f"__i{_name}__")))
StrictArray.__ipow__ = _in_place(operator.ipow)
for _name in words("lt le eq ne gt ge"):
    setattr(StrictArray, f"__{_name}__", _binary(getattr(operator, _name), False))
for _name in words("neg pos abs invert"):
    setattr(StrictArray, f"__{_name}__", _unary(getattr(operator, f"__{_name}__")))
for _name in METHODS:
    setattr(StrictArray, _name, _method(_name))
for _name in ATTRIBUTES:
    setattr(StrictArray, _name, property(lambda self, name=_name: getattr(self._values, name)))
StrictArray.__hash__ = None


class StrictModule:
    """The module of StrictArrays: CuPy's name for CuPy's name, nothing that CuPy does not have.

    engine  makes RawModule(code, options): a function (code, options) -> {kernel's name: function(grid, block, args)}
    """

    ndarray = StrictArray
    __version__ = "14.0"
    newaxis, pi, inf, nan = None, np.pi, np.inf, np.nan

    def __init__(self, engine=None):
        self.__name__ = "cupy" if engine else "strict_device"  # kernels.load_kernels asks: fast_gpu needs its kernels
        self.crossings = Crossings()
        self._engine = engine
        self.records = False  # whether streams can be recorded
        self.launches = []  # names of the kernels launched, "gemm" for cuBLAS

    def __getattr__(self, name):
        if name in TYPES:
            return getattr(np, name)
        if name not in FUNCTIONS:
            raise AttributeError(f"{name} is not among the functions of CuPy that this code may use")
        function = getattr(np, name)

        def call(*args, **kwargs):
            if name in ("stack", "concatenate", "vstack", "hstack") and not all(
                isinstance(a, StrictArray) for a in args[0]
            ):
                raise TypeError(f"{name}: CuPy takes device arrays only")
            result = function(*_unwrap(args), **_unwrap(kwargs))
            out = kwargs.get("out")
            if out is not None:
                return out
            return StrictArray(result, self) if isinstance(result, np.ndarray | np.generic) else result

        return call

    def asarray(self, a, dtype=None):
        if isinstance(a, StrictArray):
            values = np.asarray(a._values, dtype=dtype)
            return a if values is a._values else a._of(values)
        values = np.array(a, dtype=dtype)
        self.crossings.add(self.crossings.to_device, values.nbytes)
        return StrictArray(values, self)

    def array(self, a, dtype=None):
        return self.asarray(a, dtype).copy()

    def asnumpy(self, a):
        return a.get()

    def empty(self, shape, dtype=float):
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        size = int(np.prod(shape)) * dtype.itemsize
        buffer = np.full(size + 2 * GUARD, 0xFF, np.uint8)
        values = buffer[GUARD : GUARD + size].view(dtype).reshape(shape)
        return StrictArray(values, self, buffer)

    def RawModule(self, *, code, options=()):
        kernels = self._engine(code, options)
        return SimpleNamespace(get_function=lambda name: Launcher(self, name, kernels[name]))

    @property
    def cuda(self):
        return Cuda(self)

    @property
    def fft_module(self):
        """For backend.get_fft, in place of cupyx.scipy.fft."""

        def wrapped(function):
            return lambda a, **options: StrictArray(function(_unwrap(a), **options), self)

        return SimpleNamespace(dctn=wrapped(fft.dctn), idctn=wrapped(fft.idctn))

    @property
    def linalg(self):
        """cupy.linalg, in the part that this code may use: decompositions stay on the device."""

        def wrapped(function):
            return lambda a: tuple(StrictArray(part, self) for part in function(_unwrap(a)))

        return SimpleNamespace(**{name: wrapped(getattr(np.linalg, name)) for name in LINALG})

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=dict, set_limit=dict, total_bytes=lambda: 0)  # dict: does nothing


class Launcher:
    """A kernel: function(grid, block, args), args as CuPy passes them. Looks at the guards of every array after it."""

    def __init__(self, xp, name, function):
        self.xp, self.name, self.function = xp, name, function

    def __call__(self, grid, block, args):
        for k, a in enumerate(args):
            if isinstance(a, np.ndarray) or type(a) not in (int, float, StrictArray):
                raise TypeError(f"{self.name}: argument {k} is {type(a).__name__}; pass device arrays, int or float")
            if isinstance(a, StrictArray) and not a.flags.c_contiguous:
                raise TypeError(f"{self.name}: argument {k} is not contiguous")
        if not 1 <= len(grid) <= 3 or min(grid) < 1 or max(grid[1:], default=1) > 65535:
            raise ValueError(f"{self.name}: grid {grid}")
        self.xp.launches.append(self.name)
        self.function(grid, block, args)
        for k, a in enumerate(args):
            buffer = a._buffer if isinstance(a, StrictArray) else None
            if buffer is not None and not (buffer[:GUARD].min() == 0xFF == buffer[-GUARD:].min()):
                raise AssertionError(f"{self.name}: wrote outside argument {k}, {a!r}")


class Stream:
    """A stream. Where the module `records`, a recording holds what the function left, and replaying it does nothing."""

    ptr = 0

    def __init__(self, xp):
        self.xp = xp

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def synchronize(self):
        pass

    def begin_capture(self):
        if not self.xp.records:
            raise NotImplementedError("the stand-in cannot replay")
        self.xp.crossings.capturing = True

    def end_capture(self):
        if not self.xp.crossings.capturing:
            raise RuntimeError("cudaErrorIllegalState: nothing is being recorded")
        self.xp.crossings.capturing = False
        return SimpleNamespace(launch=lambda: None)


class Device:
    """The one device there is: a context, its memory, and a wait."""

    mem_info = (8 << 30, 8 << 30)
    compute_capability = "90"

    def __init__(self, index):
        if index != 0:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def use(self):
        pass

    def synchronize(self):
        pass


class Cuda:
    """What fast_gpu uses of cupy.cuda: cuBLAS's batched product on addresses, with its precisions; recording."""

    Device = Device
    using_allocator = staticmethod(lambda malloc: contextlib.nullcontext())

    def __init__(self, xp):
        self.xp = xp
        self.MemoryPool = lambda: SimpleNamespace(malloc=lambda nbytes: None)
        self.Stream = lambda non_blocking: Stream(xp)
        self.get_current_stream = lambda: Stream(xp)
        self.runtime = SimpleNamespace(
            runtimeGetVersion=lambda: 0,
            getDevice=lambda: 0,
            getDeviceCount=lambda: 1,
            getDeviceProperties=lambda k: {"name": b"stand-in"},
        )
        self.cublas = SimpleNamespace(create=lambda: 1, library=Cublas(xp))


class Cublas:
    """cuBLAS's own functions, as a library opened with ctypes has them: status as result, addresses as integers."""

    def __init__(self, xp):
        self.xp = xp
        self.cublasSetStream_v2 = lambda handle, stream: 0
        self.cublasSetWorkspace_v2 = lambda handle, workspace, size: 0
        self.cublasGemmStridedBatchedEx = lambda *args: self._gemm(*args)  # argtypes can be set on it

    def _gemm(self, handle, ta, tb, m, n, k, alpha, *rest):
        """C = α op(A) op(B) + β C for each of a batch, by columns as cuBLAS counts."""
        A, A_type, lda, A_stride, B, B_type, ldb, B_stride, beta, C, C_type, ldc, C_stride, batch, compute, _ = rest
        if lda < (k if ta else m) or ldb < (n if tb else k) or ldc < m:
            return 7  # CUBLAS_STATUS_INVALID_VALUE
        self.xp.launches.append("gemm")
        real = np.float64 if compute == 70 else np.float32
        a = _columns(A, A_type, batch, A_stride, m if ta else k, lda)[:, :, : k if ta else m]
        b = _columns(B, B_type, batch, B_stride, k if tb else n, ldb)[:, :, : n if tb else k]
        a, b = a.transpose(0, 2, 1) if ta else a, b.transpose(0, 2, 1) if tb else b
        c = _columns(C, C_type, batch, C_stride, n, ldc)[:, :, :m]
        if compute == 77:
            a, b = to_tf32(a), to_tf32(b)
        factor, old = (np.frombuffer((ctypes.c_char * real().nbytes).from_address(p), real)[0] for p in (alpha, beta))
        product = factor * (b.astype(real) @ a.astype(real))
        c[...] = product + old * c if old else product
        return 0


def _columns(address, kind, batch, stride, columns, ld):
    """(batch, columns, ld): matrices by columns at an address of host memory."""
    dtype = np.dtype({0: np.float32, 1: np.float64, 2: np.float16}[kind])
    size = (batch - 1) * stride + columns * ld
    flat = np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(address), dtype)
    item = dtype.itemsize
    return np.lib.stride_tricks.as_strided(flat, (batch, columns, ld), (stride * item, ld * item, item))


def to_tf32(a):
    """float32 rounded to the 10 bits after the point that TF32 has."""
    bits = a.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)).view(
        np.float32
    )
