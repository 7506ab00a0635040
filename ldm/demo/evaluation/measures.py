"""Numbers for how alike two pictures are, and how sure a share is. Pictures: uint8 (H, W, 3)."""

import math

import numpy as np

Z_95 = 1.959964  # standard normal: 95 % lie within plus and minus this
BEST_PSNR = 100.0  # dB; what equal pictures count as, whose value is infinite


def psnr(image, reference) -> float:
    """Peak signal-to-noise ratio in dB, peak 255, over all pixels and channels."""
    error = np.mean((_float(image) - _float(reference)) ** 2)
    return BEST_PSNR if error == 0 else min(BEST_PSNR, 10 * math.log10(255**2 / error))


def ssim(image, reference) -> float:
    """Structural similarity (Wang et al. 2004) as scikit-image computes it, mean over the channels."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(image, reference, channel_axis=2, data_range=255))


def check_ssim():
    """ModuleNotFoundError with the remedy if `ssim` cannot work here."""
    try:
        import skimage.metrics  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: pip install -r requirements-test.txt (scikit-image computes SSIM), or leave out "
            "reconstruction with --parts."
        ) from error


def difference(image, reference) -> float:
    """Mean absolute difference, in levels of 0 to 255."""
    return float(np.abs(_float(image) - _float(reference)).mean())


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): unlike share +- error it stays within 0 and 1, also at 0 and at 1."""
    share, weight = right / total, Z_95**2 / total
    middle = (share + weight / 2) / (1 + weight)
    reach = Z_95 / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / total / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def spread(values) -> dict:
    """Mean, least and largest of some numbers."""
    values = [float(value) for value in values]
    return {"mean": sum(values) / len(values), "least": min(values), "largest": max(values)}


def _float(image) -> np.ndarray:
    return np.asarray(image, np.float64)
