// The passes over the matrix of pairs.py on a GPU, each in one launch: MATH.md 1.
//
//   rows   (nblocks, R, 4096)   s of place k in row 2k, w = M y in row 2k+1; then, in row `metric`, M times the gradient;
//                               then the gradient (without a metric M the same row), then x
//   x_new  (nblocks, 4096)      0 beyond the picture
//   g_new, m_new  (size,)       the gradient there and M times it
//
// A block has 4096 numbers of each row. No shared memory and no barriers, as in minivgg/fast_gpu/kernels.cu.

typedef REAL real;
typedef long long i64;

#define WIDTH 4096

// s = x_new - x, w = m_new - M gradient, into rows s and s+1. One thread: one place.
extern "C" __global__ void write_pair(real* rows, const real* __restrict__ x_new, const real* __restrict__ m_new, i64 R,
                                      i64 metric, i64 s, i64 size, i64 padded) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= padded) return;
    real* here = rows + k / WIDTH * R * WIDTH + k % WIDTH;
    here[s * WIDTH] = x_new[k] - here[(R - 1) * WIDTH];
    here[(s + 1) * WIDTH] = (k < size ? m_new[k] : real(0)) - here[metric * WIDTH];
}

// Scalar products of every row but x with g_new, and with y = g_new - gradient; in the place of x those of g_new with
// g_new, and with m_new. A thread adds up every 128th number of some blocks, of one row; what threads have found is added up by CuPy.
//   parts  (gridDim.x, 2, R, 128)
extern "C" __global__ void products(const real* __restrict__ rows, const real* __restrict__ g_new,
                                    const real* __restrict__ m_new, real* parts, i64 R, i64 size, i64 nblocks) {
    i64 r = blockIdx.y, lane = threadIdx.x;
    real with_g = 0, with_y = 0;
    for (i64 block = blockIdx.x; block < nblocks; block += gridDim.x) {
        const real* own = rows + (block * R + r) * WIDTH;
        const real* before = rows + (block * R + R - 2) * WIDTH;
        for (i64 k = lane; k < WIDTH; k += 128) {
            i64 place = block * WIDTH + k;
            real g = place < size ? g_new[place] : real(0);
            if (r < R - 1) {
                with_g += own[k] * g;
                with_y += own[k] * (g - before[k]);
            } else {
                with_g += g * g;
                with_y += g * (place < size ? m_new[place] : real(0));
            }
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

// Rows s and s+1 times a factor; x, the gradient and M times it move by as much. With `exact` they are the new ones.
extern "C" __global__ void keep(real* rows, const real* __restrict__ x_new, const real* __restrict__ g_new,
                                const real* __restrict__ m_new, i64 R, i64 metric, i64 s, double factor, i64 exact,
                                i64 size, i64 padded) {
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= padded) return;
    real* here = rows + k / WIDTH * R * WIDTH + k % WIDTH;
    real g = k < size ? g_new[k] : real(0);
    if (exact) {
        here[(R - 1) * WIDTH] = x_new[k];
        here[metric * WIDTH] = k < size ? m_new[k] : real(0);
        here[(R - 2) * WIDTH] = g;
        return;
    }
    here[s * WIDTH] *= real(factor);
    here[(s + 1) * WIDTH] *= real(factor);
    here[(R - 1) * WIDTH] += here[s * WIDTH];
    if (metric < R - 2) here[(R - 2) * WIDTH] += real(factor) * (g - here[(R - 2) * WIDTH]);
    here[metric * WIDTH] += here[(s + 1) * WIDTH];
}
