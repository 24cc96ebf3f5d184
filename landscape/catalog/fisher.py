"""What is said of the measures of the Fisher matrix. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="fisher_rao",
        title="Fisher–Rao norm",
        formula=(
            r'theta^top F theta = EE_x thin op("Var")_(k tilde p(dot.c|x)) [u_k (x)], quad '
            r"u(x) = J_theta (x) thin theta in RR^K"
        ),
        formula_text="θᵀFθ = E_x Var_{k~p(·|x)}[u_k(x)], u = J_θ θ",
        unit="nats squared",
        reading=(
            "How strongly the predicted distribution answers when all parameters are scaled together: a "
            "capacity of the function, small for a network whose confident outputs barely move."
        ),
        estimate=(
            "Exact on the chosen samples with the expectation over the model's labels in closed form: one forward-mode "
            "product gives u, its variance under the softmax gives the value; the sampling error is that of the mean "
            "over samples."
        ),
        cost="2/3 for each forward-mode pass; by substructure, one pass a group",
        invariances=(
            "The rescaling ρ, for networks with or without biases. By substructure the value is θ_sᵀ F_ss θ_s, which "
            "leaves out the terms between groups: groups do not sum to the whole."
        ),
        reference="Liang et al. 2019, arXiv:1711.01530; Bias Decay Matters, eq. 8",
        needs_labels=False,
        per_sample=True,
        presets=("quick", "default", "paper"),
        rho_invariant=True,
    ),
)
