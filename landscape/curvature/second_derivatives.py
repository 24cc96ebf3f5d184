"""Functions without a second derivative that PyTorch does not tell of.

The backward pass of a function marked `once_differentiable` ends in a node that raises an error when it is
differentiated, but that lies on no way to any parameter: `torch.autograd.grad` for chosen parameters never reaches it,
and gives the second derivative as if what the function passed on were constant. The number is wrong and nothing says
so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from landscape.errors import NotApplicableError

_MISSING = ("derivative for", "forward AD with", "forward mode AD")  # how the messages begin, or go on
_RAISING = "torch::autograd::Error"  # PyTorch's name of that node


def check_second_derivative(gradients: Iterable[Tensor | None], remedy: str) -> None:
    """Look through the graph of first derivatives for functions that cannot be differentiated again.

    Args:
        gradients: first derivatives with a graph of their own (`create_graph=True`), and the value that they are of.
        remedy: what to do instead, the end of the message.

    Raises:
        NotApplicableError: there is one; names it.

    Cost: a visit of every node of the graph, a microsecond each.
    """
    hidden, once = False, set()
    for node in _nodes(gradient.grad_fn for gradient in gradients if gradient is not None):
        hidden = hidden or node.name() == _RAISING
        function = getattr(type(node), "_forward_cls", None)  # of a function that is written in Python
        if function is not None and hasattr(function.backward, "__wrapped__"):
            once.add(function.__name__)
    if hidden:
        names = ", ".join(sorted(once)) or "a function of the network"
        raise NotApplicableError(f"{names} has no second derivative (it is marked once_differentiable); {remedy}")


@contextmanager
def missing_derivatives(remedy: str) -> Iterator[None]:
    """Tell of a kernel that PyTorch has no second derivative, or no forward mode, for.

    Raises:
        NotApplicableError: inside the block one was met; names it as PyTorch does.
    """
    try:
        yield
    except RuntimeError as error:
        words = str(error).splitlines()[0] if str(error) else ""
        if not any(pattern in words for pattern in _MISSING):
            raise
        kernel = words.rstrip(".").partition(" that does not support it")[0]
        raise NotApplicableError(f"PyTorch cannot differentiate this network so ({kernel}); {remedy}") from error


def _nodes(roots: Iterable[Any]) -> Iterator[Any]:
    seen: set[Any] = set()
    waiting = [root for root in roots if root is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [further for further, _ in node.next_functions if further is not None]
