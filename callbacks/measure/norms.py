"""L2 norms of many tensors, by few kernels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

foreach_norm: Any = torch._foreach_norm  # type: ignore[attr-defined]  what clip_grad_norm_ calls

TAKES_DTYPE = "dtype" in str(torch.ops.aten._foreach_norm.Scalar._schema)
"""False before PyTorch 2.4."""


def l2_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Returns `(k,)` L2 norms of the real tensors of one device, float64 if any of them is, else float32.

    Squares are added up in float64, in which they neither overflow nor underflow, and sums over millions of values
    keep their digits; on MPS, which has no float64, in float32. Waits for no device.

    Example:
        >>> l2_norms([torch.tensor([3.0, 4.0]), torch.full((4,), 2.0**-100)]) / torch.tensor([1.0, 2.0**-100])
        tensor([5., 2.])
    """
    precise = torch.float32 if tensors[0].device.type == "mps" else torch.float64
    if TAKES_DTYPE:
        norms = torch.stack(foreach_norm(tensors, 2, precise))
    else:
        norms = torch.stack(
            [torch.linalg.vector_norm(tensor, dtype=precise) for tensor in tensors]
        )
    is_double = any(tensor.dtype == torch.float64 for tensor in tensors)
    return norms if is_double else norms.float()
