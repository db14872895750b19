"""How alike two sets of feature vectors are, frame by frame and as distributions.

Linear CKA (Kornblith et al. 2019, "Similarity of neural network representations revisited", arXiv 1905.00414), for
centred X (n, p) and Y (n, q) of the same n frames:

    CKA = ||Y' X||_F^2 / (||X' X||_F ||Y' Y||_F)

It lies in [0, 1] and does not change as either set is rotated or scaled: it asks whether the same frames are near one
another. Layers may have a CKA of 1 and yet speak in different coordinates, so that what reads one could not read the
other. The Frechet distance of Gaussians with the sets' means and covariances (Dowson & Landau 1982; the FID of Heusel
et al. 2017 is the same formula) asks about distributions in one and the same coordinates,

    d^2 = ||m_1 - m_2||^2 + tr(S_1 + S_2 - 2 (S_1^(1/2) S_2 S_1^(1/2))^(1/2)),

here divided by (tr S_1 + tr S_2) / 2, so that it has no unit: 0 for equal moments.
"""

import torch
from torch import Tensor


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of (n, p) and (n, q); frames correspond."""
    x, y = (one.double() - one.double().mean(dim=0) for one in (x, y))
    cross, own, other = (torch.linalg.matrix_norm(a.T @ b) for a, b in ((y, x), (x, x), (y, y)))
    return float(cross.square() / (own * other))


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """d^2 above of (n, p) and (m, p), by its mean variance; frames need not correspond."""
    (mean_x, cov_x), (mean_y, cov_y) = _moments(x), _moments(y)
    root = _root(cov_x)
    overlap = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0.0).sqrt().sum()
    traces = cov_x.trace() + cov_y.trace()
    squared = (mean_x - mean_y).square().sum() + traces - 2.0 * overlap
    return float(squared.clamp(min=0.0) / (traces / 2.0))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double()
    return x.mean(dim=0), x.T.cov()


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    return root
