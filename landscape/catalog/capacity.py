"""What is said of the measures of the weights themselves: norms, distances, paths. Notation: `landscape.catalog`."""

from __future__ import annotations

from landscape.catalog.about import About

ENTRIES = (
    About(
        name="spectral_norms",
        title="Spectral norms of the layers",
        formula=r"(product_(l=1)^L norm(W_l)_2)^(1 \/ L)",
        formula_text="(Π_l ‖W_l‖₂)^(1/L), W_l one row an output unit",
        unit="output per input of a layer",
        reading=(
            "How much a layer can stretch its input, as a geometric mean over layers: the product bounds the "
            "Lipschitz "
            "constant of a network without skips."
        ),
        estimate="Exact, from a singular value decomposition of each weight; no data are used.",
        cost="0: no pass over the data",
        invariances="Rotations of hidden spaces of linear networks; of two layers scaled by c and 1/c, the product.",
        reference="Bartlett, Foster and Telgarsky 2017, eq. 1.2; Yoshida and Miyato 2017, section 3",
        needs_labels=False,
    ),
    About(
        name="frobenius_distance",
        title="Distance from initialisation",
        formula=r"norm(theta - theta_0)_2",
        formula_text="‖θ − θ₀‖₂",
        unit="size of a parameter",
        reading=(
            "How far training has moved the parameters: of two networks that fit alike, the nearer one has used "
            "less of its capacity."
        ),
        estimate="Exact, from the initial weights that the run folder or --initial gives.",
        cost="0: no pass over the data",
        invariances="Rotations of parameter space; not the rescaling ρ.",
        reference="Nagarajan and Kolter 2019, section 2; Jiang et al. 2020, appendix C.4",
        needs_labels=False,
        training_state=True,
    ),
    About(
        name="path_norm",
        title="Path norm",
        formula=r'(sum_("paths" pi) product_(w in pi) abs(w)^p)^(1 \/ p)',
        formula_text="(Σ over paths π of Π_{w in π} |w|^p)^(1/p), p = 2",
        unit="output per input",
        reading=(
            "The size of all products of weights from an input or a bias to an output: a capacity that does not "
            "change "
            "when the scale moves between layers."
        ),
        estimate=(
            "Exact, by one forward pass of ones through the network with |w|^p for w; batch normalisation is "
            "folded, and "
            "of a max-pooling the largest sum counts."
        ),
        cost="a forward pass of one sample",
        invariances="The rescaling ρ, permutations of hidden units.",
        reference="Neyshabur, Tomioka and Srebro 2015, section 2; Jiang et al. 2020, appendix C.5",
        needs_labels=False,
        per_sample=True,
        rho_invariant=True,
    ),
    About(
        name="relative_flatness",
        title="Relative flatness",
        formula=r'kappa = sum_(s, s\') chevron.l w_s, w_(s\') chevron.r op("tr") H_(s, s\')',
        formula_text="κ = Σ_{s,s'} ⟨w_s, w_s'⟩ tr H_{s,s'} of one linear layer's units s, s'",
        unit="loss",
        reading=(
            "The curvature of one layer relative to the size of its weights: smaller is flatter, whatever the scale "
            "between layers."
        ),
        estimate=(
            "Random probes V = W U with signs U, fresh for every block of samples, as for a trace; the standard "
            "error comes "
            "from the variance of the probes within blocks."
        ),
        cost="2.4 a probe by convention, until the asked relative error or the budget",
        invariances="Scaling of layers by factors whose product is 1; permutations of hidden units.",
        reference="Petzka et al. 2021, definition 3",
        second_derivative=True,
        rho_invariant=False,
    ),
    About(
        name="weight_noise",
        title="Weight noise",
        formula=r"(sum_l norm((I - P_l) w_l)_2^2) \/ (sum_l norm(w_l)_2^2)",
        formula_text="Σ_l ‖(I − P_l) w_l‖² / Σ_l ‖w_l‖², P_l onto the span of the layer's inputs",
        unit="share of the squared norm",
        reading=(
            "The share of the weights that no input reaches: plain gradient descent leaves it as initialised, "
            "weight decay "
            "takes it away."
        ),
        estimate=(
            "Exact on the chosen samples, from the eigenvectors of each layer's Gram matrix of inputs or patches "
            "above a "
            "stated tolerance; more samples can only lower it."
        ),
        cost="1/3, and an eigendecomposition a layer",
        invariances="Permutations of hidden units; scaling of all weights.",
        reference="arXiv:2102.03497, section 3 (the ratio is our reading)",
        needs_labels=False,
        training_data=True,
        presets=("paper",),
    ),
)
