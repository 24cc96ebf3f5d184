"""What is said of each measure, in one place for the report, the command line and the documentation. Knows no torch.

Notation: theta the p parameters, L = (1/N) sum_n l_n the mean loss over the N chosen samples, g its gradient, H its
Hessian, f(x) the K logits, p(y|x) = softmax(f(x)), J_x = df/dx, J_theta = df/dtheta, `∘` the elementwise product.
rho is the reparameterization of Bias Decay Matters, eq. 9: multiply the incoming weights and the bias (or the
batch normalisation's gamma and beta) of one hidden unit by c > 0 and divide its outgoing weights by c, which leaves
f as it is where the activation is positively homogeneous.

Two sources are anonymous submissions to ICLR 2022 and cited by title: "Bias Decay Matters: Improving Large Batch
Optimization with Connectivity Sharpness" and "Achieving Small-Batch Accuracy with Large-Batch Scalability via Adaptive
Learning Rate Adjustment". Where a printed equation is damaged or wrong, the formula here is the corrected reading.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """What is said of one measure.

    Attributes:
        name: the key in the analysis document and on the command line.
        title: the name in prose.
        formula: the definition as Typst math source, without dollar signs.
        formula_text: the definition as one line of plain text.
        unit: what the value is counted in.
        reading: one sentence: how to read the value.
        estimate: one sentence: how the value and its errors come about.
        cost: passes over the chosen samples, in gradient-equivalents (`landscape.work`).
        invariances: which changes of the parameters, the inputs or the outputs leave the value as it is.
        reference: where it was defined, with the equation number.
        additive: whether the values of disjoint groups of parameters sum to the value of their union.
        needs_labels: whether the value depends on the labels of the samples.
        per_sample: whether it needs f of one sample by itself, which batch statistics (`--bn train`) do not give.
    """

    name: str
    title: str
    formula: str
    formula_text: str
    unit: str
    reading: str
    estimate: str
    cost: str
    invariances: str
    reference: str
    additive: bool = False
    needs_labels: bool = True
    per_sample: bool = False


_ENTRIES = (
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
            "The Gauss-Newton part comes from norms of per-sample products with random signs, the rest from random "
            "probes, at least two and fresh for each fixed block of 32 samples (all of it where the loss's curvature "
            "is not known); the standard error comes from the variance of the probes within blocks, the sampling error "
            "from the variance between blocks less that of the probes."
        ),
        cost="7.1 at the least; 2.4 a probe of the residual, 2/3 of the Gauss-Newton part, until the asked relative "
        "error or the budget",
        invariances=(
            "Rotations of parameter space and permutations of hidden units; not the rescaling ρ, so compare only "
            "networks of the same parameterization."
        ),
        reference="Hutchinson 1989 (the estimator); Bias Decay Matters, section 3.1 (as a sharpness)",
        additive=True,
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
            "Stochastic Lanczos quadrature: outermost pairs already resolved enter with weight 1/p each, and random "
            "probes of the rest give nodes t and weights w from their tridiagonal matrices; the spread of the "
            "probes gives the standard error of the mean."
        ),
        cost="2.4 a Lanczos step, for the outermost pairs and for each probe",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="Ghorbani, Krishnan and Xiao 2019; Golub and Welsch 1969 (the quadrature)",
    ),
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
    ),
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
    ),
    About(
        name="margin",
        title="Normalised input margins",
        formula=(
            r'd(x, y) = (f_y (x) - f_j (x))/(norm(nabla_x (f_y - f_j)(x))_2 thin sqrt(op("tr") Sigma_x)), quad '
            r'j = limits(op("arg max"))_(k != y) f_k (x)'
        ),
        formula_text="d = (f_y − f_j) / (‖∇_x(f_y − f_j)‖₂ √tr Σ_x), j the best other class, Σ_x the cov. of x",
        unit="units of √(total variation of the inputs)",
        reading=(
            "The first-order distance from a sample to the decision boundary, as a fraction of the spread of the data: "
            "positive where the prediction is right, negative where it is wrong; a distribution further to the "
            "right is safer."
        ),
        estimate=(
            "Exact on the chosen samples by one vector–Jacobian product with f_y − f_j; quartiles with fences at the "
            "most extreme data within 1.5 interquartile ranges; sampling errors by bootstrap over samples."
        ),
        cost="1 (a forward pass and one input gradient)",
        invariances=(
            "Every reparameterization that leaves the function as it is, ρ among them; a common factor on all logits; "
            "a common scale, shift or rotation of all inputs that the network undoes."
        ),
        reference=(
            "Jiang et al. 2019, arXiv:1810.00113; Achieving Small-Batch Accuracy with Large-Batch Scalability, eq. 12"
        ),
        per_sample=True,
    ),
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
    ),
)

CATALOG: dict[str, About] = {entry.name: entry for entry in _ENTRIES}
"""The measures of an analysis, in the order in which they are shown."""
