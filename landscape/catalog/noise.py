"""What is said of the measures of gradient noise. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="gradient_noise_scale",
        title="Gradient noise scale",
        formula=r'S \/ norm(G)_2^2, quad S = op("tr") op("Cov")(nabla ell_n), quad G = EE nabla ell_n',
        formula_text="S/‖G‖², S = tr Cov(∇l_n), G = E ∇l_n",
        unit="samples",
        reading=(
            "The batch size at which noise and gradient are alike in size: far below it more samples shorten training "
            "in proportion, far above it they hardly help."
        ),
        estimate=(
            "S and ‖G‖² are estimated without bias from the gradients of disjoint blocks of samples, then divided; the "
            "standard error is the jackknife's over blocks."
        ),
        cost="2",
        invariances="Rotations of parameter space and permutations of hidden units; not the rescaling ρ.",
        reference="McCandlish et al. 2018, arXiv:1812.06162, eq. 2.8 and appendix A.1",
        training_data=True,
    ),
)
