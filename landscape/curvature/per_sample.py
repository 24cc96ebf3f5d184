"""Per-sample gradients, layer by layer, never held for the whole network at once.

A forward pass notes every layer's input; during one backward pass the gradient at a layer's output arrives, the
layer's rule (`landscape.curvature.layer_rules`) forms the gradients of its parameters for a few samples at a time, a
consumer reduces them, and they are dropped. A parameter that no rule covers (of a module with modules inside, of a
recurrent layer, a weight used outside its module) is found by comparing with plain autograd on three samples, and takes
`vmap(grad)` for itself alone, or one backward pass a sample where `vmap` refuses the network.

Legend: N samples.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from landscape.curvature.gram_norms import InputGrams, grams_pay
from landscape.curvature.layer_rules import Rule, rule_of, ruled_leaves, working_size
from landscape.errors import NotApplicableError
from landscape.problem import Batch, Problem, Theta
from landscape.work import charge

Consumer = Callable[[str, int, slice, Tensor], None]
NumberedConsumer = Callable[[int, str, int, slice, Tensor], None]
Norms = Callable[[int, str, Tensor], None]
Value = Callable[[Theta, Batch], Tensor]  # one value a sample, (N,)
# What a rule works on at once: some of what the cache of a core holds for each thread, which would wait for the others
# after every small product; an accelerator wants larger ones.
_SCALARS_A_THREAD = 2**20
_SCALARS_ON_ACCELERATOR = 2**26
_SCALARS_BY_VMAP = 2**24
_FACTORS = (1.0, 0.61, 0.83)  # of the samples that rules are compared on; of one sign, so that none cancels another


class PerSampleGradients:
    """The gradients of l_n for the samples of one batch after another.

    Args:
        problem: the problem; its parameters are read once, now.

    Raises:
        NotApplicableError: BatchNorm in train mode makes the samples depend on each other.
    """

    def __init__(self, problem: Problem) -> None:
        if problem.bn == "train":
            raise NotApplicableError("with --bn train the samples of a group depend on each other")
        self._problem = problem
        self._theta = problem.parameters
        self._owners = _owners(problem.model, set(self._theta))
        self._shares = False
        self._ruled = {name for name, owners in self._owners.items() if all(rule_of(m) for m, _ in owners)}
        self._ruled = self._proven()
        self._others = [name for name in self._theta if name not in self._ruled]
        self._vectorised = self._vectorises()

    def run(self, batch: Batch, consume: Consumer) -> None:
        """Hand the gradients of every parameter to `consume`.

        Args:
            batch: the samples.
            consume: called as consume(name, piece, rows, G) with G (n, size) the gradients of samples `rows` of the
                batch with respect to a piece of the parameter, `cut(name, parameter)[piece]`; each sample and piece
                comes exactly once. G may be overwritten.

        Cost: that of one gradient pass, whose weight gradients are formed sample by sample; memory that of a training
        step and a few million scalars.
        """
        if self._ruled:
            self._by_rules(
                batch,
                lambda outputs: [self._problem.losses_of(outputs, batch)],
                lambda _, name, piece, rows, G: consume(name, piece, rows, G),
            )
        self._without_rules(batch, self._problem.losses, consume)

    def cut(self, name: str, tensor: Tensor) -> list[Tensor]:
        """The pieces of a tensor of the parameter's shape, flattened, as gradients are handed over."""
        return [view.reshape(-1) for view in self._views(name, tensor)]

    def join(self, name: str, pieces: Sequence[Tensor]) -> Tensor:
        """The tensor (..., *shape of the parameter) that `cut` would cut into `pieces` (..., size): its inverse."""
        lead = pieces[0].shape[:-1]
        whole = pieces[0].new_empty(*lead, *self._theta[name].shape)
        for view, piece in zip(self._views(name, whole), pieces, strict=True):
            view.copy_(piece.view_as(view))
        return whole

    def _views(self, name: str, tensor: Tensor) -> list[Tensor]:
        """The pieces of a tensor (..., *shape of the parameter) as views."""
        if name not in self._ruled:
            return [tensor]
        module, leaf = self._owners[name][0]
        return _rule(module).views(leaf, tensor)

    @property
    def batched(self) -> bool:
        """Whether no parameter takes a backward pass a sample."""
        return not self._others or self._vectorised

    def pull(
        self,
        batch: Batch,
        choose: Callable[[Tensor], Sequence[Tensor]],
        consume: NumberedConsumer,
        *,
        norms: Norms | None = None,
        products_too: bool = False,
    ) -> None:
        """Hand the products J_n' c_n of the parameter Jacobian with chosen cotangents to `consume`.

        Args:
            batch: the samples.
            choose: the outputs (N, ...), detached -> r cotangents of their shape.
            consume: called as consume(j, name, piece, rows, G): G (n, size) are the products of cotangent j and the
                samples `rows` for a piece of the parameter, see `run`; each j, sample and piece comes exactly once.
            norms: where squared norms are wanted: called as norms(j, name, squares) with squares (N,) for the
                parameters whose norms cost less than their products (`landscape.curvature.gram_norms`), before
                the products of that j and parameter would be handed to `consume`.
            products_too: whether those products are handed over all the same.

        Cost: a forward pass, and a backward pass a cotangent whose weight gradients are formed sample by sample.
        """
        problem = self._problem
        cotangents: list[Tensor] = []

        def values(outputs: Tensor) -> list[Tensor]:
            cotangents.extend(choose(outputs.detach()))
            return [_dot(outputs, c) for c in cotangents]

        if self._ruled:
            self._by_rules(batch, values, consume, norms=norms, products_too=products_too)
        else:
            with torch.no_grad():
                values(problem.outputs(self._theta, batch.inputs))
            charge("forward", len(batch))
        for j, c in enumerate(cotangents if self._others else ()):
            # the cotangents go along as the targets, so that they are cut as the samples are
            self._without_rules(
                replace(batch, targets=c),
                lambda theta, some: _dot(problem.outputs(theta, some.inputs), some.targets),
                functools.partial(consume, j),
            )

    def _without_rules(self, batch: Batch, value: Value, consume: Consumer) -> None:
        """The gradients of the parameters that have no rule."""
        if self._others and self._vectorised:
            self._by_vmap(batch, value, consume)
        elif self._others:
            self._one_by_one(batch, value, consume)

    def _by_rules(
        self,
        batch: Batch,
        values: Callable[[Any], Sequence[Tensor]],
        consume: NumberedConsumer,
        *,
        norms: Norms | None = None,
        products_too: bool = False,
        trial: bool = False,
    ) -> set[str]:
        """Run the rules on each of `values` (N,); returns the parameters that a call of another form made unusable.

        In a `trial` those whose rule fails are among these.
        """
        # a zero is added to each layer's output: it takes the place of the weights as what is differentiated by, so
        # that autograd passes every layer but never forms the batch's own weight gradients
        tap = torch.zeros((), dtype=self._problem.dtype, device=self._problem.device, requires_grad=True)
        calls: dict[str, int] = defaultdict(int)
        sums: dict[str, Tensor] = {}
        unusable: set[str] = set()
        number = 0
        wanted: Sequence[Tensor] = ()
        on_cpu = self._problem.device.type == "cpu"
        at_once = _SCALARS_A_THREAD * torch.get_num_threads() if on_cpu else _SCALARS_ON_ACCELERATOR
        names = {
            (id(module), leaf): name
            for name, owners in self._owners.items()
            if name in self._ruled
            for module, leaf in owners
        }

        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
            mine = {leaf: names[id(module), leaf] for leaf in ruled_leaves(module) if (id(module), leaf) in names}
            whole = isinstance(output, Tensor) and len(inputs) == 1 and isinstance(inputs[0], Tensor)
            a, output = self._each_sample(inputs[0].detach(), output, len(batch)) if whole else (None, output)
            if a is None or a.shape[:1] != (len(batch),) or output.shape[:1] != (len(batch),):
                unusable.update(mine.values())
                return None
            for name in mine.values():
                calls[name] += 1
            frozen = _with_buffers(module)
            tapped: Tensor = output + tap

            @functools.cache
            def grams() -> InputGrams:
                return InputGrams(frozen, a, at_once)

            tapped.register_hook(lambda s: differentiate(frozen, a, s, mine, grams))  # type: ignore[no-untyped-call]
            return tapped

        def differentiate(
            module: nn.Module, a: Tensor, s: Tensor, mine: Mapping[str, str], grams: Callable[[], InputGrams]
        ) -> None:
            try:
                weight = mine.get("weight")
                cheap = weight is not None and calls[weight] == 1 and grams_pay(module, a, s, len(wanted))
                if norms is not None and weight is not None and cheap:
                    norms(number, weight, grams().squared_norms(module, s))
                    if not products_too:
                        mine = {leaf: name for leaf, name in mine.items() if leaf != "weight"}
                hand_over(module, a, s, mine)
            except (RuntimeError, ValueError, TypeError, IndexError):
                if not trial:
                    raise
                unusable.update(mine.values())

        def hand_over(module: nn.Module, a: Tensor, s: Tensor, mine: Mapping[str, str]) -> None:
            rule, step = _rule(module), max(1, at_once // working_size(module, a, s))
            for leaf, name in mine.items():
                # what several modules or calls share is summed whole: each may cut it in its own way
                alone = calls[name] == 1
                if not alone and name not in sums:
                    sums[name] = s.new_zeros(len(batch), *self._theta[name].shape)
                views = [] if alone else rule.views(leaf, sums[name])
                for low in range(0, len(batch), step):
                    rows = slice(low, min(low + step, len(batch)))
                    for piece, G in enumerate(rule.pieces(module, leaf, a[rows], s[rows])):
                        if alone:
                            consume(number, name, piece, rows, G)
                        else:
                            views[piece][rows] += G.view_as(views[piece][rows])

        with ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            modules = {id(m): m for name in self._ruled for m, _ in self._owners[name]}
            for module in modules.values():
                stack.callback(module.register_forward_hook(note).remove)
            wanted = values(self._problem.outputs(self._theta, batch.inputs))
            charge("forward", len(batch))
            for number, value in enumerate(wanted):
                sums.clear()
                if value.requires_grad:
                    torch.autograd.grad(value.sum(), tap, retain_graph=number + 1 < len(wanted))
                charge("backward", len(batch))
                for name in self._ruled - unusable:
                    if not calls[name]:
                        sums[name] = self._theta[name].new_zeros(len(batch), *self._theta[name].shape)
                for name, total in sums.items():
                    for piece, view in enumerate(self._views(name, total)):
                        consume(number, name, piece, slice(0, len(batch)), view.reshape(len(batch), -1))
        return unusable

    def _each_sample(self, a: Tensor, output: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """A layer's input and output, one for each sample where all share one: the places of a text, for instance."""
        if self._shares and count > 1 and a.shape[:1] == output.shape[:1] == (1,):
            return a.expand(count, *a.shape[1:]), output.expand(count, *output.shape[1:])
        return a, output

    def _by_vmap(self, batch: Batch, value: Value, consume: Consumer) -> None:
        fixed = {name: t for name, t in self._theta.items() if name not in self._others}
        moving = {name: self._theta[name] for name in self._others}

        def single(part: dict[str, Tensor], inputs: Any, targets: Any) -> Tensor:
            lifted = tree_map(lambda t: t[None], (inputs, targets))
            return value({**fixed, **part}, Batch(0, 1, lifted[0], lifted[1], batch.weights[:1]))[0]

        step = max(1, _SCALARS_BY_VMAP // sum(t.numel() for t in moving.values()))
        with sdpa_kernel(SDPBackend.MATH):
            for low in range(0, len(batch), step):
                rows = slice(low, min(low + step, len(batch)))
                inputs, targets = tree_map(lambda t, rows=rows: t[rows], (batch.inputs, batch.targets))
                found = vmap(grad(single), in_dims=(None, 0, 0))(moving, inputs, targets)
                for name, G in found.items():  # copies: gradients of added parameters are one tensor
                    consume(name, 0, rows, G.reshape(G.shape[0], -1).clone())
        charge("gradient", len(batch))

    def _one_by_one(self, batch: Batch, value: Value, consume: Consumer) -> None:
        leaves = {name: t.detach().requires_grad_(name in self._others) for name, t in self._theta.items()}
        wanted = [leaves[name] for name in self._others]
        for n in range(len(batch)):
            inputs, targets = tree_map(lambda t, n=n: t[n : n + 1], (batch.inputs, batch.targets))
            one = Batch(batch.start + n, batch.start + n + 1, inputs, targets, batch.weights[n : n + 1])
            with sdpa_kernel(SDPBackend.MATH):
                grads = torch.autograd.grad(value(leaves, one)[0], wanted, allow_unused=True, materialize_grads=True)
            for name, g in zip(self._others, grads, strict=True):
                consume(name, 0, slice(n, n + 1), g.reshape(1, -1).clone())
        charge("gradient", len(batch))

    def _vectorises(self) -> bool:
        """Whether `vmap` takes the network: recurrent layers and control flow that depends on the data it refuses."""
        if not self._others:
            return True
        try:
            self._by_vmap(self._few(), self._problem.losses, lambda name, piece, rows, G: None)
        except (RuntimeError, ValueError, TypeError):
            return False
        return True

    def _few(self) -> Batch:
        """Three samples from the first one that has a label: an ignored sample has no gradient to compare."""
        first = int(self._problem.weights.argmax()) if self._problem.weights[0] == 0 else 0
        return next(self._problem.batches(first, min(first + 3, len(self._problem)), size=3))

    def _proven(self) -> set[str]:
        """The parameters whose rules agree with plain autograd on three samples.

        What all samples share is handed to each of them, where more parameters agree so.
        """
        plain = self._agreeing()
        if len(plain) == len(self._theta):
            return plain
        self._shares = True
        try:
            shared = self._agreeing()
        except (RuntimeError, ValueError, TypeError, IndexError):  # the network wants the one
            shared = set()
        self._shares = len(shared) > len(plain)
        return shared if self._shares else plain

    def _agreeing(self) -> set[str]:
        """Those whose sum over the samples, each with a factor of its own, is that of plain autograd."""
        problem, batch = self._problem, self._few()
        # one backward pass for all samples: an error of one, or a mistaken order, cannot hide behind another's
        factors = torch.tensor(_FACTORS[: len(batch)], dtype=problem.dtype, device=problem.device)
        found = {name: torch.zeros_like(t) for name, t in self._theta.items()}

        def add(_: int, name: str, piece: int, rows: slice, G: Tensor) -> None:
            part = self._views(name, found[name])[piece]
            part += (factors[rows] @ G).view_as(part)

        unusable: set[str] = set()
        if self._ruled:
            unusable = self._by_rules(batch, lambda f: [problem.losses_of(f, batch)], add, trial=True)
        leaves = {name: t.detach().requires_grad_() for name, t in self._theta.items()}
        losses = problem.losses(leaves, batch)
        grads = torch.autograd.grad(losses, list(leaves.values()), factors, allow_unused=True, materialize_grads=True)
        norms = torch.stack([g.norm() for g in grads])
        errors = torch.stack([(found[name] - g).norm() for name, g in zip(leaves, grads, strict=True)])
        # error budget: two evaluations of a network in float32 differ by some 1e-5 of the gradient's size; a wrong
        # rule by its whole
        tolerance = 1e-2 if problem.dtype != torch.float64 else 1e-7
        # a gradient that is 0 but for rounding, as that of a key's bias in attention, is nobody's to agree on
        rounding = 100 * torch.finfo(problem.dtype).eps * norms.norm()
        agree = dict(zip(leaves, (errors <= tolerance * norms + rounding).tolist(), strict=True))
        return {name for name in self._ruled - unusable if agree[name]}


def _dot(outputs: Tensor, cotangents: Tensor) -> Tensor:
    return (outputs * cotangents).reshape(len(outputs), -1).sum(1)


def _rule(module: nn.Module) -> Rule:
    rule = rule_of(module)
    assert rule is not None, "a parameter without a rule is not among those that have one"
    return rule


def _owners(model: nn.Module, names: set[str]) -> dict[str, list[tuple[nn.Module, str]]]:
    """Parameter name -> every (module, leaf) that holds it, tied ones included."""
    by_id = {id(p): name for name, p in model.named_parameters() if name in names}
    owners: dict[str, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in model.modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in by_id:
                owners[by_id[id(parameter)]].append((module, leaf))
    return owners


def _with_buffers(module: nn.Module) -> nn.Module:
    """A shallow twin that keeps the tensors of the forward pass, which functional_call takes back after it."""
    twin = object.__new__(type(module))
    twin.__dict__.update(module.__dict__)
    twin._forward_hooks = OrderedDict()
    twin._buffers = dict(module._buffers)
    twin._parameters = dict(module._parameters)
    return twin
