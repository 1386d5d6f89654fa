"""Every layer in numpy, float64, one row at a time, from the documented equations.

Shares no code with the package: it is what both torch and onnxruntime are held against. A row has no
padding, so nothing here knows of lengths. A reference takes (layer, weights, xs, states) and gives
(y, new states). x is [time, …], and one step where there is no time axis; so is y, unless the layer
removes the axis. states None: the whole sequence at once, by the formula for whole sequences; a tuple:
one chunk, by the rule for chunks.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def hard_sigmoid_6(x):
    return np.clip(x / 6 + 0.5, 0, 1)


FUNCTIONS = {
    "tanh": np.tanh,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "hard_sigmoid_6": hard_sigmoid_6,
}


def normalized(layer, weights, xs, states):
    (x,) = xs
    if not layer.statistics:
        return (x if x.dtype == np.int64 else np.array(x, float)), ()
    known = {name: np.array(values, float) for name, values in layer.statistics.items()}
    y = np.array(x, float)
    for channel in range(x.shape[1]):
        at = (slice(None), channel)
        if layer.normalization == "zerocenter":
            y[at] -= known["mean"][channel]
        elif layer.normalization == "zscore":
            y[at] = (y[at] - known["mean"][channel]) / (known["std"][channel] or 1)
        else:
            low, high = known["min"][channel], known["max"][channel]
            if layer.normalization == "rescale_zero_one":
                y[at] = (y[at] - low) / ((high - low) or 1)
            elif high > low:
                y[at] = 2 * (y[at] - low) / (high - low) - 1
            else:  # a constant channel divides by 1
                y[at] = y[at] - low
    return y, ()


def lstm_run(layer, W, R, b, x, h, c):
    state, gate = FUNCTIONS[layer.state_activation], FUNCTIONS[layer.gate_activation]
    (Wi, Wf, Wg, Wo), (Ri, Rf, Rg, Ro), (bi, bf, bg, bo) = (np.split(array, 4) for array in (W, R, b))
    outputs = []
    for step in x.reshape(len(x), W.shape[1]):
        i = gate(Wi @ step + Ri @ h + bi)
        f = gate(Wf @ step + Rf @ h + bf)
        g = state(Wg @ step + Rg @ h + bg)
        o = gate(Wo @ step + Ro @ h + bo)
        c = f * c + i * g
        h = o * state(c)
        outputs.append(h)
    return np.array(outputs).reshape(len(x), len(h)), h, c


def lstm(layer, weights, xs, states):
    h0, c0 = (weights.get(name, 0) for name in ("initial_h", "initial_c"))
    h, c = states or np.zeros((2, layer.hidden_size))
    W, R, b = (weights[name] for name in ("input_weights", "recurrent_weights", "bias"))
    y, h, c = lstm_run(layer, W, R, b, xs[0], h + h0, c + c0)
    return {"sequence": y, "last": h, "cell": c}[layer.output_mode], (h - h0, c - c0)


def bilstm(layer, weights, xs, states):
    def run(arrays, x):
        W, R, b = (arrays[part] for part in ("input_weights", "recurrent_weights", "bias"))
        y, h, c = lstm_run(layer, W, R, b, x, *np.zeros((2, layer.hidden_size)))
        return y, c if layer.output_mode == "cell" else h

    return both_ways(layer, weights, xs[0], run)


def both_ways(layer, weights, x, run):
    """A layer of two directions; run(weights of one, x) gives its outputs and the final state that it may return."""

    def half(name, x):
        return run({key.split("_", 1)[1]: array for key, array in weights.items() if key.startswith(name)}, x)

    forward, forward_end = half("forward", x)
    backward, backward_end = half("backward", x[::-1])
    y = np.concatenate([forward, backward[::-1]], 1)
    if layer.output_mode == "sequence":
        return y, ()
    if layer.output_mode == "cell" or layer.last == "final_state":
        return np.concatenate([forward_end, backward_end]), ()
    return y[-1] if len(y) else np.zeros(2 * layer.hidden_size), ()


def gru_run(layer, weights, x, h):
    state, gate = FUNCTIONS[layer.state_activation], FUNCTIONS[layer.gate_activation]
    Wr, Wz, Wn = np.split(weights["input_weights"], 3)
    Rr, Rz, Rn = np.split(weights["recurrent_weights"], 3)
    br, bz, bn = np.split(weights["bias"], 3)
    bRn = weights.get("recurrent_bias", 0)
    outputs = []
    for step in x.reshape(len(x), Wr.shape[1]):
        r = gate(Wr @ step + Rr @ h + br)
        z = gate(Wz @ step + Rz @ h + bz)
        if layer.reset_gate_mode == "before_multiplication":
            n = state(Wn @ step + bn + Rn @ (r * h))
        else:
            n = state(Wn @ step + bn + r * (Rn @ h + bRn))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return np.array(outputs).reshape(len(outputs), len(h)), h


def gru(layer, weights, xs, states):
    (h,) = states or (np.zeros(layer.hidden_size),)
    h0 = weights.get("initial_h", 0)
    y, h = gru_run(layer, weights, xs[0], h + h0)
    return (h if layer.output_mode == "last" else y), (h - h0,)


def bigru(layer, weights, xs, states):
    zeros = np.zeros(layer.hidden_size)
    return both_ways(layer, weights, xs[0], lambda arrays, x: gru_run(layer, arrays, x, zeros))


def rnn(layer, weights, xs, states):
    W, R, b = (weights[part] for part in ("input_weights", "recurrent_weights", "bias"))
    h0 = weights.get("initial_h", 0)
    h = (states or (np.zeros(layer.hidden_size),))[0] + h0
    outputs = []
    for x in xs[0].reshape(len(xs[0]), W.shape[1]):
        h = FUNCTIONS[layer.activation](W @ x + R @ h + b)
        outputs.append(h)
    y = np.array(outputs).reshape(len(outputs), len(h))
    return (h if layer.output_mode == "last" else y), (h - h0,)


def last_step(layer, weights, xs, states):
    (last,) = states or (np.zeros(xs[0].shape[1:]),)
    y = xs[0][-1] if len(xs[0]) else last
    return y, (y,)


def windows(x, k, s, d, padding):
    """The windows of a whole sequence: lists of k steps, None where there is padding."""
    reach, steps = d * (k - 1), len(x)
    if padding == "same":
        lack = max((math.ceil(steps / s) - 1) * s + reach + 1 - steps, 0)
        left, right = lack // 2, lack - lack // 2
    elif padding == "causal":
        left, right = reach, 0
    else:
        left, right = (padding, padding) if isinstance(padding, int) else padding
    padded = [None] * left + list(x) + [None] * right if steps else []
    count = (len(padded) - reach - 1) // s + 1
    return [[padded[i * s + j * d] for j in range(k)] for i in range(max(count, 0))]


def chunk_windows(x, k, s, d, states, marked):
    """The windows that end in a chunk of a causal layer, and the new states."""
    reach, left = d * (k - 1), list(states)
    buffer = left.pop(0) if reach else np.zeros((0, 1))
    before = [(row[:-1] if row[-1] else None) if marked else row for row in buffer]
    phase = int(left.pop(0)[0]) if s > 1 else 0
    steps, found = before + list(x), []
    for i in range(len(x)):
        if phase == 0:
            found.append([steps[i + j * d] for j in range(k)])
        phase = (phase + 1) % s
    rows = np.concatenate([x, np.ones((len(x), 1))], 1) if marked else x
    new = (np.concatenate([buffer, rows])[len(x) :],) if reach else ()
    return found, new + ((np.array([phase]),) if s > 1 else ())


def windowed(layer, x, states, k, d, marked, function, channels):
    """A layer of windows, over time or over the width of each step."""
    if layer.axis == "space":
        width = len(windows(np.arange(x.shape[2]), k, layer.stride, d, layer.padding))
        rows = [[function(w) for w in windows(step.T, k, layer.stride, d, layer.padding)] for step in x]
        return np.array(rows).reshape(len(x), width, channels).transpose(0, 2, 1), ()
    if states is None:
        found, new = windows(x, k, layer.stride, d, layer.padding), ()
    else:
        found, new = chunk_windows(x, k, layer.stride, d, states, marked)
    return np.array([function(window) for window in found]).reshape(len(found), channels), new


def conv1d(layer, weights, xs, states):
    W, b, x = weights["weights"], weights["bias"], xs[0]
    inputs, outputs = x.shape[1] // layer.groups, layer.filters // layer.groups

    def function(window):
        y = b.copy()
        for f in range(layer.filters):
            first = f // outputs * inputs
            for j, step in enumerate(window):
                if step is not None:
                    y[f] += W[f, :, j] @ step[first : first + inputs]
        return y

    return windowed(layer, x, states, layer.kernel_size, layer.dilation, False, function, layer.filters)


def max_pool1d(layer, weights, xs, states):
    def function(window):
        return np.max([step for step in window if step is not None], 0)

    return windowed(layer, xs[0], states, layer.pool_size, 1, True, function, xs[0].shape[1])


def avg_pool1d(layer, weights, xs, states):
    def function(window):
        there = [step for step in window if step is not None]
        return np.sum(there, 0) / (layer.pool_size if layer.count_padding else len(there))

    return windowed(layer, xs[0], states, layer.pool_size, 1, not layer.count_padding, function, xs[0].shape[1])


def global_max_pool1d(layer, weights, xs, states):
    (x,) = xs
    if layer.axis == "space":
        return x.max(-1), ()
    so_far, count = states or (np.zeros(x.shape[1]), np.zeros(1))
    rows = list(x) + ([so_far] if count[0] else [])
    y = np.max(rows, 0) if rows else np.zeros(x.shape[1])
    return y, (y, np.minimum(count + len(x), 2**30))


def global_avg_pool1d(layer, weights, xs, states):
    (x,) = xs
    if layer.axis == "space":
        return x.mean(-1), ()
    mean, carry, n = states or (np.zeros(x.shape[1]), np.zeros(x.shape[1]), np.zeros(1))
    count = n + len(x)
    exact = ((mean + carry) * n + x.sum(0)) / max(count[0], 1)
    mean = exact.astype(np.float32)
    return mean, (mean, exact - mean, np.minimum(count, 2**30))


def global_sum_pool1d(layer, weights, xs, states):
    (x,) = xs
    total, carry = states or (np.zeros(x.shape[1]),) * 2
    exact = total + carry + x.sum(0)
    y = exact.astype(np.float32)
    return y, (y, exact - y)


def global_std_pool1d(layer, weights, xs, states):
    (x,) = xs
    mean, carry, variance, variance_carry, n = states or (*(np.zeros(x.shape[1]),) * 4, np.zeros(1))
    count = n + len(x)
    total = max(count[0], 1)
    before = mean + carry
    exact_mean = (before * n + x.sum(0)) / total if len(x) else before
    squares = n * (variance + variance_carry + (before - exact_mean) ** 2) + ((x - exact_mean) ** 2).sum(0)
    exact = squares / total
    mean, variance = exact_mean.astype(np.float32), exact.astype(np.float32)
    new = mean, exact_mean - mean, variance, exact - variance, np.minimum(count, 2**30)
    return np.sqrt(squares / max(total - layer.correction, 1) + layer.epsilon), new


def attention_pool(layer, weights, xs, states):
    x, *given = xs
    scores = given[0] if given else x @ weights["weights"].T
    reference, weight, weight_carry, mean, carry = states or (*[np.zeros(layer.heads)] * 3, *[np.zeros(x.shape[1])] * 2)
    tops = np.vstack([scores, np.where(weight > 0, reference, -np.inf)]).max(0)
    new_reference = np.where(np.isfinite(tops), 4 * np.ceil(tops / 4), 0)
    shares = np.exp(scores - new_reference)
    kept = np.where(weight > 0, (weight + weight_carry) * np.exp(np.minimum(reference - new_reference, 0)), 0)
    total, size = kept + shares.sum(0), x.shape[1] // layer.heads
    sums = (mean + carry) * np.repeat(kept, size) + (np.repeat(shares, size, 1) * x).sum(0)
    exact = sums / np.repeat(np.where(total > 0, total, 1), size)
    rounded, y = total.astype(np.float32), exact.astype(np.float32)
    return y, (new_reference, rounded, total - rounded, y, exact - y)


def flatten(layer, weights, xs, states):
    x = xs[0]
    return x.reshape(len(x), math.prod(x.shape[1:])), ()


def word_embedding(layer, weights, xs, states):
    E = weights["vectors"]
    known = len(E) - 2
    return np.array([E[i] if 0 <= i <= known else E[known + 1] for i in xs[0]]).reshape(-1, E.shape[1]), ()


def fully_connected(layer, weights, xs, states):
    x, _ = flatten(layer, weights, xs, states)
    return x @ weights["weights"].T + weights["bias"], ()


def both(value):
    return (value, value) if isinstance(value, int) else value


def image_windows(x, kernel, stride, dilation, padding):
    """The windows over the images x [..., H, W]: lists for height and width, as `windows` gives them."""
    options = zip(x.shape[-2:], both(kernel), both(stride), both(dilation), strict=True)
    return [windows(np.arange(size), k, s, d, padding) for size, k, s, d in options]


def conv2d(layer, weights, xs, states):
    W, b, x = weights["weights"], weights["bias"], xs[0]
    inputs, outputs = x.shape[1] // layer.groups, layer.filters // layer.groups
    rows, columns = image_windows(x, layer.kernel_size, layer.stride, layer.dilation, layer.padding)
    frames = np.zeros((len(x), layer.filters, len(rows), len(columns))) + b[:, None, None]
    for t, f, h, w in np.ndindex(*frames.shape):
        first = f // outputs * inputs
        for i, row in enumerate(rows[h]):
            for j, column in enumerate(columns[w]):
                if row is not None and column is not None:
                    frames[t, f, h, w] += W[f, :, i, j] @ x[t, first : first + inputs, row, column]
    return frames, ()


def pooled(layer, x, function):
    """Images with the function of the pixels of each window, None for padding."""
    rows, columns = image_windows(x, layer.pool_size, layer.stride, 1, layer.padding)
    y = np.zeros((*x.shape[:-2], len(rows), len(columns)))
    for place in np.ndindex(*y.shape):
        image, row, column = x[place[:-2]], rows[place[-2]], columns[place[-1]]
        y[place] = function([None if h is None or w is None else image[h, w] for h in row for w in column])
    return y, ()


def max_pool2d(layer, weights, xs, states):
    return pooled(layer, xs[0], lambda pixels: max(pixel for pixel in pixels if pixel is not None))


def avg_pool2d(layer, weights, xs, states):
    def function(pixels):
        there = [pixel for pixel in pixels if pixel is not None]
        return sum(there) / (len(pixels) if layer.count_padding else len(there))

    return pooled(layer, xs[0], function)


def global_avg_pool2d(layer, weights, xs, states):
    return xs[0].mean((-2, -1)), ()


def batch_norm(layer, weights, xs, states):
    x = xs[0]
    y = np.array(x, float)
    for channel in range(len(weights["mean"])):
        at = (slice(None), channel)
        spread = math.sqrt(weights["variance"][channel] + layer.epsilon)
        y[at] = (x[at] - weights["mean"][channel]) / spread
        y[at] = y[at] * weights["scale"][channel] + weights["offset"][channel]
    return y, ()


def layer_norm(layer, weights, xs, states):
    return divided(layer, weights, xs[0], centered=True) + weights["offset"], ()


def rms_norm(layer, weights, xs, states):
    return divided(layer, weights, xs[0], centered=False), ()


def divided(layer, weights, x, centered):
    y = np.array(x, float)
    for step in y.reshape(-1, *weights["scale"].shape):
        channels = len(step) // layer.groups
        for first in range(0, len(step), channels):
            group = step[first : first + channels]
            group -= group.mean() if centered else 0
            group /= math.sqrt((group**2).mean() + layer.epsilon)
    return y * weights["scale"]


def gelu(layer, weights, xs, states):
    x = xs[0]
    if layer.approximate:
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), ()
    return x / 2 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))), ()


def softmax(layer, weights, xs, states):
    e = np.exp(xs[0] - xs[0].max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True), ()


def rescale(layer, weights, xs, states):
    x = xs[0]
    y = np.array(x, float)
    most = math.inf if layer.limit is None else layer.limit
    channels = np.ndim(layer.scale) or np.ndim(layer.offset)
    if not channels:
        return np.clip(x * layer.scale + layer.offset, -most, most), ()
    for c in range(x.shape[1]):
        y[:, c] = x[:, c] * np.broadcast_to(layer.scale, x.shape[1])[c] + np.broadcast_to(layer.offset, x.shape[1])[c]
    return np.clip(y, -most, most), ()


def delay(layer, weights, xs, states):
    before = states[0] if states else np.zeros((layer.steps, xs[0].shape[1]))
    every = [*before, *xs[0]]
    return np.array(every[: len(xs[0])]).reshape(xs[0].shape), (np.array(every[len(xs[0]) :]),)


def magnitude(layer, weights, xs, states):
    x = np.atleast_2d(xs[0])
    y = [
        [max(abs(v) for v in row) if layer.of == "max" else math.sqrt(sum(v * v for v in row) / len(row))] for row in x
    ]
    return np.array(y).reshape(*xs[0].shape[:-1], 1), ()


def frames_of(layer, x, states):
    """The frames of a whole row, or those that end in a chunk, with the new states."""
    need, length = layer.hop if layer.padding == "causal" else layer.length, layer.length
    left = list(states or ())
    buffer = left.pop(0)[:, 0] if states and length > 1 else np.zeros(length - 1)
    phase = int(left[0][0]) if states else 0
    e, wait, found = np.concatenate([buffer, x[:, 0]]), need - phase, []
    for i in range(len(x)):
        wait -= 1
        if wait == 0:
            found.append(e[i : i + length])
            wait = layer.hop
    new = (e[len(x) :][:, None],) if length > 1 else ()
    return found, (*new, np.array([need - wait])) if states else ()


def frames_of_channels(layer, x, states):
    """The frames of each channel, and the new states, of which they have the phase in common."""
    found, new = [], []
    for c in range(x.shape[1]):
        own = states and tuple(state[:, c : c + 1] if state.ndim == 2 else state for state in states)
        frames, kept = frames_of(layer, x[:, c : c + 1], own)
        found.append(frames)
        new.append(kept)
    parts = zip(*new, strict=True)
    return found, states and tuple(np.concatenate(part, 1) if part[0].ndim == 2 else part[0] for part in parts)


def window_statistics(layer, weights, xs, states):
    frames = SimpleNamespace(length=layer.length, hop=layer.hop or layer.length, padding=layer.padding)
    found, new = frames_of_channels(frames, xs[0], states)
    columns = [[statistics_of(frame) for frame in rows] for rows in found]
    values = [[frame[name] for frame in rows] for name in layer.statistics for rows in columns]
    return np.array(values).reshape(len(values), -1).T, new


def statistics_of(frame):
    frame = np.array(frame)
    mean, square = frame.mean(), (frame**2).mean()
    rms, v = math.sqrt(square), ((frame - mean) ** 2).mean()
    varies = v > 1e-10 * square
    return {
        "mean": mean,
        "std": math.sqrt(v) if varies else 0,
        "rms": rms,
        "min": min(frame),
        "max": max(frame),
        "skewness": ((frame - mean) ** 3).mean() / v**1.5 if varies else 0,
        "kurtosis": ((frame - mean) ** 4).mean() / v**2 if varies else 0,
        "crest": max(abs(frame)) / rms if rms > 1e-15 else 0,
        "zero_crossings": sum((a < 0) != (b < 0) for a, b in itertools.pairwise(frame)) / len(frame),
    }


def decimate(layer, weights, xs, states):
    q, taps = layer.factor, []
    for n in range(-10 * q, 10 * q + 1):
        sinc = math.sin(math.pi * n / q) / (math.pi * n / q) if n else 1
        taps.append(sinc * (0.54 + 0.46 * math.cos(math.pi * n / (10 * q))))
    frames = SimpleNamespace(length=20 * q + 1, hop=q, padding="causal")
    found, new = frames_of_channels(frames, xs[0], states)
    return np.array([[frame @ taps / sum(taps) for frame in rows] for rows in found]).reshape(len(found), -1).T, new


def window_of(name, length, periodic):
    turns = [2 * math.pi * n / (length if periodic else max(length - 1, 1)) for n in range(length)]
    hann = [0.5 - 0.5 * math.cos(turn) if length > 1 else 1 for turn in turns]
    hamming = [0.54 - 0.46 * math.cos(turn) if length > 1 else 1 for turn in turns]
    return {"hann": hann, "hamming": hamming, "povey": [v**0.85 for v in hann], "none": [1] * length}[name]


def spectrum_of(layer, frame):
    x = np.array(frame) * layer.gain
    if layer.remove_mean:
        x = x - x.mean()
    x = x - layer.preemphasis * np.array([x[0], *x[:-1]])
    x = x * window_of(layer.window, layer.length, layer.periodic)
    return abs(np.fft.rfft(x, layer.fft or layer.length)) ** layer.power


def spectrogram(layer, weights, xs, states):
    found, new = frames_of(layer, xs[0], states)
    size = (layer.fft or layer.length) // 2 + 1
    return np.array([spectrum_of(layer, frame) for frame in found]).reshape(-1, size), new


def mel(hertz, scale):
    if scale == "slaney":
        return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)
    return 1127 * math.log(1 + hertz / 700)


def hertz(mels, scale):
    if scale == "slaney":
        return 200 * mels / 3 if mels < 15 else 1000 * 6.4 ** ((mels - 15) / 27)
    return 700 * (math.exp(mels / 1127) - 1)


def mel_spectrogram(layer, weights, xs, states):
    powers, new = spectrogram(layer, weights, xs, states)
    fft, high = layer.fft or layer.length, layer.rate / 2 if layer.high is None else layer.high
    low = mel(layer.low, layer.scale)
    step = (mel(high, layer.scale) - low) / (layer.bands + 1)
    y = np.zeros((len(powers), layer.bands))
    for m, k in np.ndindex(layer.bands, powers.shape[1]):
        corners, f = [low + (m + i) * step for i in range(3)], k * layer.rate / fft
        in_hertz = [hertz(corner, layer.scale) for corner in corners]
        a, b, c, f = [*corners, mel(f, "kaldi")] if layer.scale == "kaldi" else [*in_hertz, f]
        height = 2 / (in_hertz[2] - in_hertz[0]) if layer.area else 1
        y[:, m] += max(0, min((f - a) / (b - a), (c - f) / (c - b))) * height * powers[:, k]
    if layer.log != "none":
        y = (10 / math.log(10) if layer.log == "decibel" else 1) * np.log(np.maximum(y, layer.floor))
    return y, new


def mfcc(layer, weights, xs, states):
    z, new = mel_spectrogram(layer, weights, xs, states)
    y = np.zeros((len(z), layer.coefficients))
    for k in range(layer.coefficients):
        lift = 1 + layer.lifter / 2 * math.sin(math.pi * k / layer.lifter) if layer.lifter else 1
        for m in range(layer.bands):
            cosine = math.sqrt((2 if k else 1) / layer.bands) * math.cos(math.pi * k * (m + 0.5) / layer.bands)
            y[:, k] += lift * cosine * z[:, m]
    return y, new


def steps_of(xs):
    """What has one step, perhaps for want of a time axis, repeated over the steps of the others."""
    steps = next((len(x) for x in xs if len(x) != 1), 1)
    return [x if len(x) == steps else np.repeat(x, steps, 0) for x in xs]


def add(layer, weights, xs, states):
    return sum(steps_of(xs)), ()


def multiply(layer, weights, xs, states):
    return math.prod(steps_of(xs)), ()


def concat(layer, weights, xs, states):
    return np.concatenate(steps_of(xs), 1), ()


def alarm(layer, weights, xs, states):
    """A plain loop over classes and steps; comparisons are those of float32."""
    x = xs[0].astype(np.float32)
    names = ["run"] * (layer.patience > 1) + ["low"] * (layer.hold > 0) + ["on"]
    seen = int(states[len(names)][0]) if states and layer.warm_up else 0
    start = dict(zip(names, states or np.zeros((3, x.shape[1])), strict=False))
    y, ends = np.zeros(x.shape), {name: np.zeros(x.shape[1]) for name in names}
    for k in range(x.shape[1]):
        threshold = layer.threshold[k] if isinstance(layer.threshold, tuple) else layer.threshold
        release = threshold if layer.release is None else layer.release
        run, low, on = (start.get(name, np.zeros(x.shape[1]))[k] for name in ("run", "low", "on"))
        for t in range(len(x)):
            before = on
            is_early = seen + t < layer.warm_up
            if threshold is not None:
                run = run + 1 if not is_early and x[t, k] >= np.float32(threshold) else 0
                low = low + 1 if is_early or x[t, k] < np.float32(release) else 0
                if run >= layer.patience:
                    on = 1
                elif low > layer.hold:
                    on = 0
            y[t, k] = on and not before if layer.output == "event" else on
        found = {"run": min(run, layer.patience), "low": min(low, layer.hold + 1), "on": on}
        for name in names:
            ends[name][k] = found[name]
    count = (np.array([min(seen + len(x), layer.warm_up)]),) if layer.warm_up else ()
    return y, (*ends.values(), *count)


def missing(layer, weights, xs, states):
    """A plain loop over channels and steps."""
    (x,) = xs
    names = ["last"] * (layer.fill == "hold") + ["since"] * (layer.mark == "since")
    start = dict(zip(names, states or np.zeros((2, x.shape[1])), strict=False))
    y, marks = np.zeros(x.shape), np.zeros(x.shape)
    ends = {name: np.zeros(x.shape[1]) for name in names}
    for c in range(x.shape[1]):
        last, since = (start.get(name, np.zeros(x.shape[1]))[c] for name in ("last", "since"))
        for t in range(len(x)):
            is_there = math.isfinite(x[t, c])
            last = x[t, c] if is_there else last
            since = 0 if is_there else min(since + 1, layer.limit)
            y[t, c] = last if is_there or layer.fill == "hold" else 0
            marks[t, c] = since / layer.limit if layer.mark == "since" else not is_there
        for name in names:
            ends[name][c] = last if name == "last" else since
    return (y if layer.mark == "none" else np.concatenate([y, marks], 1)), tuple(ends.values())


def self_attention(layer, weights, xs, states):
    """Step by step and head by head. The states are the keys and values before; the last `count` of them are real."""
    x, H, D = xs[0].reshape(len(xs[0]), math.prod(xs[0].shape[1:])), layer.heads, layer.size
    keys, values, count = states or (*np.zeros((2, layer.context - 1, H * D)), np.zeros(1))
    k, v, real = list(keys), list(values), int(count[0])
    y = np.zeros((len(x), H * D))
    for t, step in enumerate(x):
        q, key, value = np.split(weights["input_weights"] @ step + weights["input_bias"], 3)
        k.append(key)
        v.append(value)
        real = min(real + 1, layer.context)
        for h in range(H):
            part = slice(h * D, (h + 1) * D)
            scores = [q[part] @ k[-1 - j][part] / math.sqrt(D) + weights["position"][h, j] for j in range(real)]
            shares, _ = softmax(layer, weights, (np.array(scores),), None)
            y[t, part] = sum(share * v[-1 - j][part] for j, share in enumerate(shares))
        real = min(real, layer.context - 1)
    y = y @ weights["output_weights"].T + weights["output_bias"]
    return y, (np.array(k[len(x) :]), np.array(v[len(x) :]), np.array([real])) if layer.context > 1 else ()


REFERENCES = {
    "alarm": alarm,
    "missing": missing,
    "sequence_input": normalized,
    "feature_input": normalized,
    "lstm": lstm,
    "bilstm": bilstm,
    "gru": gru,
    "bigru": bigru,
    "rnn": rnn,
    "last_step": last_step,
    "conv1d": conv1d,
    "max_pool1d": max_pool1d,
    "avg_pool1d": avg_pool1d,
    "global_max_pool1d": global_max_pool1d,
    "global_avg_pool1d": global_avg_pool1d,
    "global_sum_pool1d": global_sum_pool1d,
    "global_std_pool1d": global_std_pool1d,
    "attention_pool": attention_pool,
    "flatten": flatten,
    "word_embedding": word_embedding,
    "fully_connected": fully_connected,
    "conv2d": conv2d,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "global_avg_pool2d": global_avg_pool2d,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "softmax": softmax,
    "dropout": lambda layer, weights, xs, states: (xs[0], ()),
    "relu": lambda layer, weights, xs, states: (np.maximum(xs[0], 0), ()),
    "sigmoid": lambda layer, weights, xs, states: (sigmoid(xs[0]), ()),
    "tanh": lambda layer, weights, xs, states: (np.tanh(xs[0]), ()),
    "hard_sigmoid": lambda layer, weights, xs, states: (np.clip(layer.slope * xs[0] + layer.offset, 0, 1), ()),
    "leaky_relu": lambda layer, weights, xs, states: (np.where(xs[0] < 0, layer.slope, 1) * xs[0], ()),
    "elu": lambda layer, weights, xs, states: (np.where(xs[0] > 0, xs[0], layer.alpha * np.expm1(xs[0])), ()),
    "gelu": gelu,
    "silu": lambda layer, weights, xs, states: (xs[0] * sigmoid(xs[0]), ()),
    "rescale": rescale,
    "spectrogram": spectrogram,
    "mel_spectrogram": mel_spectrogram,
    "mfcc": mfcc,
    "window_statistics": window_statistics,
    "decimate": decimate,
    "delay": delay,
    "magnitude": magnitude,
    "self_attention": self_attention,
    "add": add,
    "multiply": multiply,
    "concat": concat,
}


def run(network, weights, entering, states):
    """One row through a whole network: ({output: y}, new states); entering is a dict by input layer."""
    values, found = {}, []
    left = None if states is None else list(states)
    for layer in network.layers:
        sources = network.reads[layer.name]
        timed = [network.signals[name].has_time for name in sources or [layer.name]]
        xs = [values[source] for source in sources] or [entering[layer.name]]
        xs = tuple(x if has_time else x[None] for x, has_time in zip(xs, timed, strict=True))
        own = None
        if left is not None:
            count = len(layer.states(*network.signals_into(layer.name)))
            own, left = tuple(np.array(state, float) for state in left[:count]), left[count:]
        arrays = {name: np.array(w, float) for name, w in weights[layer.name].items()}
        y, new = REFERENCES[layer.kind](layer, arrays, xs, own)
        values[layer.name] = y if any(timed) else y[0]
        found += new if left is not None else ()
    return {name: values[name] for name in network.outputs}, tuple(found)
