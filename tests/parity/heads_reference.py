"""What every head must answer: an independent float64 reference, written from the papers.

python heads_reference.py FOLDER writes one JSON file a case: support, queries and, for each head,
the scores of the queries. Needs numpy alone. Convex heads are solved by Newton's method to
1e-12; the trainings of clip-adapter and tip-f are followed step by step, from the same splitmix64.
"""

import json
import sys
from pathlib import Path

import numpy as np

U64 = (1 << 64) - 1


class Random:
    """splitmix64; uniform numbers are its upper 53 bits."""

    def __init__(self, seed):
        self.state = seed

    def uniform(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & U64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
        return ((z ^ (z >> 31)) >> 11) / 2.0**53

    def matrix(self, rows, columns):
        return np.array([[self.uniform() for _ in range(columns)] for _ in range(rows)])

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = int(self.uniform() * (i + 1))
            items[i], items[j] = items[j], items[i]


def unit(a):
    length = np.linalg.norm(a, axis=1, keepdims=True)
    return np.where(length > 0, a / np.where(length > 0, length, 1), a)


def softmax(s):
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(s, y, w):
    """Weighted mean loss and its gradient by the scores."""
    top = s.max(axis=1)
    loss = top + np.log(np.exp(s - top[:, None]).sum(axis=1)) - s[np.arange(len(y)), y]
    p = softmax(s)
    p[np.arange(len(y)), y] -= 1
    return (w * loss).sum() / w.sum(), p * (w / w.sum())[:, None]


class Case:
    def __init__(self, seed, d, counts, named, views, scale):
        rng = np.random.default_rng(seed)
        self.k, self.d, self.scale = len(counts), d, scale
        centre, side = rng.normal(size=d), rng.normal(size=d)
        own = rng.normal(size=(self.k, d))
        self.y = np.repeat(np.arange(self.k), counts)
        draw = lambda y: unit(centre + 0.7 * own[y] + 0.5 * rng.normal(size=(len(y), d))).astype("f4")
        self.x = draw(self.y)
        # Every `views` neighbours of a class are one burst.
        self.bursts = np.array([100 * y + i // views for y, n in enumerate(counts) for i in range(n)])
        self.text = unit(side + 0.5 * own + 0.3 * rng.normal(size=own.shape)).astype("f4")
        self.text[[k for k in range(self.k) if not named[k]]] = 0
        self.queries = draw(np.arange(7) % self.k)
        self.f, self.q, self.t = (a.astype("f8") for a in (self.x, self.queries, self.text))
        keys = list(zip(self.y, self.bursts))
        self.w = np.array([1 / keys.count(key) for key in keys])
        self.n = self.w.sum()
        self.counts = np.bincount(self.y, self.w, self.k)
        self.named = np.array(named)

    def means(self):
        onehot = np.eye(self.k)[self.y] * self.w[:, None]
        return (onehot.T @ self.f) / np.maximum(self.counts, 1e-300)[:, None]

    def across(self, rows, have, onto, to):
        both = have & to
        here, there = (both, both) if both.sum() > 1 else (have, to)
        return unit(rows + onto[there].mean(axis=0) - rows[here].mean(axis=0))

    def start(self):
        text = unit(self.t)
        if self.named.all():
            return text
        means = unit(self.means())
        if self.named.any():
            means = self.across(means, self.counts > 0, text, self.named)
        return np.where(self.named[:, None], text, means)

    def linear(self, w, b=0.0):
        return self.q @ w.T + b


def newton(value, x, least_bend=1e-11):
    """Newton's method; the Hessian by central differences of the gradient, its bends made positive.

    Ways that bend less than `least_bend` of the largest are free, and stay."""
    for _ in range(200):
        loss, g = value(x)
        if np.abs(g).max() < 1e-12:
            break
        h = 1e-5
        hessian = np.array([(value(x + h * e)[1] - value(x - h * e)[1]) / (2 * h) for e in np.eye(len(x))])
        bends, ways = np.linalg.eigh((hessian + hessian.T) / 2)
        flat = np.abs(bends) < least_bend * np.abs(bends).max()
        step = -ways @ np.where(flat, 0, (ways.T @ g) / np.where(flat, 1, np.abs(bends)))
        size = 1.0
        # Near the end the loss is flat to the last digit, and the gradient tells more.
        while np.abs(g).max() > 1e-5 and value(x + size * step)[0] > loss and size > 1e-9:
            size /= 2
        x = x + size * step
    assert np.abs(value(x)[1]).max() < 1e-11, np.abs(value(x)[1]).max()
    return x


def zero_shot(c):
    return c.linear(c.scale * unit(c.t))


def nearest_mean(c):
    means = unit(c.means())
    have = c.counts > 0
    if not have.all():
        text = c.across(unit(c.t), c.named, means, have)
        means = np.where(have[:, None], means, text)
    return c.linear(c.scale * means)


def linear_probe(c):
    # Measured from the mean, which the free bias makes good: else bias and weights nearly trade.
    centre = (c.w @ c.f) / c.n
    x = c.f - centre

    # A class without shots stands outside.
    shot = np.flatnonzero(c.counts > 0)
    y, size = np.searchsorted(shot, c.y), len(shot) * c.d

    def value(p):
        w, b = p[:size].reshape(-1, c.d), p[size:]
        loss, g = cross_entropy(c.scale * x @ w.T + b, y, c.w)
        dw = c.scale * g.T @ x + 0.01 * w
        return loss + 0.005 * (w**2).sum(), np.concatenate([dw.ravel(), g.sum(axis=0)])

    p = newton(value, np.zeros(size + len(shot)))
    scores = np.full((len(c.q), c.k), -c.scale)
    # The same shift of all biases changes no answer: of all equal minima, the one that sums to 0.
    bias = p[size:] - p[size:].mean()
    scores[:, shot] = c.scale * (c.q - centre) @ p[:size].reshape(-1, c.d).T + bias
    return scores


def tied(c, penalty):
    t = c.start()

    def value(p):
        w = p.reshape(t.shape)
        loss, g = cross_entropy(c.scale * c.f @ w.T, c.y, c.w)
        return loss + penalty / 2 * ((w - t) ** 2).sum(), (c.scale * g.T @ c.f + penalty * (w - t)).ravel()

    return c.linear(c.scale * newton(value, t.ravel()).reshape(t.shape))


def clap(c):
    t = c.start()
    p = softmax(c.scale * c.f @ t.T)[np.arange(len(c.y)), c.y]
    trust = np.array([(c.w * p)[c.y == k].sum() / c.counts[k] if c.counts[k] else 1.0 for k in range(c.k)])

    def value(v):
        v = v.reshape(t.shape)
        w = unit(v)
        loss, g = cross_entropy(c.scale * c.f @ w.T, c.y, c.w)
        dw = c.scale * g.T @ c.f + 2 * trust[:, None] * (w - t)
        dv = (dw - w * (w * dw).sum(axis=1, keepdims=True)) / np.linalg.norm(v, axis=1, keepdims=True)
        return loss + (trust * ((w - t) ** 2).sum(axis=1)).sum(), dv.ravel()

    return c.linear(c.scale * unit(newton(value, t.ravel(), 1e-7).reshape(t.shape)))


def gda(c):
    m = (c.w @ c.f) / c.n
    means = np.where((c.counts > 0)[:, None], c.means(), m)
    around = m if (c.counts <= 1 + 1e-9).all() else means[c.y]
    scatter = ((c.f - around) * c.w[:, None]).T @ (c.f - around)
    trace = np.trace(scatter) / max(c.n - 1, 1)
    trace = trace if trace >= 1e-9 else 1.0
    p = np.linalg.inv((scatter + trace * np.eye(c.d)) / c.d)
    apart = means - m
    discriminant = (c.q - m) @ p @ apart.T - 0.5 * np.einsum("kd,de,ke->k", apart, p, apart)
    return c.linear(c.scale * c.start()) + discriminant


class Adam:
    def __init__(self, decay=0.0):
        self.m, self.v, self.t, self.decay = 0, 0, 0, decay

    def step(self, x, g, rate):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return x * (1 - rate * self.decay) - rate * m / (np.sqrt(v) + 1e-8)


def cosine(rate, t, steps):
    return 0.5 * rate * (1 + np.cos(np.pi * t / steps))


def tip(c, trained):
    t, onehot, keys = c.start(), np.eye(c.k)[c.y], c.f.copy()
    near = lambda f: np.exp(-5.5 * (1 - f @ keys.T)) * c.w
    adam = Adam()
    for step in range(100 if trained else 0):
        a = near(c.f)
        _, g = cross_entropy(c.scale * c.f @ t.T + a @ onehot, c.y, c.w)
        keys = adam.step(keys, 5.5 * ((g @ onehot.T) * a).T @ c.f, cosine(1e-3, step, 100))
    return c.linear(c.scale * t) + near(c.q) @ onehot


def bottleneck(weights, share, x):
    """Blended unit rows, and the function from their gradient to that of the weights."""
    down, up = weights
    hidden = np.maximum(x @ down.T, 0)
    raw = hidden @ up.T
    mixed = share * np.maximum(raw, 0) + (1 - share) * x
    length = np.linalg.norm(mixed, axis=1, keepdims=True)
    out = mixed / length

    def back(d_out):
        d_mixed = (d_out - out * (out * d_out).sum(axis=1, keepdims=True)) / length
        d_raw = share * d_mixed * (raw > 0)
        d_hidden = (d_raw @ up) * (hidden > 0)
        return [d_hidden.T @ x, d_raw.T @ hidden]

    return out, back


def clip_adapter(c, alpha, beta, training, seed=7):
    t, h, random = c.start(), max(c.d // 4, 1), Random(seed)
    draw = lambda rows, fan_in: (2 * random.matrix(rows, fan_in) - 1) / np.sqrt(fan_in)
    weights = [draw(*shape) for share in (alpha, beta) if share > 0 for shape in ((h, c.d), (c.d, h))]
    visual = lambda: weights[:2] if alpha > 0 else None
    textual = lambda: weights[-2:] if beta > 0 else None

    def sides(x):
        f = bottleneck(visual(), alpha, x) if alpha > 0 else (x, lambda d: [])
        w = bottleneck(textual(), beta, t) if beta > 0 else (t, lambda d: [])
        return f, w

    def gradient(rows):
        (f, back), (w, back_text) = sides(c.f[rows])
        _, g = cross_entropy(c.scale * f @ w.T, c.y[rows], c.w[rows])
        return back(c.scale * g @ w) + back_text(c.scale * g.T @ f)

    if training == "full":
        adams = [Adam(1e-4) for _ in weights]
        for step in range(200):
            g = gradient(np.arange(len(c.y)))
            weights[:] = [a.step(w, d, cosine(1e-3, step, 200)) for a, w, d in zip(adams, weights, g)]
    if training == "authors":
        shots = c.n / (c.counts > 0).sum()
        epochs = 50 if shots <= 1 else 100 if shots <= 4 else 200
        speed, order = [0.0 for _ in weights], list(range(len(c.y)))
        for epoch in range(epochs):
            rate = 1e-5 if epoch == 0 else cosine(0.002, epoch - 1, epochs)
            random.shuffle(order)
            batches = [order[i : i + 32] for i in range(0, len(order), 32)]
            for rows in [b for b in batches if len(b) == 32 or len(batches) == 1]:
                g = gradient(np.array(rows))
                speed = [0.9 * v + d + 5e-4 * w for v, d, w in zip(speed, g, weights)]
                weights[:] = [w - rate * v for w, v in zip(weights, speed)]
    (f, _), (w, _) = sides(c.q)
    return c.scale * f @ w.T


HEADS = {
    "zero-shot": zero_shot,
    "nearest-mean": nearest_mean,
    "linear-probe": linear_probe,
    "taskres": lambda c: tied(c, 100),
    "clap": clap,
    "residual-linear": lambda c: tied(c, 3000 / c.n),
    "gda": gda,
    "tip": lambda c: tip(c, False),
    "tip-f": lambda c: tip(c, True),
    "clip-adapter start": lambda c: clip_adapter(c, 0.2, 0.3, "none"),
    "clip-adapter visual full": lambda c: clip_adapter(c, 0.2, 0, "full"),
    "clip-adapter text full": lambda c: clip_adapter(c, 0, 0.3, "full"),
    "clip-adapter both full": lambda c: clip_adapter(c, 0.2, 0.3, "full"),
    "clip-adapter visual authors": lambda c: clip_adapter(c, 0.2, 0, "authors"),
    "clip-adapter both authors": lambda c: clip_adapter(c, 0.6, 0.3, "authors"),
}

CASES = {
    # Bursts of two, unbalanced, more rows than a batch.
    "named": Case(1, 13, [20, 9, 6], [True, True, True], 2, 100.0),
    # A class known by name alone beside two known by shots alone.
    "half": Case(2, 9, [3, 5, 0, 1], [True, False, True, False], 1, 15.0),
    # One shot a class, no names.
    "bare": Case(3, 10, [1, 1, 1], [False, False, False], 1, 100.0),
}


def main(folder):
    for name, case in CASES.items():
        heads = {n: h for n, h in HEADS.items() if n != "zero-shot" or case.named.all()}
        out = {
            "scale": case.scale,
            "features": case.x.tolist(),
            "labels": case.y.tolist(),
            "bursts": case.bursts.tolist(),
            "text": case.text.tolist(),
            "queries": case.queries.tolist(),
            "scores": {n: np.round(head(case), 9).tolist() for n, head in heads.items()},
        }
        text = json.dumps(out).replace("], [", "],\n[").replace("}, ", "},\n").replace(', "', ',\n"')
        Path(folder, f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
