"""What paper 001, on the Adma loss, claims."""

from __future__ import annotations

from lossbench.claims import algebra, printed_gains
from lossbench.claims.claim import Claim
from lossbench.claims.contrast import double_minus, lead_over, loss, minus
from lossbench.claims.rules import Equivalence, Exact, Superiority

CE, MSE, HINGE = loss("cross_entropy"), loss("mse"), loss("squared_hinge")
# The paper's exponents lie around the default; what it calls Adma is neither divided by e·a nor learned.
ADMA = loss("adma", a=0.2622, normalize=False, learnable=False)
ADAM, ADAM_L2 = {"optimizer": "adam", "weight_decay": 0.0}, {"optimizer": "adam", "weight_decay": 1e-4}
SGD = {"optimizer": "sgd", "weight_decay": 0.0}
SMALL, WHOLE = {"train_part": 0.6}, {"train_part": 1.0}
TUNED = "the exponent is the paper's for CIFAR-10, not tuned for every data set"


def exponent(a: float) -> dict[str, object]:
    """Adma with another exponent, as printed."""
    return dict(loss("adma", a=a, normalize=False, learnable=False))


CLAIMS = (
    Claim(
        "adma-on-par-with-ce", "001", "Section 5, Tables 1 and 3",
        "With Adam, Adma is about as accurate as cross-entropy.",
        Equivalence((minus(ADMA, CE, where=ADAM), minus(ADMA, CE, where=ADAM_L2))),
        "adma-accuracy", "MNIST, Fashion, CIFAR-10: +0.09, +0.28, +0.16; with L2 +0.04, +0.06, -0.52", TUNED,
    ),
    Claim(
        "adma-leads-without-l2", "001", "Section 5, Table 3",
        "With Adam and no L2, Adma is more accurate than cross-entropy.",
        Superiority((minus(ADMA, CE, where=ADAM),), printed=0.18),
        "adma-accuracy", "MNIST, Fashion, CIFAR-10: +0.09, +0.28, +0.16", TUNED,
    ),
    Claim(
        "adma-on-par-with-ce-under-sgd", "001", "Section 5, Tables 2 and 4",
        "With SGD, Adma ends up about as accurate as cross-entropy.",
        Equivalence((minus(ADMA, CE, where=SGD),)),
        "adma-accuracy", "MNIST, Fashion, CIFAR-10 without L2: -0.10, +1.59, -0.13", TUNED,
    ),
    Claim(
        "adma-beats-mse", "001", "Section 5, Tables 1 and 3",
        "Adma is more accurate than the mean squared error.",
        Superiority((minus(ADMA, MSE, where=ADAM),), printed=0.63),
        "adma-accuracy", "MNIST, Fashion, CIFAR-10: +0.05, +0.58, +1.27", TUNED,
    ),
    Claim(
        "squared-hinge-worst", "001", "Section 5, Tables 1 and 3",
        "The squared hinge is the least accurate of the four losses.",
        Superiority(tuple(minus(other, HINGE, where=ADAM) for other in (CE, ADMA, MSE))),
        "adma-accuracy", "MNIST, Fashion, CIFAR-10: 0.13 to 2.16 below cross-entropy", TUNED,
    ),
    Claim(
        "adma-first-epoch", "001", "Section 5, Figure 3",
        "Adma is ahead of the other losses after the first epoch, by a clear margin.",
        Superiority(lead_over(ADMA, (CE, MSE, HINGE), "first_epoch_accuracy", where=ADAM)),
        "adma-learning", "MNIST 98 %; cross-entropy 96.5, MSE 95.5, squared hinge 93.5", TUNED,
    ),
    Claim(
        "adma-converges-faster", "001", "Abstract, section 5",
        "Adma converges faster than cross-entropy.",
        Superiority(lead_over(ADMA, (CE,), "epochs_to_95", where=ADAM)),
        "adma-learning", "", TUNED,
    ),
    Claim(
        "adma-steadier", "001", "Section 5, Figure 3",
        "Adma's accuracy varies less from epoch to epoch than that of cross-entropy.",
        Superiority(lead_over(ADMA, (CE,), "roughness", where=ADAM)),
        "adma-learning", "", TUNED,
    ),
    Claim(
        "adma-overfits-less", "001", "Section 5",
        "Adma overfits less: the training accuracy is less far above the validation accuracy.",
        Superiority(lead_over(ADMA, (CE,), "train_gap", where=ADAM)),
        "adma-learning", "", TUNED,
    ),
    Claim(
        "adma-leads-with-few-images", "001", "Section 5",
        "With 0.6 of the data for training, Adma leads cross-entropy by about 4 points.",
        Superiority((minus(ADMA, CE, where={**ADAM, **SMALL}),), size=4.0, printed=4.0),
        "adma-fractions", "about +4 on Flower and Skin Cancer", TUNED,
    ),
    Claim(
        "adma-loses-least-with-fewer-images", "001", "Section 5",
        "When the training images are cut to 0.6, Adma loses less accuracy than cross-entropy.",
        Superiority((double_minus(ADMA, CE, SMALL, WHOLE, "test_accuracy", where=ADAM),)),
        "adma-fractions", "", TUNED,
    ),
    Claim(
        "adma-exponent-has-an-inner-optimum", "001", "Section 3.1, item 1",
        "Both too large and too small an exponent harm.",
        Superiority((minus(exponent(0.3), exponent(0.1)), minus(exponent(0.3), exponent(0.5)))),
        "adma-exponent",
    ),
    Claim(
        "adma-robust-to-label-noise", "001", "Section 5",
        "Adma copes better than cross-entropy with wrong labels.",
        Superiority((minus(ADMA, CE, where={"label_noise": 0.4}),)),
        "adma-learning", "", "the paper says noise in the data; tested with 40 % of the labels replaced",
    ),
    Claim(
        "adma-highest-on-half-with-l2", "001", "Section 5 against Table 1",
        "With L2 and Adam, Adma is the most accurate on half of the eight data sets.",
        Exact("printed table", "rows of Table 1 in which Adma is the highest", printed_gains.adma_best_with_l2),
        "adma-tables", "4 of 8",
    ),
    Claim(
        "adma-gains-two-without-l2", "001", "Section 5 against Tables 1 and 3",
        "Without L2, Adma takes the lead on two more data sets.",
        Exact("printed table", "rows of Table 3 against Table 1", printed_gains.adma_gains_without_l2),
        "adma-tables", "2 more",
    ),
    Claim(
        "adma-surpasses-ce-over-all-tables", "001", "Abstract, Conclusion",
        "Over all settings Adma equals or surpasses cross-entropy.",
        Exact("printed table", "mean over the 32 cells of Tables 1 to 4", printed_gains.adma_over_all_cells),
        "adma-tables",
    ),
    Claim(
        "adma-larger-exponent-under-sgd", "001", "Section 5",
        "Under SGD Adma needs a larger exponent than under Adam.",
        Exact("printed table", "exponents of Tables 2 and 4 against 1 and 3", printed_gains.adma_exponent_under_sgd),
        "adma-exponent",
    ),
    Claim(
        "adma-mnist-error", "001", "Section 5",
        "A pretrained ResNet34 with Adma has an error of 0.025 % on MNIST.",
        Exact("printed table", "wrong images among 10,000", printed_gains.adma_mnist_error),
        "adma-tables", "0.025 %",
    ),
    Claim(
        "adma-range", "001", "Section 3",
        "Adma lies between 0 and e - 1 and falls with the probability of the target.",
        Exact("mathematics", "values on a grid of probabilities and exponents", algebra.adma_range),
        "adma-curves", "[0, e - 1]",
    ),
    Claim(
        "adma-convex-up-to-half", "001", "Section 3, Figure 1",
        "Adma is convex for exponents up to 0.5 and loses that beyond.",
        Exact("mathematics", "second differences on a grid of probabilities", algebra.adma_convex),
        "adma-curves", "0.5",
    ),
    Claim(
        "adma-imitates-ce", "001", "Section 3, Figure 1",
        "For some exponent Adma has the shape of cross-entropy.",
        Exact("mathematics", "Adma over e times a against cross-entropy as a goes to 0", algebra.adma_imitates_ce),
        "adma-curves",
    ),
    Claim(
        "adma-gradient-amplified", "001", "Section 3.1, item 3",
        "Adma's gradients are always amplified, so learning does not saturate.",
        Exact("mathematics", "gradient on the target's logit over that of cross-entropy", algebra.adma_gradient),
        "adma-curves", "factor in [1, e]",
    ),
)  # fmt: skip
