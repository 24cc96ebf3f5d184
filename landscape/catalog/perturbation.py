"""What is said of the measures of sharpness by perturbation of the weights. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="sam_sharpness",
        title="SAM sharpness",
        formula=(
            r"L(theta + e) - L(theta), quad e = rho thin g \/ norm(g)_2 quad "
            r'("to first order the largest increase for" norm(e)_2 <= rho)'
        ),
        formula_text="L(θ + e) − L(θ), e = ρ g/‖g‖₂: to first order max over ‖e‖₂ ≤ ρ",
        unit="loss",
        reading=(
            "How much the loss rises at the worst weights within a distance ρ, as far as one step along the gradient "
            "finds it: the part of SAM's objective that is not the loss."
        ),
        estimate=(
            "One step is exact on the chosen samples; more steps and random starts seek the true maximum and give a "
            "lower bound on it, whose distance from it is not known; the sampling error holds the perturbation fixed."
        ),
        cost="4/3 for one step; 1 a step and 1 a start for more",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Foret et al. 2021, section 2 and eq. 2",
    ),
    About(
        name="asam_sharpness",
        title="ASAM sharpness",
        formula=(
            r"L(theta + e) - L(theta), quad e = rho thin T^2 g \/ norm(T g)_2, quad "
            r'T = op("diag")(abs(theta_i) + eta) "on weights, else" 1'
        ),
        formula_text="L(θ + e) − L(θ), e = ρ T²g/‖Tg‖₂, T = |θ| + η on weights, 1 on the rest",
        unit="loss",
        reading=(
            "SAM's sharpness with distances relative to the size of each weight, so that a network whose weights are "
            "merely larger does not look flatter."
        ),
        estimate=(
            "As SAM's: one step is exact on the chosen samples, more steps and random starts give a lower bound on the "
            "maximum."
        ),
        cost="4/3 for one step; 1 a step and 1 a start for more",
        invariances=(
            "Permutations of hidden units; the rescaling ρ of layers without biases and normalisation, as far as η is "
            "small beside the weights. Not rotations of parameter space."
        ),
        reference="Kwon et al. 2021, definition 2 and algorithm 1",
    ),
    About(
        name="average_sharpness",
        title="Average-case sharpness",
        formula=(
            r'S_"avg" = EE_z [L(theta + rho thin c compose z)] - L(theta), quad z tilde cal(N)(0, I), quad '
            r'c = abs(theta) "(adaptive) or" 1'
        ),
        formula_text="S_avg = E_z[L(θ + ρ c ∘ z)] − L(θ), z ~ N(0, I) or uniform, c = |θ| (adaptive) or 1",
        unit="loss",
        reading=(
            "How much the loss rises on average under noise on the weights; for small ρ it is ρ²/2 times the trace of "
            "the Hessian, weighted by c²."
        ),
        estimate=(
            "The mean over pairs of opposite perturbations, fresh for every 128 samples, until the asked relative "
            "error; the standard error comes from the variance of the pairs, the sampling error from that between "
            "samples less the noise's part."
        ),
        cost="1/3, and 2/3 a pair of perturbations, until the asked relative error or the budget",
        invariances=(
            "Permutations of hidden units; adaptive (the default) also the rescaling ρ. Without it rotations of "
            "parameter space, not the rescaling."
        ),
        reference="Andriushchenko et al. 2023, section 3",
        rho_invariant=True,
    ),
    About(
        name="worst_sharpness",
        title="Worst-case sharpness",
        formula=(
            r"S_max = max_(norm(e \/ c)_p <= rho) L(theta + e) - L(theta), quad p in {2, infinity}, quad "
            r'c = abs(theta) "(adaptive) or" 1'
        ),
        formula_text="S_max = max over ‖e/c‖_p ≤ ρ of L(θ + e) − L(θ), p = 2 or ∞, c = |θ| (adaptive) or 1",
        unit="loss",
        reading=(
            "How much the loss can rise when every weight changes by at most the share ρ of its size (p = ∞), or all "
            "together by ρ (p = 2)."
        ),
        estimate=(
            "Auto-PGD from the weights and from random starts; the largest increase found is a lower bound on the "
            "maximum, whose distance from it is not known. Converged says that a linear function with the slope at "
            "that point would gain no more than the asked relative error."
        ),
        cost="1 a step of the ascent and 1 a start: 42 by default",
        invariances=(
            "Permutations of hidden units; adaptive (the default) also the rescaling ρ. Without it and with p = 2 "
            "rotations of parameter space, not the rescaling."
        ),
        reference="Andriushchenko et al. 2023, section 3; Croce and Hein 2020, algorithm 1 (the ascent)",
        rho_invariant=True,
    ),
    About(
        name="keskar_sharpness",
        title="Keskar's sharpness",
        formula=(
            r"phi = 100 thin (max_(e in C) L(theta + e) - L(theta))/(1 + L(theta)), quad "
            r"C = {e : abs(e_i) <= epsilon (abs(theta_i) + 1)}"
        ),
        formula_text="φ = 100 (max over |e_i| ≤ ε(|θ_i| + 1) of L(θ + e) − L(θ)) / (1 + L(θ))",
        unit="percent of 1 + loss",
        reading="How much the loss can rise, in percent, in a small box around the weights; large for sharp minima.",
        estimate=(
            "Ten iterations of L-BFGS-B, as in the paper, or Auto-PGD, from the weights and from random starts; the "
            "largest value found is a lower bound on the maximum, whose distance from it is not known."
        ),
        cost="1 an evaluation: one or a few for each of the ten iterations from two starts",
        invariances="Permutations of hidden units; neither the rescaling ρ nor rotations of parameter space.",
        reference="Keskar et al. 2017, metric 2.1, eqs. 3 and 4",
    ),
    About(
        name="pac_bayes_sigma",
        title="PAC-Bayes sigma",
        formula=(
            r'sigma = max {s : EE_u [op("acc")(theta) - op("acc")(theta + u)] <= 0.1}, quad u tilde cal(N)(0, s^2 I)'
        ),
        formula_text="σ = max{s : E_u[acc(θ) − acc(θ + u)] ≤ 0.1, u ~ N(0, s²I)}",
        unit="parameter",
        reading=(
            "The standard deviation of the noise on every weight that costs ten points of accuracy: the larger, the "
            "flatter; 1/σ² is the PAC-Bayes flatness."
        ),
        estimate=(
            "Bisection finds where the mean drop passes the target; three values of σ around it then share fresh "
            "draws, and the parabola through their mean drops gives σ, with the jackknife's error over the draws."
        ),
        cost="1/3 a draw and value of σ: 25 to 40 as a rule, until the asked relative error or the budget",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Jiang et al. 2020, eq. 53 and appendix D",
    ),
    About(
        name="pac_bayes_sigma_magnitude",
        title="PAC-Bayes sigma relative to the weights",
        formula=(
            r'sigma = max {s : EE_u [op("acc")(theta) - op("acc")(theta + u)] <= 0.1}, quad '
            r"u_i tilde cal(N)(0, s^2 theta_i^2 + epsilon^2)"
        ),
        formula_text="σ = max{s : E_u[acc(θ) − acc(θ + u)] ≤ 0.1, u_i ~ N(0, s²θ_i² + ε²)}",
        unit="relative change of a parameter",
        reading=(
            "The noise, as a share of each weight's size, that costs ten points of accuracy: the larger, the flatter."
        ),
        estimate=(
            "As PAC-Bayes sigma: bisection, then three values of σ that share fresh draws, with the jackknife's error "
            "over the draws."
        ),
        cost="1/3 a draw and value of σ: 25 to 40 as a rule, until the asked relative error or the budget",
        invariances=(
            "Permutations of hidden units; the rescaling ρ as far as ε is small beside σ|θ|. Not rotations of "
            "parameter space."
        ),
        reference="Jiang et al. 2020, eq. 61 and appendix C.4",
    ),
    About(
        name="local_learning_coefficient",
        title="Local learning coefficient",
        formula=(
            r"hat(lambda) = n beta (EE_w [L(w)] - L(theta)), quad "
            r"w tilde exp(-n beta L(w) - gamma/2 norm(w - theta)_2^2), quad beta = 1/(log n)"
        ),
        formula_text="λ̂ = nβ (E_w[L(w)] − L(θ)), w ~ exp(−nβL(w) − γ/2 ‖w − θ‖²), β = 1/log n",
        unit="half a parameter",
        reading=(
            "An effective number of parameters, halved: the fewer, the more degenerate the minimum; half the number of "
            "parameters in a regular model. It depends on γ and on n: compare values of equal ones only."
        ),
        estimate=(
            "Langevin chains with mini-batches from the weights, the first half left out; the standard error is that "
            "between the chains, and chains that left, their agreement and the bias of the step size stand beside it."
        ),
        cost="m/N for each step of each chain: 4 chains of 1,000 steps of 64 samples, fewer where the budget is spent",
        invariances=(
            "Rotations of parameter space and permutations of hidden units; the rescaling ρ in the limit of many "
            "samples alone, for γ holds the chains by the weights' own scale."
        ),
        reference="Lau et al. 2023, section 4; Watanabe 2013 (β = 1/log n)",
    ),
)
