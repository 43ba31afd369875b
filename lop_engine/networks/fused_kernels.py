"""Triton kernels of a convolution with bias, 2x2 max-pooling and, if asked for, ReLU, for a stack of small networks.

The maps before pooling never reach memory: a program computes the four members of its pooling windows, keeps the
largest, and stores which one it was. Sums have a fixed order that depends on the tiles alone, without atomics, so runs
repeat bit for bit, and a seed alone gives the bits that it gives in a stack.

Dimensions: S seeds, B images, H W sides of a map, X values of a pixel in memory (its channels, and zeros after them),
C channels, O outputs, K kernel side, h w sides after pooling = (H - K + 1) // 2. Stride 1, no padding; an odd last row
or column is left out.

Layouts, contiguous:
    images (S, B, H, W, X)   weight (S, O, K, K, C)   bias (S, O)
    maps (S, B, h, w, O)     winner (S, B, h, w, O) uint8: the window's member 2 * dy + dx; `DEAD` where ReLU gives 0

`PRECISION` of a product is Triton's ``input_precision``: ``tf32x3`` is as exact as float32.
"""

import triton
import triton.language as tl

DEAD = tl.constexpr(4)
IN_FLOAT32 = tl.constexpr(bool(triton.knobs.runtime.interpret))
"""Triton's interpreter multiplies bfloat16 by their bits as whole numbers, so there they are converted."""


@triton.jit
def _product(a, b, total, PRECISION: tl.constexpr):
    """total + a @ b."""
    if IN_FLOAT32:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def _nearest_tf32(value):
    """The nearest TF32 number. A tensor core drops the low bits instead: twice the error, and always towards 0."""
    bits = value.to(tl.int32, bitcast=True)
    return tl.where(value == value, ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True), value)


@triton.jit
def _larger(best, member, other, number: tl.constexpr):
    """The larger of two values, and which member it was; the first of equals, and NaN before numbers, as in torch."""
    takes = (other > best) | (other != other)
    return tl.where(takes, other, best), tl.where(takes, number, member)


@triton.jit
def forward_kernel(
    images, weight, bias, maps, winner, B,
    H: tl.constexpr, W: tl.constexpr, X: tl.constexpr, C: tl.constexpr, O: tl.constexpr, K: tl.constexpr,
    PRECISION: tl.constexpr, RELU: tl.constexpr, PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Grid (B * h * w / PIXELS, O / OUTPUTS, S). Adds up DEPTH of a window's K * K * X values at a time.

    Without RELU no unit is dead.
    """
    h: tl.constexpr = (H - K + 1) // 2
    w: tl.constexpr = (W - K + 1) // 2
    s = tl.program_id(2).to(tl.int64)
    num_pixels = B * (h * w)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_pixel, is_output = pixel < num_pixels, output < O
    image, place = pixel // (h * w), pixel % (h * w)
    corner = ((image * H + 2 * (place // w)) * W + 2 * (place % w)) * X
    images += s * B * (H * W * X)
    weight += s * (O * K * K * C)
    sum00 = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    sum01 = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    sum10 = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    sum11 = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    for start in range(0, K * K * X, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        tap, channel = depth // X, depth % X
        is_depth = depth < K * K * X
        of_weight = output[None, :] * (K * K * C) + (tap * C + channel)[:, None]
        factors = tl.load(weight + of_weight, is_output[None, :] & (is_depth & (channel < C))[:, None], 0.0)
        at = images + corner[:, None] + (((tap // K) * W + tap % K) * X + channel)[None, :]
        inside = is_pixel[:, None] & is_depth[None, :]
        sum00 = _product(tl.load(at, inside, 0.0), factors, sum00, PRECISION)
        sum01 = _product(tl.load(at + X, inside, 0.0), factors, sum01, PRECISION)
        sum10 = _product(tl.load(at + W * X, inside, 0.0), factors, sum10, PRECISION)
        sum11 = _product(tl.load(at + (W * X + X), inside, 0.0), factors, sum11, PRECISION)
    best, member = sum00, tl.zeros((PIXELS, OUTPUTS), tl.int32)
    best, member = _larger(best, member, sum01, 1)
    best, member = _larger(best, member, sum10, 2)
    best, member = _larger(best, member, sum11, 3)
    # max(a) + b is max(a + b), in rounding too.
    best += tl.load(bias + s * O + output, is_output, 0.0).to(tl.float32)[None, :]
    is_dead = best <= 0.0 if RELU else best < best
    to = s * num_pixels * O + pixel[:, None] * O + output[None, :]
    inside = is_pixel[:, None] & is_output[None, :]
    tl.store(maps + to, tl.where(is_dead, 0.0, best).to(maps.dtype.element_ty), inside)
    tl.store(winner + to, tl.where(is_dead, DEAD, member).to(tl.uint8), inside)


@triton.jit
def image_gradient_by_members_kernel(
    grad, winner, weight, out, B,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, O: tl.constexpr, K: tl.constexpr,
    PRECISION: tl.constexpr, BLOCKS: tl.constexpr, COLUMNS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """For few channels, C <= 16. Grid (blocks of 2x2 pixels / BLOCKS, 1, S); COLUMNS >= 4 * C.

    The four pixels of a block are columns (2 * dy + dx) * C + channel. Each pooled gradient that reaches the block is
    loaded once, and serves the window's four members. `weight` is (S, K, K, C, O), `out` (S, B, H, W, C).
    """
    h: tl.constexpr = (H - K + 1) // 2
    w: tl.constexpr = (W - K + 1) // 2
    H2: tl.constexpr = (H + 1) // 2
    W2: tl.constexpr = (W + 1) // 2
    REACH: tl.constexpr = K // 2 + 1
    PARTS: tl.constexpr = (O + OUTPUTS - 1) // OUTPUTS
    s = tl.program_id(2).to(tl.int64)
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    is_block = block < B * (H2 * W2)
    image, row, column = block // (H2 * W2), (block % (H2 * W2)) // W2, block % W2
    lane = tl.arange(0, COLUMNS)
    dy, dx, channel = lane // (2 * C), (lane // C) % 2, lane % C
    grad += s * B * (h * w * O)
    winner += s * B * (h * w * O)
    weight += s * (O * K * K * C)
    total = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    for step in range(0, REACH * REACH * PARTS):
        up, left = (step // PARTS) // REACH, (step // PARTS) % REACH
        y, x = row - up, column - left
        output = (step % PARTS) * OUTPUTS + tl.arange(0, OUTPUTS)
        is_output = output < O
        at = ((image * h + y) * w + x)[:, None] * O + output[None, :]
        inside = (is_block & (y >= 0) & (y < h) & (x >= 0) & (x < w))[:, None] & is_output[None, :]
        arriving = tl.load(grad + at, inside, 0.0)
        won = tl.load(winner + at, inside, DEAD).to(tl.int32)
        for member in tl.static_range(4):
            tap_y, tap_x = dy + 2 * up - member // 2, dx + 2 * left - member % 2
            is_tap = (lane < 4 * C) & (tap_y >= 0) & (tap_y < K) & (tap_x >= 0) & (tap_x < K)
            of_weight = ((tap_y * K + tap_x) * C + channel)[None, :] * O + output[:, None]
            factors = tl.load(weight + of_weight, is_output[:, None] & is_tap[None, :], 0.0)
            total = _product(tl.where(won == member, arriving, 0.0), factors, total, PRECISION)
    y, x = 2 * row[:, None] + dy[None, :], 2 * column[:, None] + dx[None, :]
    to = s * B * (H * W * C) + ((image[:, None] * H + y) * W + x) * C + channel[None, :]
    inside = is_block[:, None] & (lane < 4 * C)[None, :] & (y < H) & (x < W)
    tl.store(out + to, total.to(out.dtype.element_ty), inside)


@triton.jit
def image_gradient_by_pixel_kernel(
    grad, winner, weight, out, B,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, O: tl.constexpr, K: tl.constexpr,
    PRECISION: tl.constexpr, BLOCKS: tl.constexpr, COLUMNS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """For many channels. Grid (blocks of 2x2 pixels / BLOCKS, 4 * C / COLUMNS, S): one pixel of each block a program.

    Pixel (2 y + dy, 2 x + dx) takes, for tap (i, j), the gradient of map entry (2 y + dy - i, 2 x + dx - j): member
    ((dy - i) & 1, (dx - j) & 1) of window (y + (dy - i) >> 1, x + (dx - j) >> 1), the same for the whole program.
    `weight` is (S, K, K, C, O), `out` (S, B, H, W, C).
    """
    h: tl.constexpr = (H - K + 1) // 2
    w: tl.constexpr = (W - K + 1) // 2
    H2: tl.constexpr = (H + 1) // 2
    W2: tl.constexpr = (W + 1) // 2
    PARTS: tl.constexpr = (O + OUTPUTS - 1) // OUTPUTS
    s = tl.program_id(2).to(tl.int64)
    dy, dx = (tl.program_id(1) % 4) // 2, tl.program_id(1) % 2
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    is_block = block < B * (H2 * W2)
    image, row, column = block // (H2 * W2), (block % (H2 * W2)) // W2, block % W2
    channel = (tl.program_id(1) // 4) * COLUMNS + tl.arange(0, COLUMNS)
    grad += s * B * (h * w * O)
    winner += s * B * (h * w * O)
    weight += s * (O * K * K * C)
    total = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    for step in range(0, K * K * PARTS):
        tap = step // PARTS
        ty, tx = dy - tap // K, dx - tap % K
        y, x = row + (ty >> 1), column + (tx >> 1)
        output = (step % PARTS) * OUTPUTS + tl.arange(0, OUTPUTS)
        is_output = output < O
        at = ((image * h + y) * w + x)[:, None] * O + output[None, :]
        inside = (is_block & (y >= 0) & (y < h) & (x >= 0) & (x < w))[:, None] & is_output[None, :]
        arriving = tl.load(grad + at, inside, 0.0)
        won = tl.load(winner + at, inside, DEAD).to(tl.int32)
        of_weight = (tap * C + channel)[None, :] * O + output[:, None]
        factors = tl.load(weight + of_weight, is_output[:, None] & (channel < C)[None, :], 0.0)
        of_member = tl.where(won == (ty & 1) * 2 + (tx & 1), arriving, 0.0)
        total = _product(of_member, factors, total, PRECISION)
    y, x = 2 * row + dy, 2 * column + dx
    to = s * B * (H * W * C) + ((image * H + y) * W + x)[:, None] * C + channel[None, :]
    inside = (is_block & (y < H) & (x < W))[:, None] & (channel < C)[None, :]
    tl.store(out + to, total.to(out.dtype.element_ty), inside)


@triton.jit
def image_gradient_by_block_kernel(
    grad, winner, weight, out, B,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, O: tl.constexpr, K: tl.constexpr,
    PRECISION: tl.constexpr, BLOCKS: tl.constexpr, COLUMNS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """As `image_gradient_by_pixel_kernel`, but a program computes all four pixels of its blocks.

    It loads each pooled gradient once, and takes half the time. ``tf32x3`` would need more registers than there are.
    Grid (blocks / BLOCKS, C / COLUMNS, S).
    """
    h: tl.constexpr = (H - K + 1) // 2
    w: tl.constexpr = (W - K + 1) // 2
    H2: tl.constexpr = (H + 1) // 2
    W2: tl.constexpr = (W + 1) // 2
    REACH: tl.constexpr = K // 2 + 1
    s = tl.program_id(2).to(tl.int64)
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    is_block = block < B * (H2 * W2)
    image, row, column = block // (H2 * W2), (block % (H2 * W2)) // W2, block % W2
    channel = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    grad += s * B * (h * w * O)
    winner += s * B * (h * w * O)
    weight += s * (O * K * K * C)
    sum00 = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    sum01 = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    sum10 = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    sum11 = tl.zeros((BLOCKS, COLUMNS), tl.float32)
    for start in range(0, O, OUTPUTS):
        output = start + tl.arange(0, OUTPUTS)
        is_output = output < O
        is_factor = is_output[:, None] & (channel < C)[None, :]
        for away in tl.static_range(REACH * REACH):
            y, x = row - away // REACH, column - away % REACH
            at = ((image * h + y) * w + x)[:, None] * O + output[None, :]
            inside = (is_block & (y >= 0) & (y < h) & (x >= 0) & (x < w))[:, None] & is_output[None, :]
            arriving = tl.load(grad + at, inside, 0.0)
            won = tl.load(winner + at, inside, DEAD).to(tl.int32)
            for member in tl.static_range(4):
                of_member = tl.where(won == member, arriving, 0.0)
                for pixel in tl.static_range(4):
                    # The tap that leads from this member to this pixel; a constexpr cannot be named in such a loop.
                    if (
                        (pixel // 2 + 2 * (away // REACH) - member // 2 >= 0)
                        and (pixel // 2 + 2 * (away // REACH) - member // 2 < K)
                        and (pixel % 2 + 2 * (away % REACH) - member % 2 >= 0)
                        and (pixel % 2 + 2 * (away % REACH) - member % 2 < K)
                    ):
                        of_weight = (
                            (pixel // 2 + 2 * (away // REACH) - member // 2) * K
                            + pixel % 2 + 2 * (away % REACH) - member % 2
                        ) * C + channel  # fmt: skip
                        factors = tl.load(weight + of_weight[None, :] * O + output[:, None], is_factor, 0.0)
                        if pixel == 0:
                            sum00 = _product(of_member, factors, sum00, PRECISION)
                        elif pixel == 1:
                            sum01 = _product(of_member, factors, sum01, PRECISION)
                        elif pixel == 2:
                            sum10 = _product(of_member, factors, sum10, PRECISION)
                        else:
                            sum11 = _product(of_member, factors, sum11, PRECISION)
    y, x = 2 * row, 2 * column
    to = out + s * B * (H * W * C) + ((image * H + y) * W + x)[:, None] * C + channel[None, :]
    inside = is_block[:, None] & (channel < C)[None, :]
    has_row, has_column = (y + 1 < H)[:, None], (x + 1 < W)[:, None]
    tl.store(to, sum00.to(out.dtype.element_ty), inside)
    tl.store(to + C, sum01.to(out.dtype.element_ty), inside & has_column)
    tl.store(to + W * C, sum10.to(out.dtype.element_ty), inside & has_row)
    tl.store(to + (W * C + C), sum11.to(out.dtype.element_ty), inside & has_row & has_column)


@triton.jit
def weight_gradient_kernel(
    images, grad, winner, parts, B, SHARE, NUM_PARTS,
    H: tl.constexpr, W: tl.constexpr, X: tl.constexpr, C: tl.constexpr, O: tl.constexpr, K: tl.constexpr,
    PRECISION: tl.constexpr, ROUND: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of (O, K * K * X), NUM_PARTS, S); part p adds up pooled pixels p * SHARE until (p + 1) * SHARE.

    `parts` is (S, NUM_PARTS, O * K * K * C + O) float32, of each part the gradient of the weight, then of the bias.
    ROUND rounds both factors to TF32 first.
    """
    h: tl.constexpr = (H - K + 1) // 2
    w: tl.constexpr = (W - K + 1) // 2
    TILES: tl.constexpr = (K * K * X + DEPTH - 1) // DEPTH
    LENGTH: tl.constexpr = O * K * K * C
    s, part = tl.program_id(2).to(tl.int64), tl.program_id(1)
    tile = tl.program_id(0) % TILES
    output = (tl.program_id(0) // TILES) * OUTPUTS + tl.arange(0, OUTPUTS)
    depth = tile * DEPTH + tl.arange(0, DEPTH)
    is_output, is_depth = output < O, depth < K * K * X
    tap, channel = depth // X, depth % X
    reach = ((tap // K) * W + tap % K) * X + channel
    num_pixels = B * (h * w)
    images += s * B * (H * W * X)
    grad += s * num_pixels * O
    winner += s * num_pixels * O
    end = tl.minimum((part + 1) * SHARE, num_pixels)
    total = tl.zeros((DEPTH, OUTPUTS), tl.float32)
    of_bias = tl.zeros((OUTPUTS,), tl.float32)
    for start in range(part * SHARE, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        is_pixel = pixel < end
        image, place = pixel // (h * w), pixel % (h * w)
        corner = ((image * H + 2 * (place // w)) * W + 2 * (place % w)) * X
        at = pixel[:, None] * O + output[None, :]
        inside = is_pixel[:, None] & is_output[None, :]
        arriving = tl.load(grad + at, inside, 0.0)
        won = tl.load(winner + at, inside, DEAD).to(tl.int32)
        of_bias += tl.sum(tl.where(won == DEAD, 0.0, arriving).to(tl.float32), axis=0)
        pixels_at = images + corner[None, :] + reach[:, None]
        is_inside = is_pixel[None, :] & is_depth[:, None]
        for member in tl.static_range(4):
            pixels = tl.load(pixels_at + ((member // 2) * W + member % 2) * X, is_inside, 0.0)
            of_member = tl.where(won == member, arriving, 0.0)
            if ROUND:
                pixels, of_member = _nearest_tf32(pixels), _nearest_tf32(of_member)
            total = _product(pixels, of_member, total, PRECISION)
    parts += (s * NUM_PARTS + part) * (LENGTH + O)
    to = output[None, :] * (K * K * C) + (tap * C + channel)[:, None]
    tl.store(parts + to, total, is_output[None, :] & (is_depth & (channel < C))[:, None])
    if tile == 0:
        tl.store(parts + LENGTH + output, of_bias, is_output)


@triton.jit
def sum_parts_kernel(parts, weight_gradient, bias_gradient, NUM_PARTS, LENGTH, O, TILE: tl.constexpr):
    """Grid ((LENGTH + O) / TILE, S): adds up the parts of `weight_gradient_kernel` in their order."""
    s = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    parts += s * NUM_PARTS * (LENGTH + O)
    total = tl.zeros((TILE,), tl.float32)
    for part in range(0, NUM_PARTS):
        total += tl.load(parts + part * (LENGTH + O) + at, at < LENGTH + O, 0.0)
    tl.store(weight_gradient + s * LENGTH + at, total, at < LENGTH)
    tl.store(bias_gradient + s * O + (at - LENGTH), total, (at >= LENGTH) & (at < LENGTH + O))
