// The CUDA kernels of fast_gpu/: Winograd F(4x4, 3x3) around cuBLAS, the first layer, pooling.
//
// A tile is 4x4 places of a convolution's output; it needs a patch of 6x6 places of the input. One thread takes one
// tile of one channel from end to end, so no kernel has shared memory or barriers: neighbouring threads take
// neighbouring tiles, and a warp reads and writes whole lines. (tests/cuda_on_cpu.py compiles this same file with a
// C++ compiler and runs it thread by thread.)
//
// Compiled with -DREAL=float or -DREAL=double, the type of the arrays, and with -DHALF for transforms stored in half
// precision. Every integer argument is a long long, so that Python's integers pass as they are.
//
//   x     (N, C, H, W)       planes of a convolution's input, or of the gradient by its output
//   code  (N, C, TH, TW)     16 bits to a tile of 4x4 places: what ReLU and pooling let through
//            ReLU, and ReLU with average pooling: bit 4r+s is set where place (r, s) was positive
//            ReLU with max pooling: 4 bits to a window, 4 + its largest place (row by row), 0 if none was positive
//   V, M  (36, C, ld), (36, F, ld)   transformed patches and their products with the filters; tile t is a column
//
// Tiles are counted row by row through all N pictures; a launch takes T of them from tile row `row0` on.
//
// Where layers.py has a NaN, there is one here. A comparison with a NaN is false: ReLU, maximum and masks are written
// so that this never puts a number in its place.

typedef REAL real;
typedef long long i64;
typedef unsigned short u16;

struct __align__(16) real4 { real v[4]; };

enum Kind { PLAIN = 0, RELU = 1, RELU_MAX = 2, RELU_AVG = 3 };

#ifdef HALF
typedef u16 store;
#ifdef __CUDACC__  // inline PTX instead of cuda_fp16.h: a run-time compiler may not find the header
__device__ __forceinline__ u16 half_bits(float x) { u16 h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
__device__ __forceinline__ float half_value(u16 h) { float x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h)); return x; }
#endif
__device__ __forceinline__ store pack(real x) { return half_bits(x); }
__device__ __forceinline__ real unpack(store s) { return half_value(s); }
#else
typedef real store;
__device__ __forceinline__ store pack(real x) { return x; }
__device__ __forceinline__ real unpack(store s) { return s; }
#endif

// Power of two by which a transform is multiplied before it is stored: 1 except in half precision, where it keeps V
// and M under 65504 whatever the data. peak[0] + peak[1] bound |d|, and `range` was worked out for |d| <= 1.
__device__ __forceinline__ real store_scale(const real* peak, double range) {
#ifdef HALF
    float top = peak[0] + peak[1];
    return exp2f(floorf(log2f((float)range / (top < 1e-30f ? 1e-30f : top))));
#else
    return 1;
#endif
}

__device__ __forceinline__ real at(const real* x, const real* add, i64 k) { return add ? x[k] + add[k] : x[k]; }

// v becomes the larger of v and u; returns whether that is u. A NaN among them is the result, as numpy.maximum has it.
__device__ __forceinline__ bool raise_to(real& v, real u) {
    bool larger = u > v;
    if (larger || u != u) v = u;
    return larger;
}

// Rows h, h+1, ... of the patch come from here: four places from column w on, zero outside.
__device__ __forceinline__ void load4(real* d, const real* x, const real* add, i64 k, int w, int W, bool vec) {
    if (vec) {
        real4 q = *(const real4*)(x + k);
        if (add) {
            real4 a = *(const real4*)(add + k);
#pragma unroll
            for (int j = 0; j < 4; j++) q.v[j] += a.v[j];
        }
#pragma unroll
        for (int j = 0; j < 4; j++) d[j] = q.v[j];
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) d[j] = w + j < W ? at(x, add, k + j) : real(0);
    }
}

// The patch of tile (ty, tx): d[i][j] = place (4 ty - 1 + i, 4 tx - 1 + j), zero outside the plane: the padding.
// With ReLU, what `code` does not let through is multiplied by zero; with pooling, x and add hold the pooled plane,
// which is spread.
template <int KIND>
__device__ __forceinline__ void load_patch(real d[6][6], const real* x, const real* add, const u16* code,
                                           int H, int W, int TH, int TW, int ty, int tx, bool vec) {
    if (KIND <= RELU) {
#pragma unroll
        for (int i = 0; i < 6; i++) {
            int h = 4 * ty - 1 + i, w = 4 * tx;
            if (h >= 0 && h < H) {
                i64 k = (i64)h * W + w;
                d[i][0] = w > 0 ? at(x, add, k - 1) : real(0);
                load4(&d[i][1], x, add, k, w, W, vec);
                d[i][5] = w + 4 < W ? at(x, add, k + 4) : real(0);
            } else {
#pragma unroll
                for (int j = 0; j < 6; j++) d[i][j] = 0;
            }
        }
    } else {
        int HP = H / 2, WP = W / 2;
        real share = KIND == RELU_AVG ? real(0.25) : real(1);
#pragma unroll
        for (int a = 0; a < 4; a++) {
#pragma unroll
            for (int b = 0; b < 4; b++) {
                int h = 2 * ty - 1 + a, w = 2 * tx - 1 + b;  // window (a, b) covers patch rows 2a-1, 2a, columns alike
                real v = h >= 0 && h < HP && w >= 0 && w < WP ? share * at(x, add, (i64)h * WP + w) : real(0);
#pragma unroll
                for (int i = 2 * a - 1; i <= 2 * a; i++)
#pragma unroll
                    for (int j = 2 * b - 1; j <= 2 * b; j++)
                        if (i >= 0 && i < 6 && j >= 0 && j < 6) d[i][j] = v;
            }
        }
    }
    if (KIND != PLAIN) {
        unsigned c[3][3];
#pragma unroll
        for (int a = 0; a < 3; a++)
#pragma unroll
            for (int b = 0; b < 3; b++) {
                int y = ty - 1 + a, z = tx - 1 + b;
                c[a][b] = y >= 0 && y < TH && z >= 0 && z < TW ? code[(i64)y * TW + z] : 0;
            }
#pragma unroll
        for (int i = 0; i < 6; i++) {
#pragma unroll
            for (int j = 0; j < 6; j++) {
                unsigned own = c[(i + 3) / 4][(j + 3) / 4];  // row 0 lies in the tile above, row 5 in the one below
                int r = (i + 3) % 4, s = (j + 3) % 4;
                bool open = KIND == RELU_MAX
                                ? (own >> (4 * (2 * (r / 2) + s / 2)) & 15) == unsigned(4 + 2 * (r % 2) + s % 2)
                                : own >> (4 * r + s) & 1;
                d[i][j] *= open;
            }
        }
    }
}

// Winograd at the points 0, a, -a, -1/a, 1/a and infinity, a = 2/3: fast_cpu/winograd.py has the matrices,
// fast_cpu/MATH.md the reasons. Read backwards, 5 - k for k, the points are their own inverses, and so the filters'
// transform read backwards is that of the flipped filters: the backward passes store V and read M with `reversed` set
// and share the forward's filters.
#define A1 (real(2) / 3)
#define A2 (real(4) / 9)
#define A3 (real(8) / 27)
#define B1 (real(3) / 2)
#define B2 (real(9) / 4)
#define B3 (real(27) / 8)

// One axis of the input transform, o = B^T d.
__device__ __forceinline__ void input_axis(real o[6], const real d[6]) {
    real p = real(-27) / 65 * (d[4] - B2 * d[2]), q = real(-18) / 65 * (d[3] - B2 * d[1]);
    real r = real(12) / 65 * (d[4] - A2 * d[2]), s = real(18) / 65 * (d[3] - A2 * d[1]);
    o[0] = d[0] - (A2 + B2) * d[2] + d[4];
    o[1] = q + p;
    o[2] = q - p;
    o[3] = s - r;
    o[4] = s + r;
    o[5] = d[1] - (A2 + B2) * d[3] + d[5];
}

// One axis of the output transform, o = A^T m.
__device__ __forceinline__ void output_axis(real o[4], const real m[6]) {
    real p = m[1] + m[2], q = m[1] - m[2], r = m[4] + m[3], s = m[4] - m[3];
    o[0] = m[0] + p + r;
    o[1] = A1 * q + B1 * s;
    o[2] = A2 * p + B2 * r;
    o[3] = A3 * q + B3 * s + m[5];
}

template <int KIND>
__device__ __forceinline__ void input_transform(const real* x, const real* add, const u16* code, store* V,
                                                const real* peak, double range, i64 C, i64 H, i64 W, i64 TH, i64 TW,
                                                i64 row0, i64 T, i64 ld, i64 vec, i64 reversed) {
    i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x, c = blockIdx.y;
    if (t >= T) return;
    i64 row = row0 + t / TW, plane = row / TH * C + c;
    i64 size = KIND <= RELU ? H * W : (H / 2) * (W / 2);
    real d[6][6], e[6][6], o[6];
    load_patch<KIND>(d, x + plane * size, add ? add + plane * size : add,
                     KIND == PLAIN ? code : code + plane * TH * TW, H, W, TH, TW, row % TH, t % TW, vec);
    real scale = store_scale(peak, range);
#pragma unroll
    for (int i = 0; i < 6; i++) input_axis(e[i], d[i]);  // e = d B
    i64 step = reversed ? -C * ld : C * ld;  // from one frequency to the next
    V += c * ld + t + (reversed ? 35 * C * ld : 0);
#pragma unroll
    for (int j = 0; j < 6; j++) {
        real column[6] = {e[0][j], e[1][j], e[2][j], e[3][j], e[4][j], e[5][j]};
        input_axis(o, column);
#pragma unroll
        for (int i = 0; i < 6; i++) V[(6 * i + j) * step] = pack(o[i] * scale);
    }
}

#define INPUT_TRANSFORM(name, KIND)                                                                                    \
    extern "C" __global__ void __launch_bounds__(128) name(                                                            \
        const real* __restrict__ x, const real* __restrict__ add, const u16* __restrict__ code, store* V,              \
        const real* __restrict__ peak, double range, i64 C, i64 H, i64 W, i64 TH, i64 TW, i64 row0, i64 T, i64 ld,     \
        i64 vec, i64 reversed) {                                                                                       \
        input_transform<KIND>(x, add, code, V, peak, range, C, H, W, TH, TW, row0, T, ld, vec, reversed);              \
    }
INPUT_TRANSFORM(input_plain, PLAIN)
INPUT_TRANSFORM(input_relu, RELU)
INPUT_TRANSFORM(input_relu_max, RELU_MAX)
INPUT_TRANSFORM(input_relu_avg, RELU_AVG)

// A tile of a convolution's output, o, to memory: after ReLU and pooling, and with its code.
template <int KIND>
__device__ __forceinline__ void store_tile(real o[4][4], real* out, u16* code, int H, int W, int ty, int tx,
                                           bool vec) {
    int h = 4 * ty, w = 4 * tx;
    unsigned bits = 0;
    if (KIND == RELU || KIND == RELU_AVG) {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int s = 0; s < 4; s++) {
                bool open = o[r][s] > 0 && h + r < H && w + s < W;
                bits |= unsigned(open) << (4 * r + s);
                o[r][s] = o[r][s] <= 0 ? real(0) : o[r][s];
            }
    }
    if (KIND <= RELU) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            if (h + r >= H) break;
            i64 k = (i64)(h + r) * W + w;
            if (vec) {
                real4 q;
#pragma unroll
                for (int s = 0; s < 4; s++) q.v[s] = o[r][s];
                *(real4*)(out + k) = q;
            } else {
#pragma unroll
                for (int s = 0; s < 4; s++)
                    if (w + s < W) out[k + s] = o[r][s];
            }
        }
    } else {
        int HP = H / 2, WP = W / 2;
#pragma unroll
        for (int a = 0; a < 2; a++)
#pragma unroll
            for (int b = 0; b < 2; b++) {
                real v;
                if (KIND == RELU_MAX) {
                    unsigned best = 0;
                    v = 0;
#pragma unroll
                    for (int q = 0; q < 4; q++) {  // the first of the largest, as maxpool2d_forward does
                        if (raise_to(v, o[2 * a + q / 2][2 * b + q % 2])) best = 4 + q;
                    }
                    bits |= best << (4 * (2 * a + b));
                } else {
                    v = real(0.25) * (o[2 * a][2 * b] + o[2 * a][2 * b + 1] + o[2 * a + 1][2 * b] +
                                      o[2 * a + 1][2 * b + 1]);
                }
                if (2 * ty + a < HP && 2 * tx + b < WP) out[(i64)(2 * ty + a) * WP + 2 * tx + b] = v;
            }
    }
    if (KIND != PLAIN) *code = bits;
}

template <int KIND>
__device__ __forceinline__ void output_transform(const store* M, const real* b, real* out, u16* code, const real* peak,
                                                 double range, double unit, i64 F, i64 H, i64 W, i64 TH, i64 TW,
                                                 i64 row0, i64 T, i64 ld, i64 vec, i64 reversed) {
    i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x, f = blockIdx.y;
    if (t >= T) return;
    i64 row = row0 + t / TW, plane = row / TH * F + f, ty = row % TH, tx = t % TW;
    real m[6][6], e[4][6], o[4][4], column[6], u[4];
    i64 step = reversed ? -F * ld : F * ld;
    M += f * ld + t + (reversed ? 35 * F * ld : 0);
#pragma unroll
    for (int k = 0; k < 36; k++) m[k / 6][k % 6] = unpack(M[k * step]);
#pragma unroll
    for (int j = 0; j < 6; j++) {  // e = A^T m
#pragma unroll
        for (int i = 0; i < 6; i++) column[i] = m[i][j];
        output_axis(u, column);
#pragma unroll
        for (int i = 0; i < 4; i++) e[i][j] = u[i];
    }
    real scale = real(unit) / store_scale(peak, range), bias = b ? b[f] : real(0);
#pragma unroll
    for (int i = 0; i < 4; i++) {  // o = e A
        output_axis(o[i], e[i]);
#pragma unroll
        for (int j = 0; j < 4; j++) o[i][j] = o[i][j] * scale + bias;
    }
    i64 size = KIND <= RELU ? H * W : (H / 2) * (W / 2);
    store_tile<KIND>(o, out + plane * size, KIND == PLAIN ? code : code + (plane * TH + ty) * TW + tx, H, W, ty, tx,
                     vec);
}

#define OUTPUT_TRANSFORM(name, KIND)                                                                                   \
    extern "C" __global__ void __launch_bounds__(128) name(                                                            \
        const store* __restrict__ M, const real* __restrict__ b, real* out, u16* code, const real* __restrict__ peak,  \
        double range, double unit, i64 F, i64 H, i64 W, i64 TH, i64 TW, i64 row0, i64 T, i64 ld, i64 vec,              \
        i64 reversed) {                                                                                                \
        output_transform<KIND>(M, b, out, code, peak, range, unit, F, H, W, TH, TW, row0, T, ld, vec, reversed);       \
    }
OUTPUT_TRANSFORM(output_plain, PLAIN)
OUTPUT_TRANSFORM(output_relu, RELU)
OUTPUT_TRANSFORM(output_relu_max, RELU_MAX)
OUTPUT_TRANSFORM(output_relu_avg, RELU_AVG)

// The first layer, 3 channels in: 27 products to an output are too few for Winograd, and writing `out` is the cost.
// One thread: one tile of PER filters, the patches of the 3 channels in registers.
#define PER 8

template <int KIND>
__device__ __forceinline__ void first_forward(const real* x, const real* w, const real* b, real* out, u16* code, i64 F,
                                              i64 H, i64 W, i64 TH, i64 TW, i64 T, i64 vec, i64 vec_out) {
    i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= T) return;
    i64 row = t / TW, n = row / TH, ty = row % TH, tx = t % TW;
    real d[3][6][6], o[4][4];
#pragma unroll
    for (int c = 0; c < 3; c++)
        load_patch<PLAIN>(d[c], x + (n * 3 + c) * H * W, 0, 0, H, W, TH, TW, ty, tx, vec);
    i64 size = KIND <= RELU ? H * W : (H / 2) * (W / 2);
    for (i64 f = blockIdx.y * PER; f < F && f < (blockIdx.y + 1) * PER; f++) {
#pragma unroll
        for (int k = 0; k < 16; k++) o[k / 4][k % 4] = b ? b[f] : real(0);
#pragma unroll
        for (int q = 0; q < 27; q++) {
            real g = w[f * 27 + q];
#pragma unroll
            for (int k = 0; k < 16; k++) o[k / 4][k % 4] += g * d[q / 9][k / 4 + q / 3 % 3][k % 4 + q % 3];
        }
        i64 plane = n * F + f;
        store_tile<KIND>(o, out + plane * size, KIND == PLAIN ? code : code + (plane * TH + ty) * TW + tx, H, W, ty,
                         tx, vec_out);
    }
}

#define FIRST_FORWARD(name, KIND)                                                                                      \
    extern "C" __global__ void __launch_bounds__(128) name(                                                            \
        const real* __restrict__ x, const real* __restrict__ w, const real* __restrict__ b, real* out, u16* code,      \
        i64 F, i64 H, i64 W, i64 TH, i64 TW, i64 T, i64 vec, i64 vec_out) {                                            \
        first_forward<KIND>(x, w, b, out, code, F, H, W, TH, TW, T, vec, vec_out);                                     \
    }
FIRST_FORWARD(first_plain, PLAIN)
FIRST_FORWARD(first_relu, RELU)
FIRST_FORWARD(first_relu_max, RELU_MAX)
FIRST_FORWARD(first_relu_avg, RELU_AVG)

// Its backward: dx[c, h, w] = sum over f, i, j of w[f, c, i, j] dout[f, h+1-i, w+1-j]. Block row g adds up its share of
// the filters into part[g] (N, 3, H, W): four times the threads, and still the same digits at every run.
template <int KIND>
__device__ __forceinline__ void first_backward(const real* dout, const real* add, const u16* code, const real* w,
                                               real* part, i64 N, i64 F, i64 H, i64 W, i64 TH, i64 TW, i64 T, i64 vec,
                                               i64 vec_out) {
    i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x, g = blockIdx.y;
    if (t >= T) return;
    i64 row = t / TW, n = row / TH, ty = row % TH, tx = t % TW;
    i64 size = KIND <= RELU ? H * W : (H / 2) * (W / 2);
    real d[6][6], o[3][4][4];
#pragma unroll
    for (int k = 0; k < 48; k++) o[k / 16][k / 4 % 4][k % 4] = 0;
    for (i64 f = F * g / gridDim.y; f < F * (g + 1) / gridDim.y; f++) {
        i64 plane = n * F + f;
        load_patch<KIND>(d, dout + plane * size, add ? add + plane * size : add,
                         KIND == PLAIN ? code : code + plane * TH * TW, H, W, TH, TW, ty, tx, vec);
#pragma unroll
        for (int q = 0; q < 27; q++) {
            real weight = w[f * 27 + q];
#pragma unroll
            for (int k = 0; k < 16; k++) o[q / 9][k / 4][k % 4] += weight * d[k / 4 + 2 - q / 3 % 3][k % 4 + 2 - q % 3];
        }
    }
#pragma unroll
    for (int c = 0; c < 3; c++)
        store_tile<PLAIN>(o[c], part + ((g * N + n) * 3 + c) * H * W, 0, H, W, ty, tx, vec_out);
}

#define FIRST_BACKWARD(name, KIND)                                                                                     \
    extern "C" __global__ void __launch_bounds__(128) name(                                                            \
        const real* __restrict__ dout, const real* __restrict__ add, const u16* __restrict__ code,                     \
        const real* __restrict__ w, real* part, i64 N, i64 F, i64 H, i64 W, i64 TH, i64 TW, i64 T, i64 vec,            \
        i64 vec_out) {                                                                                                 \
        first_backward<KIND>(dout, add, code, w, part, N, F, H, W, TH, TW, T, vec, vec_out);                           \
    }
FIRST_BACKWARD(first_backward_plain, PLAIN)
FIRST_BACKWARD(first_backward_relu, RELU)
FIRST_BACKWARD(first_backward_relu_max, RELU_MAX)
FIRST_BACKWARD(first_backward_relu_avg, RELU_AVG)

// The gradient by a convolution's output, spelled out (N, F, H, W): for the gradients by the filters only.
template <int KIND>
__device__ __forceinline__ void unmask(const real* dout, const real* add, const u16* code, real* dconv, i64 F, i64 H,
                                       i64 W, i64 TH, i64 TW, i64 T, i64 vec, i64 vec_out) {
    i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x, f = blockIdx.y;
    if (t >= T) return;
    i64 row = t / TW, plane = row / TH * F + f, ty = row % TH, tx = t % TW;
    i64 size = KIND <= RELU ? H * W : (H / 2) * (W / 2);
    real d[6][6], o[4][4];
    load_patch<KIND>(d, dout + plane * size, add ? add + plane * size : add, code + plane * TH * TW, H, W, TH, TW, ty,
                     tx, vec);
#pragma unroll
    for (int k = 0; k < 16; k++) o[k / 4][k % 4] = d[k / 4 + 1][k % 4 + 1];
    store_tile<PLAIN>(o, dconv + plane * H * W, 0, H, W, ty, tx, vec_out);
}

#define UNMASK(name, KIND)                                                                                             \
    extern "C" __global__ void name(const real* __restrict__ dout, const real* __restrict__ add,                       \
                                    const u16* __restrict__ code, real* dconv, i64 F, i64 H, i64 W, i64 TH, i64 TW,    \
                                    i64 T, i64 vec, i64 vec_out) {                                                     \
        unmask<KIND>(dout, add, code, dconv, F, H, W, TH, TW, T, vec, vec_out);                                        \
    }
UNMASK(unmask_relu, RELU)
UNMASK(unmask_relu_max, RELU_MAX)
UNMASK(unmask_relu_avg, RELU_AVG)

// Largest |x| into *peak, which the caller has set to 0. Positive floats order like their bits, and so NaN wins.
#ifdef HALF
extern "C" __global__ void max_abs(const real* __restrict__ x, real* peak, i64 size) {
    int top = 0;
    for (i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += (i64)gridDim.x * blockDim.x) {
        int bits = __float_as_int(fabsf(x[k]));
        top = bits > top ? bits : top;
    }
#ifdef __CUDACC__
#pragma unroll
    for (int far = 16; far > 0; far /= 2) {
        int other = __shfl_xor_sync(0xffffffffu, top, far);
        top = other > top ? other : top;
    }
    if (threadIdx.x % 32) return;  // one atomic operation to a warp
#endif
    atomicMax((int*)peak, top);
}
#endif

// Pooling by itself, for layers whose ReLU somebody asks for. One thread: one window.
extern "C" __global__ void maxpool_forward(const real* __restrict__ x, real* out, unsigned char* index, i64 H, i64 W,
                                           i64 size) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= size) return;
    i64 HP = H / 2, WP = W / 2, q = k % WP, p = k / WP % HP;
    x += (k / WP / HP * H + 2 * p) * W + 2 * q;
    real v = x[0];
    int best = 0;
    if (raise_to(v, x[1])) best = 1;
    if (raise_to(v, x[W])) best = 2;
    if (raise_to(v, x[W + 1])) best = 3;
    out[k] = v;
    index[k] = best;
}

extern "C" __global__ void avgpool_forward(const real* __restrict__ x, real* out, i64 H, i64 W, i64 size) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= size) return;
    i64 HP = H / 2, WP = W / 2, q = k % WP, p = k / WP % HP;
    x += (k / WP / HP * H + 2 * p) * W + 2 * q;
    out[k] = real(0.25) * (x[0] + x[1] + x[W] + x[W + 1]);
}

// dx at one place: of its window's gradient, what came through (a dropped odd row or column: 0). index 0: mean.
extern "C" __global__ void pool_backward(const real* __restrict__ dout, const unsigned char* __restrict__ index,
                                         real* dx, i64 H, i64 W, i64 size) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= size) return;
    i64 HP = H / 2, WP = W / 2, w = k % W, h = k / W % H, window = (k / W / H * HP + h / 2) * WP + w / 2;
    real v = 0;
    if (h / 2 < HP && w / 2 < WP) {
        v = dout[window] * (index ? real(index[window] == 2 * (h % 2) + w % 2) : real(0.25));
    }
    dx[k] = v;
}
