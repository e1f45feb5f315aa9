"""kernels.cu compiled with a C++ compiler and run thread by thread: the very code of the device, without one.

The kernels have neither shared memory nor barriers, so a launch is a loop over blocks and threads. A few lines of
header stand for what CUDA adds to C++. engine(code, options) is made for strict_device.StrictModule.
"""

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from strict_device import StrictArray

SHIM = r"""
#include <math.h>
#include <string.h>
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
struct dim { unsigned x, y, z; };
static dim threadIdx, blockIdx, blockDim, gridDim;
static inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
static inline float as_float(unsigned i) { float f; memcpy(&f, &i, 4); return f; }
static inline int atomicMax(int* a, int v) { int old = *a; if (v > old) *a = v; return old; }
static inline unsigned short half_bits(float x) {  // to nearest, ties to even
    unsigned u = __float_as_int(x), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return sign | 0x7e00;
    if (u >= 0x477ff000) return sign | 0x7c00;
    if (u < 0x38800000) return sign | (__float_as_int(as_float(u) + 0.5f) - 0x3f000000);
    return sign | (u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13;
}
static inline float half_value(unsigned short h) {
    unsigned sign = (h & 0x8000u) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31) return as_float(sign | 0x7f800000 | m << 13);
    if (e == 0) return (sign ? -1.0f : 1.0f) * ldexpf((float)m, -24);
    return as_float(sign | (e + 112) << 23 | m << 13);
}
"""

LAUNCH = """
extern "C" void run_{name}(const unsigned* grid, unsigned threads, void** a) {{
    gridDim = {{grid[0], grid[1], grid[2]}};
    blockDim = {{threads, 1, 1}};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
                for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {name}({arguments});
}}
"""


def compiler():
    """The C++ compiler's path, or None."""
    return shutil.which("g++") or shutil.which("clang++")


def engine(code, options):
    """{kernel's name: function(grid, block, args)}, compiled; kept in the system's temporary folder by its hash."""
    command = [compiler(), *options, "-O1", "-fPIC", "-w", "-x", "c++"]
    key = hashlib.sha256(repr((command, SHIM, LAUNCH, code)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"minivgg-kernels-{key}"
    folder.mkdir(exist_ok=True)
    source, library = folder / "kernels.cpp", folder / "kernels.so"
    source.write_text(SHIM + code)
    plain = subprocess.run([*command, "-E", "-P", source], check=True, capture_output=True, text=True).stdout
    signatures = {
        name: [p.strip() for p in parameters.split(",")]
        for name, parameters in re.findall(r'extern "C"\s+void\s+(\w+)\(([^)]*)\)', plain)
    }
    if not library.exists():
        launches = "".join(
            LAUNCH.format(name=name, arguments=", ".join(f"*({_type(p)}*)a[{k}]" for k, p in enumerate(parameters)))
            for name, parameters in signatures.items()
        )
        source.write_text(SHIM + code + launches)
        made = folder / f"kernels-{id(source)}.so"
        subprocess.run([*command, "-shared", "-o", made, source], check=True)
        made.rename(library)
    dll = ctypes.CDLL(str(library))
    types = {"real": _defined(options, "REAL"), "store": "half" if "-DHALF" in options else _defined(options, "REAL")}
    return {name: _runner(name, getattr(dll, f"run_{name}"), p, types) for name, p in signatures.items()}


def _type(parameter):
    """ "const real* __restrict__ x" -> "const real*" """
    return parameter.replace("__restrict__", "").rsplit(" ", 1)[0].strip()


def _defined(options, name):
    return next(o.partition("=")[2] for o in options if o.startswith(f"-D{name}="))


def _runner(name, function, parameters, types):
    def run(grid, block, args):
        if len(args) != len(parameters):
            raise TypeError(f"{name}: {len(args)} arguments, the kernel has {len(parameters)}")
        values = [_argument(name, p, a, types) for p, a in zip(parameters, args)]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        function((ctypes.c_uint * 3)(*grid, *[1] * (3 - len(grid))), block[0], pointers)

    return run


DTYPES = {"float": np.float32, "double": np.float64, "half": np.float16, "u16": np.uint16, "unsigned char": np.uint8}


def _argument(name, parameter, value, types):
    """One argument as C sees it; TypeError where its type is not the parameter's."""
    kind = _type(parameter).replace("const ", "").strip()
    if kind.endswith("*"):
        base = kind[:-1].strip()
        base = types.get(base, base)
        if isinstance(value, StrictArray) and value.dtype == DTYPES[base]:
            return ctypes.c_void_p(value.data.ptr)
        if type(value) is int and value == 0:
            return ctypes.c_void_p(None)
    elif kind == "i64" and type(value) is int:
        return ctypes.c_longlong(value)
    elif kind == "double" and type(value) is float:
        return ctypes.c_double(value)
    raise TypeError(f"{name}: {parameter} cannot take {value!r}")
