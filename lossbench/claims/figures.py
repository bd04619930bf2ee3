"""Where the evidence for a claim is shown: notebooks, and in them figures and tables by a short name."""

from __future__ import annotations

from dataclasses import dataclass

THESIS, ADMA = "08_thesis_analysis", "09_adma"
SAMPLING, FALSE_POSITIVE = "10_sampling_free_and_metric_learning", "11_false_positive_loss"
LAYERS = "12_hierarchical_loss"
NOTEBOOKS = (THESIS, ADMA, SAMPLING, FALSE_POSITIVE, LAYERS)


@dataclass(frozen=True)
class Place:
    """A figure or table: the notebook it stands in and what it shows."""

    notebook: str
    shows: str


FIGURES = {
    "ce-equals-kl": Place(THESIS, "cross-entropy and KL divergence run by run, and the noise floor"),
    "thesis-accuracy": Place(THESIS, "accuracy of each loss minus cross-entropy by data set, with intervals"),
    "thesis-epochs": Place(THESIS, "epochs each loss needs, with intervals"),
    "thesis-probabilities": Place(THESIS, "accuracy and epochs by probability function"),
    "thesis-tables": Place(THESIS, "Tables 4.2 to 4.6 re-derived from Table 4.1"),
    "thesis-confusion": Place(THESIS, "confusion matrices and the recall of each class"),
    "adma-curves": Place(ADMA, "Adma for several exponents beside cross-entropy, values and gradients"),
    "adma-tables": Place(ADMA, "Tables 1 to 4 of the paper, cell by cell against cross-entropy"),
    "adma-accuracy": Place(ADMA, "accuracy of Adma, MSE and squared hinge minus cross-entropy"),
    "adma-learning": Place(ADMA, "learning curves: first epoch, unrest, gap to the training images"),
    "adma-exponent": Place(ADMA, "accuracy over the exponent, as printed and divided by e times a"),
    "adma-fractions": Place(ADMA, "Adma minus cross-entropy over the share of training images"),
    "sampling-shape": Place(SAMPLING, "the reconstructed loss and its weight over the target's probability"),
    "sampling-sweeps": Place(SAMPLING, "macro F1 and NMI over beta and gamma"),
    "sampling-comparison": Place(SAMPLING, "macro F1, NMI and recall@k of all losses"),
    "fpl-shape": Place(FALSE_POSITIVE, "the loss, its class weights and its two terms"),
    "fpl-tables": Place(FALSE_POSITIVE, "Tables 2 and 3 of the paper with their sampling noise"),
    "fpl-accuracy": Place(FALSE_POSITIVE, "False Positive Loss minus cross-entropy on balanced classes"),
    "fpl-imbalance": Place(FALSE_POSITIVE, "False Positive Loss minus cross-entropy on long tails"),
    "layers-accuracy": Place(LAYERS, "accuracy of the poster's losses minus cross-entropy, folds and seeds"),
    "layers-mistakes": Place(LAYERS, "how severe the mistakes are on the class tree"),
    "layers-algebra": Place(LAYERS, "when the hierarchical loss is only cross-entropy"),
}
