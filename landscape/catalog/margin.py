"""What is said of the measures of margins. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
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
        presets=("quick", "default", "paper"),
        rho_invariant=True,
        of_function=True,
    ),
)
