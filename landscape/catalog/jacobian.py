"""What is said of the measures of input-output Jacobians. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="jacobian_norm",
        title="Input–output Jacobian norm",
        formula=(
            r"EE_x norm(J_x)_F^2 = EE_x sum_(k=1)^K norm(nabla_x f_k (x))_2^2, quad "
            r"J_x = (partial f)/(partial x) in RR^(K times d)"
        ),
        formula_text="E_x ‖J_x‖²_F = E_x Σ_k ‖∇_x f_k(x)‖₂², J_x = ∂f/∂x of the K logits",
        unit="squared logits per squared unit of the normalised inputs",
        reading=(
            "How far the logits move for a small change of the input: the mean squared change under unit Gaussian "
            "noise on the input, to first order; smaller is less sensitive."
        ),
        estimate=(
            "Exact on the chosen samples by K vector–Jacobian products a batch; for many classes by random "
            "Rademacher projections of the logits, with their standard error; the sampling error is that of the mean "
            "over samples."
        ),
        cost="1/3 + 2/3 × K (the number of classes, or of projections)",
        invariances=(
            "Every reparameterization that leaves the function as it is, ρ among them; rotations of the inputs. Not "
            "the scale of the logits or of the inputs."
        ),
        reference="Novak et al. 2018, arXiv:1802.08760; Zhang et al. 2019, arXiv:1810.12281, table 2",
        needs_labels=False,
        per_sample=True,
        presets=("quick", "default", "paper"),
        rho_invariant=True,
        of_function=True,
    ),
)
