"""What is said of the measures that ask for the optimizer's state. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="effective_learning_rate",
        title="Effective learning rate",
        formula=r"eta \/ norm(theta_l)_2^2",
        formula_text="η / ‖θ_l‖² of each layer l that feeds a batch normalisation; the median of them",
        unit="learning rate at weights of norm 1",
        reading=(
            "How far a step turns the weights of a layer whose scale does not matter: weight decay raises it by "
            "shrinking the weights."
        ),
        estimate="Exact, from the learning rates that the checkpoint holds as they were at its last step.",
        cost="0: a few samples, to see what feeds a normalisation",
        invariances="Permutations of hidden units.",
        reference="van Laarhoven 2017; Zhang et al. 2019, arXiv:1810.12281, section 4.1 and figure 3",
        needs_labels=False,
        training_state=True,
        presets=("paper",),
    ),
    About(
        name="preconditioned_sharpness",
        title="Preconditioned sharpness",
        formula=r'lambda_max (P^(-1) H), quad P = (1 - beta_1^t) op("diag")(sqrt(v \/ (1 - beta_2^t)) + epsilon)',
        formula_text="λ_max(P⁻¹H), P = (1 − β₁ᵗ) diag(√(v/(1 − β₂ᵗ)) + ε)",
        unit="one per learning rate",
        reading=(
            "The curvature as Adam meets it: with a fixed preconditioner it is stable only while this is below "
            "(2 + 2β₁)/((1 − β₁)η), the record's edge."
        ),
        estimate=(
            "Lanczos on P^(-1/2) H P^(-1/2) with exact Hessian products, stopped by the residual; its error is "
            "bounded as "
            "that of the top eigenvalue is."
        ),
        cost="2.4 a Lanczos step, usually a few dozen steps",
        invariances="Permutations of hidden units.",
        reference="Cohen et al. 2022, eq. 2 and 3",
        second_derivative=True,
        training_state=True,
    ),
)
