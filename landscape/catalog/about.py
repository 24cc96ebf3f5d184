"""What is said of one measure."""

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
        presets: the named lists of measures that hold it (`landscape.catalog.PRESETS`).
        rho_invariant: whether the rescaling rho leaves the value as it is.
        of_function: whether the value knows the parameters by the function of the inputs alone.
        second_derivative: whether the network and the loss must be differentiable twice.
        training_data: whether the value means what it says on the data that the network was trained on alone.
        training_state: whether it needs what only a checkpoint of a training has: the initial weights or the state of
            the optimizer.
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
    presets: tuple[str, ...] = ()
    rho_invariant: bool = False
    of_function: bool = False
    second_derivative: bool = False
    training_data: bool = False
    training_state: bool = False
