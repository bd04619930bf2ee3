"""Well-known claims of the field about losses, beside those of the five papers, by the same rule.

Untuned, a loss has its default parameters; a tuned loss has those that its study found.
"""

from __future__ import annotations

from dataclasses import replace

from lossbench.claims import algebra
from lossbench.claims.contrasts import Contrast, lead_over, loss, minus
from lossbench.claims.verdicts import MARGIN, Claim, Compared, above

CE, BCE, SQUENTROPY = map(loss, ("cross_entropy", "binary_cross_entropy", "squentropy"))
SQUARE, SMOOTH = loss("square_loss", goal=1.0, factor=1.0), loss("label_smoothing", epsilon=0.1)
FOCAL, POLY = loss("focal", gamma=2.0), loss("poly1", epsilon=2.0)
GCE, SCE = loss("generalized_cross_entropy", q=0.7), loss("symmetric_cross_entropy", alpha=0.1, beta=1.0)
ADJUSTED = loss("logit_adjusted", tau=1.0)
WRONG, TRANSFER = {"label_noise": 0.4}, "test_transfer_accuracy"
ABOUT = f"read as: at most {MARGIN:g} points behind"


def both(*contrasts: Contrast, bound: float = 0.0) -> Compared:
    """Every contrast is above a bound, of untuned losses and of tuned ones with whatever parameters they found."""
    return above(*contrasts, bound=bound, tuned=tuple(map(any_parameters, contrasts)))


def any_parameters(contrast: Contrast) -> Contrast:
    """The same contrast, the losses' parameters left open."""
    terms = [replace(term, where={"loss": term.where["loss"]}) for term in contrast.terms]
    return replace(contrast, terms=tuple(terms))


CLAIMS = (
    Claim(
        "field-square-loss-as-good", "hui-2020", "Abstract",
        "The square loss is about as accurate as cross-entropy.",
        both(minus(SQUARE, CE), bound=-MARGIN), reconstruction=ABOUT,
    ),
    Claim(
        "field-cross-entropy-edge-in-vision", "hui-2020", "Abstract",
        "On images cross-entropy has a slight edge over the square loss.",
        both(minus(CE, SQUARE)),
    ),
    Claim(
        "field-kl-better-than-ce", "draeger-2022", "Abstract",
        "KL divergence classifies significantly better than cross-entropy.",
        algebra.ce_is_kl,
    ),
    Claim(
        "field-smoothing-more-accurate", "mueller-2019", "Abstract",
        "Label smoothing improves accuracy.",
        both(minus(SMOOTH, CE)),
    ),
    Claim(
        "field-smoothing-calibrates", "mueller-2019", "Abstract, section 3",
        "Label smoothing improves calibration.",
        both(*lead_over(SMOOTH, (CE,), "test_ece")),
    ),
    Claim(
        "field-better-in-training-task", "kornblith-2021", "Abstract",
        "Label smoothing and binary cross-entropy are more accurate than cross-entropy in the task trained on.",
        both(minus(SMOOTH, CE), minus(BCE, CE)),
        reconstruction="two of the paper's nine objectives are in the tuned studies",
    ),
    Claim(
        "field-worse-in-transfer", "kornblith-2021", "Abstract",
        "Fixed features learned with such losses, label smoothing among them, serve other tasks worse.",
        both(*(minus(CE, better, TRANSFER) for better in (SMOOTH, BCE))),
        reconstruction="two of the paper's nine objectives, a small network, one other data set",
    ),
    Claim(
        "field-bce-as-good", "wightman-2021", "Section 3",
        "Binary cross-entropy is at least as accurate as cross-entropy.",
        both(minus(BCE, CE), bound=-MARGIN),
        reconstruction=f"{ABOUT}; the paper mixes images, which gives targets of several classes",
    ),
    Claim(
        "field-focal-calibrates", "mukhoti-2020", "Abstract",
        "Focal loss gives better calibrated networks than cross-entropy.",
        both(*lead_over(FOCAL, (CE,), "test_ece")),
        reconstruction="without temperature scaling, which the paper reports as well",
    ),
    Claim(
        "field-focal-as-accurate", "mukhoti-2020", "Abstract",
        "Focal loss does so without giving up accuracy.",
        both(minus(FOCAL, CE), bound=-MARGIN), reconstruction=ABOUT,
    ),
    Claim(
        "field-gce-robust", "zhang-2018", "Abstract",
        "Generalised cross-entropy is more accurate than cross-entropy when many training targets are wrong.",
        both(minus(GCE, CE, where=WRONG)), reconstruction="tested with 40 % of the targets replaced",
    ),
    Claim(
        "field-sce-robust", "wang-2019", "Abstract",
        "Symmetric cross-entropy is more accurate than cross-entropy when many training targets are wrong.",
        both(minus(SCE, CE, where=WRONG)), reconstruction="tested with 40 % of the targets replaced",
    ),
    Claim(
        "field-logit-adjustment-serves-rare-classes", "menon-2020", "Abstract",
        "Logit adjustment serves rare classes of a long tail better than cross-entropy.",
        both(*lead_over(ADJUSTED, (CE,), "test_macro_f1", ("ham10000",))),
        reconstruction="macro F1 for the paper's balanced error; tuned by accuracy, not for rare classes",
    ),
    Claim(
        "field-poly1-better", "leng-2022", "Abstract",
        "Poly-1, one term more than cross-entropy, is more accurate.",
        both(minus(POLY, CE)),
    ),
    Claim(
        "field-squentropy-more-accurate", "hui-2023", "Abstract",
        "Squentropy is more accurate than cross-entropy and than the square loss.",
        both(minus(SQUENTROPY, CE), minus(SQUENTROPY, SQUARE)),
    ),
    Claim(
        "field-squentropy-calibrates", "hui-2023", "Abstract",
        "Squentropy is better calibrated than both.",
        both(*lead_over(SQUENTROPY, (CE, SQUARE), "test_ece")),
    ),
)  # fmt: skip
