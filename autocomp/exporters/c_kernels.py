"""The C that an exported header computes with: C99, no library but math.h and string.h."""

from __future__ import annotations

HEAD = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

/* numbers n of `bits` bits, the first in the lowest ones, mean (least + step * n) times the row's
   scale; 32 bits are floats */
typedef struct {
    const void *data;
    const float *scale;
    int bits, least, step, scales;
} ac_weight;
"""
"""What every header begins with."""

KERNELS = {
    "row": """\
static void ac_row(const ac_weight *w, int row, int n, float *out)
{
    size_t at = (size_t)row * n;
    if (w->bits == 32) {
        memcpy(out, (const float *)w->data + at, sizeof(float) * n);
        return;
    }
    const uint8_t *codes = (const uint8_t *)w->data;
    float scale = w->scale[w->scales == 1 ? 0 : row];
    size_t bit = at * w->bits;
    for (int i = 0; i < n; i++) {
        uint32_t value = 0;
        for (int b = 0; b < w->bits; b++, bit++)
            value |= (uint32_t)((codes[bit >> 3] >> (bit & 7)) & 1u) << b;
        out[i] = scale * (float)((int32_t)value * w->step + w->least);
    }
}
""",
    "conv": """\
/* g: channels in, height, width, channels out, kernel (2), stride (2), pads above and left,
   dilation (2), groups, height and width out */
static void ac_conv(const float *x, float *y, const ac_weight *w, const float *bias, const int *g)
{
    static float row[AC_ROW];
    int per = g[0] / g[12], of = g[3] / g[12], n = per * g[4] * g[5];
    for (int o = 0; o < g[3]; o++) {
        const float *from = x + (size_t)(o / of) * per * g[1] * g[2];
        ac_row(w, o, n, row);
        for (int i = 0; i < g[13]; i++)
            for (int j = 0; j < g[14]; j++) {
                float sum = bias ? bias[o] : 0.0f;
                for (int c = 0; c < per; c++)
                    for (int a = 0; a < g[4]; a++) {
                        int h = i * g[6] - g[8] + a * g[10];
                        if (h < 0 || h >= g[1])
                            continue;
                        for (int b = 0; b < g[5]; b++) {
                            int v = j * g[7] - g[9] + b * g[11];
                            if (v >= 0 && v < g[2])
                                sum += row[(c * g[4] + a) * g[5] + b]
                                     * from[((size_t)c * g[1] + h) * g[2] + v];
                        }
                    }
                *y++ = sum;
            }
    }
}
""",
    "linear": """\
static void ac_linear(const float *x, float *y, const ac_weight *w, const float *bias, int rows,
                      int in, int out)
{
    static float row[AC_ROW];
    for (int o = 0; o < out; o++) {
        ac_row(w, o, in, row);
        for (int r = 0; r < rows; r++) {
            float sum = bias ? bias[o] : 0.0f;
            for (int i = 0; i < in; i++)
                sum += row[i] * x[(size_t)r * in + i];
            y[(size_t)r * out + o] = sum;
        }
    }
}
""",
    "matmul": """\
static void ac_matmul(const float *a, const float *b, float *y, int batch, int m, int k, int n,
                      int shared)
{
    for (int t = 0; t < batch; t++, a += m * k, b += shared ? 0 : k * n)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                float sum = 0.0f;
                for (int l = 0; l < k; l++)
                    sum += a[i * k + l] * b[l * n + j];
                *y++ = sum;
            }
}
""",
    "pool": """\
/* g: channels, height, width, kernel (2), stride (2), pads above and left, height and width out,
   whether padding counts, dilation (2) */
static void ac_pool(const float *x, float *y, const int *g, int mean)
{
    for (int c = 0; c < g[0]; c++, x += g[1] * g[2])
        for (int i = 0; i < g[9]; i++)
            for (int j = 0; j < g[10]; j++) {
                float best = mean ? 0.0f : -INFINITY;
                int count = 0;
                for (int a = 0; a < g[3]; a++)
                    for (int b = 0; b < g[4]; b++) {
                        int h = i * g[5] - g[7] + a * g[12], v = j * g[6] - g[8] + b * g[13];
                        if (h < 0 || h >= g[1] || v < 0 || v >= g[2])
                            continue;
                        float value = x[h * g[2] + v];
                        best = mean ? best + value : value > best ? value : best;
                        count++;
                    }
                *y++ = mean ? best / (g[11] ? g[3] * g[4] : count) : best;
            }
}
""",
    "mean": """\
static void ac_mean(const float *x, float *y, int outer, int inner)
{
    for (int o = 0; o < outer; o++) {
        float sum = 0.0f;
        for (int i = 0; i < inner; i++)
            sum += *x++;
        y[o] = sum / inner;
    }
}
""",
    "unary": """\
static void ac_unary(const float *x, float *y, int n, int kind, float p, float q, float r)
{
    for (int i = 0; i < n; i++) {
        float v = x[i];
        switch (kind) {
        case 0: v = v < p ? p : v > q ? q : v; break;                        /* clip */
        case 1: v = rintf(v / p) + q; v = v < 0 ? 0 : v > r ? r : v; break;  /* quantize */
        case 2: v = (v - q) * p; break;                                      /* dequantize */
        case 3: v = 1.0f / (1.0f + expf(-v)); break;
        case 4: v = tanhf(v); break;
        case 5: v = p * v + q; v = v < 0 ? 0 : v > 1 ? 1 : v; break;         /* hard sigmoid */
        case 6: v = v * fminf(fmaxf(v + 3.0f, 0.0f), 6.0f) / 6.0f; break;    /* hard swish */
        case 7: v = erff(v); break;
        case 8: v = sqrtf(v); break;
        case 9: v = expf(v); break;
        case 10: v = 0.5f * v * (1.0f + erff(v * 0.70710678f)); break;       /* GELU */
        case 11: v = 0.5f * v * (1.0f + tanhf(0.79788456f * (v + 0.044715f * v * v * v))); break;
        case 12: v = v < 0 ? p * v : v; break;                               /* leaky ReLU */
        }
        y[i] = v;
    }
}
""",
    "next": """\
/* goes to the next place in `dims`, the last axis first; p and q follow with their strides */
static int ac_next(int rank, const int *dims, int *at, const int *sp, const int *sq, int *p, int *q)
{
    for (int d = rank - 1; d >= 0; d--) {
        *p += sp[d], *q += sq[d];
        if (++at[d] < dims[d])
            return 1;
        *p -= at[d] * sp[d], *q -= at[d] * sq[d];
        at[d] = 0;
    }
    return 0;
}
""",
    "binary": """\
/* y[i] = a[i] o b[i] over `dims`, with strides that are 0 along broadcast axes */
static void ac_binary(const float *a, const float *b, float *y, int rank, const int *dims,
                      const int *sa, const int *sb, int kind)
{
    int at[8] = {0}, p = 0, q = 0;
    do {
        float u = a[p], v = b[q];
        *y++ = kind == 0 ? u + v : kind == 1 ? u - v : kind == 2 ? u * v : kind == 3 ? u / v
             : kind == 4 ? fminf(u, v) : kind == 5 ? fmaxf(u, v) : powf(u, v);
    } while (ac_next(rank, dims, at, sa, sb, &p, &q));
}
""",
    "copy": """\
static void ac_copy(const float *x, float *y, int rank, const int *dims, const int *sx,
                    const int *sy)
{
    int at[8] = {0}, p = 0, q = 0;
    do {
        y[q] = x[p];
    } while (ac_next(rank, dims, at, sx, sy, &p, &q));
}
""",
    "fill": """\
static void ac_fill(float *y, int n, float value)
{
    for (int i = 0; i < n; i++)
        y[i] = value;
}
""",
    "softmax": """\
static void ac_softmax(const float *x, float *y, int outer, int inner)
{
    for (int o = 0; o < outer; o++, x += inner, y += inner) {
        float top = x[0], sum = 0.0f;
        for (int i = 1; i < inner; i++)
            top = x[i] > top ? x[i] : top;
        for (int i = 0; i < inner; i++)
            sum += y[i] = expf(x[i] - top);
        for (int i = 0; i < inner; i++)
            y[i] /= sum;
    }
}
""",
    "norm": """\
static void ac_norm(const float *x, float *y, const float *gain, const float *shift, int outer,
                    int inner, float eps)
{
    for (int o = 0; o < outer; o++, x += inner, y += inner) {
        float mean = 0.0f, var = 0.0f;
        for (int i = 0; i < inner; i++)
            mean += x[i];
        mean /= inner;
        for (int i = 0; i < inner; i++)
            var += (x[i] - mean) * (x[i] - mean);
        var = 1.0f / sqrtf(var / inner + eps);
        for (int i = 0; i < inner; i++)
            y[i] = (x[i] - mean) * var * gain[i] + (shift ? shift[i] : 0.0f);
    }
}
""",
}
"""Name -> a function of it; a header holds those that it calls."""

NEEDS = {"conv": ("row",), "linear": ("row",), "binary": ("next",), "copy": ("next",)}
"""What a function calls itself."""
UNARY = {"clip": 0, "quantize": 1, "dequantize": 2, "Sigmoid": 3, "Tanh": 4, "HardSigmoid": 5,
         "HardSwish": 6, "Erf": 7, "Sqrt": 8, "Exp": 9, "gelu": 10, "gelu tanh": 11,
         "LeakyRelu": 12}  # fmt: skip
BINARY = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Min": 4, "Max": 5, "Pow": 6}
