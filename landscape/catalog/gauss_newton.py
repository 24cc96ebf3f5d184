"""What is said of the measures of Gauss-Newton and Fisher matrices. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

_EXACT = "Exact on the chosen samples for up to 16 outputs, by squared per-sample products layer by layer"

ENTRIES = (
    About(
        name="ggn_trace",
        title="Gauss–Newton trace",
        formula=(
            r'op("tr") G = EE_n op("tr")(J_theta^top H_f J_theta), quad '
            r"H_f = (partial^2 ell_n)/(partial f^2)"
        ),
        formula_text="tr G = E_n tr(J_θᵀ H_f J_θ), H_f = ∂²l_n/∂f²",
        unit="loss per squared parameter",
        reading=(
            "The part of the Hessian trace that the curvature of the loss gives; for networks of ReLU layers it is the "
            "whole of it."
        ),
        estimate=(
            f"{_EXACT}; for more outputs by random signs of every sample, with the standard error of the probes "
            "within blocks; by products with G where single samples have no products of their own."
        ),
        cost="(1 + 2K)/3 for K outputs; else 1 and 2/3 a probe",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Schraudolph 2002; Martens 2020, arXiv:1412.1193",
        additive=True,
        needs_labels=False,
    ),
    About(
        name="ggn_top_eigenvalues",
        title="Top Gauss–Newton eigenvalues",
        formula=r"G q_i = mu_i q_i, quad mu_1 >= mu_2 >= dots.c >= 0, quad G = EE_n [J_theta^top H_f J_theta]",
        formula_text="G q_i = μ_i q_i, μ_1 ≥ μ_2 ≥ … ≥ 0, G = E_n[J_θᵀ H_f J_θ]",
        unit="loss per squared parameter",
        reading=(
            "The curvature in the steepest directions as the loss alone makes it; what is left to the Hessian's "
            "largest eigenvalue is the curvature of the network."
        ),
        estimate=(
            "Lanczos with full reorthogonalisation on products of a forward-mode and a backward pass, stopped as that "
            "of the Hessian's eigenvalues; the error is bounded by min(r, r²/gap)."
        ),
        cost="5/3 a Lanczos step, usually a few dozen steps",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Schraudolph 2002 (the product); Papyan 2020, arXiv:2008.11865 (the spectrum)",
        additive=True,
        needs_labels=False,
    ),
    About(
        name="fisher_trace",
        title="Fisher trace",
        formula=(
            r'op("tr") F = EE_x sum_y p(y|x) thin norm(nabla_theta log p(y|x))_2^2, quad '
            r'"empirical:" EE_n norm(nabla_theta ell_n)_2^2'
        ),
        formula_text="tr F = E_x Σ_y p(y|x) ‖∇_θ log p(y|x)‖₂²; empirical: E_n ‖∇_θ l_n‖₂²",
        unit="nats squared per squared parameter",
        reading=(
            "How far the predicted distribution moves under noise on the parameters; the empirical variant is the mean "
            "squared gradient of single samples, which vanishes where all are fitted."
        ),
        estimate=f"{_EXACT}, the labels' expectation in closed form; else by random signs with their standard error.",
        cost="1 + (1 + 2K)/3 for K outputs; else 2 and 2/3 a probe",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Martens 2020, section 5; Kunstner et al. 2019, arXiv:1905.12558 (the empirical one)",
        additive=True,
        needs_labels=False,
        per_sample=True,
    ),
    About(
        name="gauss_newton_norm",
        title="Gauss–Newton norm",
        formula=r"theta^top G theta = EE_x norm(J_theta (x) thin theta)_2^2, quad G = EE_x [J_theta^top J_theta]",
        formula_text="θᵀGθ = E_x ‖J_θ θ‖₂², G = E_x[J_θᵀ J_θ]",
        unit="squared logits",
        reading=(
            "How far the logits move when all parameters are scaled together; weight decay under a preconditioner G "
            "penalises it, and in ReLU networks without biases it is (L+1)² E‖f‖²."
        ),
        estimate=(
            "Exact on the chosen samples: one forward-mode product a group, their sum for the network; the sampling "
            "error is that of the mean over samples."
        ),
        cost="2/3 a group",
        invariances=(
            "The rescaling ρ, for networks with or without biases. By substructure the value is θ_sᵀ G_ss θ_s: groups "
            "do not sum to the whole."
        ),
        reference="Zhang et al. 2019, arXiv:1810.12281, section 4.2",
        needs_labels=False,
        per_sample=True,
        presets=("paper",),
        rho_invariant=True,
    ),
    About(
        name="kfac_gn_norm",
        title="K-FAC Gauss–Newton norm",
        formula=(
            r'sum_l T_l op("tr")(W_l A_l W_l^top S_l), quad A_l = EE[a a^top], quad S_l = EE[s s^top], quad '
            r"EE[s s^top] = EE[J_l^top J_l]"
        ),
        formula_text="Σ_l T_l tr(W_l A_l W_lᵀ S_l), A_l = E[a aᵀ], S_l = E[s sᵀ] of the Jacobian at the layer's output",
        unit="squared logits",
        reading=(
            "The Gauss–Newton norm where layers and locations are taken for independent: what weight decay with K-FAC "
            "penalises; it goes with the input–output Jacobian norm."
        ),
        estimate=(
            "Exact on the chosen samples for up to 16 outputs, from the second moments of the layers' outputs; else by "
            "random signs with their standard error; the sampling error is to first order in both factors."
        ),
        cost="2/3 + 2K/3 for K outputs; 1/3 more on a subset",
        invariances="The rescaling ρ; permutations of hidden units.",
        reference="Zhang et al. 2019, arXiv:1810.12281, lemma 2 and theorem 1",
        additive=True,
        needs_labels=False,
        per_sample=True,
        presets=("paper",),
        rho_invariant=True,
    ),
    About(
        name="normalized_curvature_trace",
        title="Normalised curvature trace",
        formula=(
            r'norm(w_l)_2^2 thin op("tr") C_l, quad C = EE[J_theta^top J_theta] '
            r'"or" EE[J_theta^top F_f J_theta]'
        ),
        formula_text="‖w_l‖₂² tr C_l by layer l, C = E[J_θᵀ J_θ] (gauss-newton) or E[J_θᵀ F_f J_θ] (fisher)",
        unit="squared logits (nats squared for the Fisher matrix)",
        reading=(
            "The curvature of a layer before a batch normalisation at its weights scaled to unit norm: what is left of "
            "it when the size of the weights, which the function does not see, is taken out."
        ),
        estimate=f"{_EXACT}; else by random signs with their standard error. The value is the sum over the layers.",
        cost="(1 + 2K)/3 for each of the two matrices, for K outputs",
        invariances=(
            "The scale of the weights of a layer before a batch normalisation; not the rescaling ρ of single units."
        ),
        reference="Zhang et al. 2019, arXiv:1810.12281, eq. 13 and figure 7",
        needs_labels=False,
        per_sample=True,
        presets=("paper",),
    ),
    About(
        name="ctk_trace",
        title="Connectivity tangent kernel trace",
        formula=(
            r'EE_x norm(J_theta (x) thin op("diag")(theta))_F^2 '
            r"= EE_x sum_(k,i) theta_i^2 ((partial f_k)/(partial theta_i))^2"
        ),
        formula_text="E_x ‖J_θ diag(θ)‖²_F = E_x Σ_{k,i} θ_i² (∂f_k/∂θ_i)²",
        unit="squared logits",
        reading=(
            "How far the logits move when each parameter is changed by a random share of itself; smaller is flatter, "
            "whatever the scale of the weights."
        ),
        estimate=f"{_EXACT}; else by random signs of every sample with their standard error.",
        cost="(1 + 2K)/3 for K outputs; else 1/3 and 2/3 a probe",
        invariances="The rescaling ρ; permutations of hidden units. Not rotations of parameter space.",
        reference="Kim et al. 2023, arXiv:2209.15208 (there called connectivity sharpness)",
        additive=True,
        needs_labels=False,
        per_sample=True,
        rho_invariant=True,
    ),
)
