"""What is said of the measures of connectivity sharpness. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="connectivity",
        title="Connectivity sharpness",
        formula=(
            r"C = 1/N sum_(n=1)^N norm((partial ell_n)/(partial theta) compose theta)_1 "
            r"= 1/N sum_(n=1)^N sum_(i=1)^p abs(theta_i (partial ell_n)/(partial theta_i))"
        ),
        formula_text="C = (1/N) Σ_n ‖∂l_n/∂θ ∘ θ‖₁ (absolute values inside the mean over samples)",
        unit="loss per relative change",
        reading=(
            "The summed sensitivity of the loss to a relative change of each parameter alone; it adds up "
            "exactly over substructures, so the shares say which part of the network the sharpness comes from."
        ),
        estimate=(
            "Exact on the chosen samples: the absolute value is taken of each sample's own gradient before the mean, "
            "layer by layer, without holding all per-sample gradients; the sampling error is that of the mean over "
            "samples."
        ),
        cost="1 (a per-sample gradient)",
        invariances="The rescaling ρ; permutations of hidden units. Not rotations of parameter space.",
        reference="Bias Decay Matters, eq. 4 (definition), eq. 11 (additivity), theorem 3.1 (invariance)",
        additive=True,
        per_sample=True,
        presets=("quick", "default", "paper"),
        rho_invariant=True,
    ),
    About(
        name="connectivity_batch",
        title="Connectivity sharpness of batches",
        formula=(
            r"C_m = sum_B (abs(B))/N norm(nabla L_B (theta) compose theta)_1, quad "
            r"L_B = 1/(abs(B)) sum_(n in B) ell_n, quad abs(B) = m"
        ),
        formula_text="C_m = Σ_B (|B|/N) ‖∇L_B ∘ θ‖₁ over consecutive groups B of m samples; C_m ≤ C",
        unit="loss per relative change",
        reading=(
            "Connectivity sharpness of the mean gradient of m samples: never above C, and the further below it the "
            "more the gradients of single samples cancel; compare values of equal m only."
        ),
        estimate=(
            "Exact on the chosen samples in their own order: consecutive groups of m (the last may be smaller) "
            "weighted by their size; the sampling error is that of the mean over groups."
        ),
        cost="1 (a gradient for each group)",
        invariances=(
            "The rescaling ρ; permutations of hidden units. It depends on m and on which samples share a group."
        ),
        reference="Bias Decay Matters, section 3.1, after eq. 4",
        additive=True,
        presets=("quick", "default", "paper"),
        rho_invariant=True,
    ),
)
