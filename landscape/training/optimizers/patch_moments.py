"""The second moment of a convolution's patches, without the patches.

    A[(c, i, j), (c', i', j')] = (1/M) sum_{b, y, x} p[b, c, y + i, x + j] p[b, c', y + i', x + j'],     M = B Y X

for the padded input p and offsets (i, j) of the kernel. Where rows go by steps of one, the sum over y of the pair
(i, i') is that of (0, i' - i) moved by i rows: the rows y < i leave it and as many enter at the end. So the kernel's
columns are laid out and its rows are not: V products in place of V^2, and V times less memory than all patches take.

Legend: B samples, C channels, H rows of p, Y, X output rows and columns, V, W rows and columns of the kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


def moves_by_rows(layer: nn.Conv2d) -> bool:
    """Whether `patch_moment` knows the layer: stride and dilation of one along the rows."""
    return layer.stride[0] == 1 and layer.dilation[0] == 1


def patch_moment(layer: nn.Conv2d, p_BCHW: Tensor, bias: bool) -> Tensor:
    """A (I, I) of the padded input, I = C V W in the order of the layer's weights, and a 1 last if `bias`.

    Cost: V (C W)^2 M multiplications, and a copy of W times the input.
    """
    C, (V, W) = p_BCHW.shape[1], layer.kernel_size
    stride, dilation = layer.stride[1], layer.dilation[1]
    X = (p_BCHW.shape[3] - dilation * (W - 1) - 1) // stride + 1
    columns = [p_BCHW[..., j * dilation : j * dilation + stride * (X - 1) + 1 : stride] for j in range(W)]
    # (C, W, H, B, X): a range of rows is a range of columns of the matrix, without a copy.
    z = torch.stack([column.permute(1, 2, 0, 3) for column in columns], 1).flatten(3)
    line, Y = z.shape[3], p_BCHW.shape[2] - V + 1
    z = z.reshape(C * W, -1)

    def rows(first: int, count: int) -> Tensor:
        return z[:, first * line : (first + count) * line]

    A = z.new_empty(C, V, W, C, V, W)
    for apart in range(V):
        block = rows(0, Y) @ rows(apart, Y).mT
        for i in range(V - apart):
            if i > 0:
                block = block + rows(Y + i - 1, 1) @ rows(Y + i - 1 + apart, 1).mT
                block = block - rows(i - 1, 1) @ rows(i - 1 + apart, 1).mT
            four = block.view(C, W, C, W)
            A[:, i, :, :, i + apart, :] = four
            if apart:
                A[:, i + apart, :, :, i, :] = four.permute(2, 3, 0, 1)
    moment = A.view(C * V * W, C * V * W) / (Y * line)
    if not bias:
        return moment
    sums = z.view(C * W, -1, line).sum(2)
    means = torch.stack([sums[:, i : i + Y].sum(1) for i in range(V)]).view(V, C, W).transpose(0, 1).flatten()
    means = means / (Y * line)
    whole = pad(moment, (0, 1, 0, 1), value=1.0)
    whole[-1, :-1] = whole[:-1, -1] = means
    return whole
