"""What is said of the measures of curvature by parameter and by layer. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="hessian_diagonal",
        title="Diagonal of the Hessian",
        formula=(
            r'op("diag") H = op("diag") G + EE_v [v compose R v], quad '
            r'sum_i H_(i i) = op("tr") H, quad v in {-1, 1}^p'
        ),
        formula_text="diag H = diag G + E_v[v ∘ R v], H = G + R; its sum is tr H",
        unit="loss per squared parameter",
        reading=(
            "The curvature along each parameter: how unequal the parameters are, and what share of them lies on a "
            "downward curve."
        ),
        estimate=(
            "The Gauss-Newton part exactly for up to 16 outputs, the residual, which is 0 for tensors that the outputs "
            "are linear in (all of a ReLU network), by random signs fresh for each block; the errors of quantiles by "
            "the jackknife over the probes."
        ),
        cost="(1 + 2K)/3 for K outputs, and 2.4 a probe where the network is not piecewise linear",
        invariances="Permutations of hidden units; neither rotations of parameter space nor the rescaling ρ.",
        reference="Bekas, Kokiopoulou and Saad 2007 (the estimator)",
        additive=True,
        second_derivative=True,
    ),
    About(
        name="curvature_radius",
        title="Radius of curvature",
        formula=(
            r'R_i = (1 + g_i^2)^(3\/2) / abs(H_(i i)), quad "or" abs(theta_i / g_i), quad '
            r'"its median"'
        ),
        formula_text="median over i of R_i = (1 + g_i²)^(3/2) / |H_ii|; beside it that of |θ_i / g_i|",
        unit="units of the parameters",
        reading=(
            "How far the loss stays close to its tangent circle along single parameters: small where it bends sharply. "
            "Learning rates in proportion to it take equal steps on unequal curves."
        ),
        estimate=(
            "From the diagonal of the Hessian, exact for ReLU networks of up to 16 outputs; else its noise and the "
            "bias from it are in the standard error. Radii above the cap count as the cap and are counted; 0/0 is left "
            "out."
        ),
        cost="1, and that of the diagonal of the Hessian",
        invariances="Permutations of hidden units; not the rescaling ρ.",
        reference="arXiv:2012.08795, eq. 9, 17 and 20, figure 2",
        presets=("paper",),
        second_derivative=True,
    ),
    About(
        name="layer_top_eigenvalues",
        title="Top Hessian eigenvalue by layer",
        formula=r"lambda_1 (H_(s s)) <= lambda_1 (H), quad s" + r' "a weight tensor"',
        formula_text="λ_1(H_ss) of the diagonal block of each weight tensor s; λ_1(H_ss) ≤ λ_1(H)",
        unit="loss per squared parameter",
        reading=(
            "Which layer is sharpest on its own; the block of the last weight layer is the one whose rise the "
            "two-phase rule watches."
        ),
        estimate=(
            "Lanczos on each block alone, through the layers from it on; the error of each is bounded by min(r, "
            "r²/gap). The value is the largest of them."
        ),
        cost="2.4 a step, times the share of the network's work from the block on",
        invariances=("Rotations within each block and permutations of hidden units; not the rescaling ρ."),
        reference="Achieving Small-Batch Accuracy with Large-Batch Scalability, section 3.2 (the last layer's block)",
        presets=("paper",),
        second_derivative=True,
    ),
)
