// The passes over the matrix of pairs.py on a GPU, each in one launch: MATH.md 1.
//
//   rows   (nblocks, R, 4096)   R = 2 history + 2: s of place k in row 2k, y in row 2k+1; then the gradient, then x
//   x_new  (nblocks, 4096)      0 beyond the picture
//   g_new  (size,)
//
// A block has 4096 numbers of each row. No shared memory and no barriers, as in minivgg/fast_gpu/kernels.cu.

typedef REAL real;
typedef long long i64;

#define WIDTH 4096

// s = x_new - x, y = g_new - gradient, into rows s and s+1. One thread: one place.
extern "C" __global__ void write_pair(real* rows, const real* __restrict__ x_new, const real* __restrict__ g_new, i64 R,
                                      i64 s, i64 size, i64 padded) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= padded) return;
    real* here = rows + k / WIDTH * R * WIDTH + k % WIDTH;
    here[s * WIDTH] = x_new[k] - here[(R - 1) * WIDTH];
    here[(s + 1) * WIDTH] = (k < size ? g_new[k] : real(0)) - here[(R - 2) * WIDTH];
}

// Scalar products of every row but x with g_new, and of g_new with itself in the place of x; and of all these with row
// y. A thread adds up every 128th number of some blocks, of one row; what threads have found is added up by CuPy.
//   parts  (gridDim.x, 2, R, 128)
extern "C" __global__ void products(const real* __restrict__ rows, const real* __restrict__ g_new, real* parts, i64 R,
                                    i64 y, i64 size, i64 nblocks) {
    i64 r = blockIdx.y, lane = threadIdx.x;
    real with_g = 0, with_y = 0;
    for (i64 block = blockIdx.x; block < nblocks; block += gridDim.x) {
        const real* own = rows + (block * R + r) * WIDTH;
        const real* row_y = rows + (block * R + y) * WIDTH;
        for (i64 k = lane; k < WIDTH; k += 128) {
            real g = block * WIDTH + k < size ? g_new[block * WIDTH + k] : real(0);
            real a = r < R - 1 ? own[k] : g;
            with_g += a * g;
            with_y += a * row_y[k];
        }
    }
    real* here = parts + (blockIdx.x * 2 * R + r) * 128 + lane;
    here[0] = with_g;
    here[R * 128] = with_y;
}

// out = sum over rows of factors[r] row r. One thread: one place.
extern "C" __global__ void combine(const real* __restrict__ rows, const real* __restrict__ factors, real* out, i64 R,
                                   i64 padded) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= padded) return;
    const real* here = rows + k / WIDTH * R * WIDTH + k % WIDTH;
    real sum = 0;
    for (i64 r = 0; r < R; r++)
        if (factors[r] != 0) sum += factors[r] * here[r * WIDTH];  // what a row not in use holds need not be finite
    out[k] = sum;
}

// Rows s and s+1 times a factor; x and the gradient move by them. With `exact` they are x_new and g_new themselves.
extern "C" __global__ void keep(real* rows, const real* __restrict__ x_new, const real* __restrict__ g_new, i64 R, i64 s,
                                double factor, i64 exact, i64 size, i64 padded) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= padded) return;
    real* here = rows + k / WIDTH * R * WIDTH + k % WIDTH;
    if (exact) {
        here[(R - 1) * WIDTH] = x_new[k];
        here[(R - 2) * WIDTH] = k < size ? g_new[k] : real(0);
        return;
    }
    here[s * WIDTH] *= real(factor);
    here[(s + 1) * WIDTH] *= real(factor);
    here[(R - 1) * WIDTH] += here[s * WIDTH];
    here[(R - 2) * WIDTH] += here[(s + 1) * WIDTH];
}
