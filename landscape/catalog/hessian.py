"""What is said of the measures of the Hessian. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="hessian_trace",
        title="Hessian trace",
        formula=(
            r'op("tr") H = sum_(i=1)^p (partial^2 L)/(partial theta_i^2) '
            r"= EE_v [v^top H v], quad EE[v v^top] = I"
        ),
        formula_text="tr H = sum_i d²L/dθ_i² = E_v[vᵀHv], E[vvᵀ] = I",
        unit="loss per squared parameter",
        reading=(
            "The sum of all curvatures: Gaussian noise of variance σ² on every parameter raises the mean loss by "
            "σ²/2 · tr H, to second order, so a larger value means a sharper minimum."
        ),
        estimate=(
            "Exact for a network that is piecewise linear in each of its tensors, with up to 16 outputs: its Hessian "
            "has the trace of its Gauss-Newton part, a sum of squared per-sample products. For other networks the rest "
            "comes from random probes, at least two and fresh for each fixed block of 32 samples (all of it where the "
            "loss's curvature is not known); the standard error then comes from the variance of the probes within "
            "blocks, the sampling error from the variance between blocks less that of the probes."
        ),
        cost="(1 + 2K)/3 for K outputs; where the network is not piecewise linear 2.4 a probe besides, until the asked "
        "relative error or the budget",
        invariances=(
            "Rotations of parameter space and permutations of hidden units; not the rescaling ρ, so compare only "
            "networks of the same parameterization."
        ),
        reference="Hutchinson 1989 (the estimator); Bias Decay Matters, section 3.1 (as a sharpness)",
        additive=True,
        presets=("default", "paper"),
        second_derivative=True,
    ),
    About(
        name="top_eigenvalues",
        title="Top Hessian eigenvalues",
        formula=(
            r"H q_i = lambda_i q_i, quad lambda_1 >= lambda_2 >= dots.c >= lambda_p, quad "
            r'abs(lambda_i - hat(lambda)_i) <= min(r_i, r_i^2 \/ "gap"_i), quad '
            r"r_i = norm(H hat(q)_i - hat(lambda)_i hat(q)_i)_2"
        ),
        formula_text="H q_i = λ_i q_i, λ_1 ≥ λ_2 ≥ …; |λ_i − λ̂_i| ≤ min(r_i, r_i²/gap_i), r_i = ‖H q̂_i − λ̂_i q̂_i‖₂",
        unit="loss per squared parameter",
        reading=(
            "The largest eigenvalue is the curvature along the sharpest direction: plain gradient descent with a fixed "
            "rate η is stable there only while λ₁ < 2/η; a negative eigenvalue says that the point is not a minimum."
        ),
        estimate=(
            "Lanczos with full reorthogonalisation on exact Hessian products over all chosen samples, stopped by "
            "the residual of the largest pair; its error is bounded by min(r, r²/gap), and the most negative value "
            "is the lowest Ritz value of the same Krylov space."
        ),
        cost="2.4 a Lanczos step, usually a few dozen steps",
        invariances=(
            "Rotations of parameter space and permutations of hidden units; not the rescaling ρ, which can make λ₁ "
            "as large as one likes without changing the function."
        ),
        reference="Lanczos 1950 (the method); Keskar et al. 2017; Bias Decay Matters, section 3.1 (as a sharpness)",
        additive=True,
        presets=("default", "paper"),
        second_derivative=True,
    ),
    About(
        name="spectral_density",
        title="Spectral density of the Hessian",
        formula=(
            r"rho_sigma (x) = 1/p sum_(i=1)^p cal(N)(x; lambda_i, sigma^2) "
            r"approx sum_j w_j thin cal(N)(x; t_j, sigma^2), quad w_j >= 0, quad sum_j w_j = 1"
        ),
        formula_text="ρ_σ(x) = (1/p) Σ_i N(x; λ_i, σ²) ≈ Σ_j w_j N(x; t_j, σ²), Σ_j w_j = 1",
        unit="loss per squared parameter",
        reading=(
            "How the eigenvalues are spread: a bulk at zero (directions that do not matter), outliers to the right "
            "(the few sharp directions) and whatever lies left of zero (directions of descent or saddles); its "
            "mean is tr H / p."
        ),
        estimate=(
            "Stochastic Lanczos quadrature: the Krylov space that holds the outermost pairs enters with weight 1/p a "
            "dimension, and a run from a random vector in the rest gives nodes t and weights w from its tridiagonal "
            "matrix. Its mean is that of the trace where that is exact; else the norms of products with random vectors "
            "give its standard error."
        ),
        cost="2.4 a product: those that the top eigenvalue takes, and 8; for the mean (1 + 2K)/3, or a product a probe",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Ghorbani, Krishnan and Xiao 2019; Golub and Welsch 1969 (the quadrature)",
        presets=("default", "paper"),
        second_derivative=True,
    ),
)
