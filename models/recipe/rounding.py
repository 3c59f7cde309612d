"""Rounds the weights of a convolution to int8 so that what comes out of it moves least.

Weights are rounded one input at a time, and what rounding got wrong is made good by the inputs that
are not rounded yet, as far as these vary along with it over the calibration pictures (GPTQ, Frantar
et al. 2022). A shift of the mean does not count here: it is taken out of the bias, exactly.
"""

import numpy as np

POSITIONS = 64  # of each picture, at random
LEAST_NOISE = 1e-3  # of the mean variance, added to each input's own


def attributes(node):
    """Whole numbers and lists of them, by name."""
    return {a.name: a.i or list(a.ints) for a in node.attribute}


class Inputs:
    """Mean and covariance of what one convolution multiplies its weights with.

    All inputs of all channels together, [in·k·k]; of a depthwise one, channel by channel, [in, k·k].
    """

    def __init__(self, node, kernel, seed):
        given = attributes(node)
        self.kernel, self.stride, self.pads = kernel, given["strides"][0], given["pads"]
        self.depthwise = given["group"] > 1
        self.rng = np.random.default_rng(seed)
        self.count, self.total, self.products = 0, 0.0, 0.0

    def patches(self, x):
        """[(in,) pictures·positions, width] at positions that all pictures of the batch share."""
        top, left, bottom, right = self.pads
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.kernel, self.kernel), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride]
        picked = self.rng.permutation(windows.shape[2] * windows.shape[3])[:POSITIONS]
        windows = windows[:, :, picked // windows.shape[3], picked % windows.shape[3]]
        channels, area = x.shape[1], self.kernel**2
        if self.depthwise:
            return windows.transpose(1, 0, 2, 3, 4).reshape(channels, -1, area)
        return windows.transpose(0, 2, 1, 3, 4).reshape(-1, channels * area)

    def add(self, x):
        rows = self.patches(x)
        self.count += rows.shape[-2]
        self.total = self.total + rows.sum(axis=-2, dtype=np.float64)
        self.products = self.products + (np.swapaxes(rows, -1, -2) @ rows).astype(np.float64)

    def mean(self):
        return self.total / self.count

    def covariance(self):
        mean = self.mean()
        return self.products / self.count - mean[..., :, None] * mean[..., None, :]

    def round(self, weight, scale, noise):
        """int8 for `weight` [out, ...] in steps of `scale` [out]; `noise`: variance of rounding the inputs."""
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        covariance = self.covariance()
        noise += LEAST_NOISE * np.diagonal(covariance, axis1=-2, axis2=-1).mean()
        covariance += noise * np.eye(rows.shape[1])
        if self.depthwise:
            return with_feedback(rows[:, None], covariance, scale[:, None]).reshape(weight.shape)
        return with_feedback(rows, covariance, scale).reshape(weight.shape)

    def mean_shift(self, change):
        """How far a change of the weights moves each output on the mean input."""
        return (change.reshape(len(change), -1) * self.mean()).sum(axis=1, dtype=np.float64)


def with_feedback(rows, covariance, scale):
    """int8 for `rows` [..., out, in] in steps of `scale` [..., out]; `covariance` [..., in, in]."""
    width = rows.shape[-1]
    # What varies most comes first, while there is most left to make up for it.
    order = np.argsort(-np.diagonal(covariance, axis1=-2, axis2=-1).reshape(-1, width).sum(axis=0))
    inverse = np.linalg.inv(covariance[..., order[:, None], order])
    factor = np.swapaxes(np.linalg.cholesky(inverse), -1, -2)
    left, out = rows[..., order], np.empty(rows.shape, np.int8)
    for i, place in enumerate(order):
        out[..., place] = whole = np.clip(np.rint(left[..., i] / scale), -127, 127)
        wrong = (left[..., i] - whole * scale) / factor[..., i, i, None]
        left[..., i + 1 :] -= wrong[..., None] * factor[..., i, None, i + 1 :]
    return out
