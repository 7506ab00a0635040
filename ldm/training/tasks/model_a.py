"""ModelA: Stage A, the autoencoder, as it is trained. Images -> loss."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm.weights.release import Release, network_config


class ModelA(nn.Layer):
    """The VQ autoencoder of a release folder, to be trained; the state dict holds it as `stage_a.*`.

    The release was also trained with adversarial and perceptual losses; those need networks that no package on PyPI
    carries, so the loss here is squared error and the codebook's (VQ-VAE, arXiv:1711.00937).
    """

    def __init__(self, weights_path, codebook_weight: float = 0.1):
        super().__init__()
        self.release = release = Release(weights_path)
        self.network_config = network_config(release.file("stage_a"), "stage_a")
        self.stage_a = release.load("stage_a")
        self.codebook_weight = codebook_weight

    def forward(self, images, quantised):
        """images (B, 3, S, S) in [0, 1]; quantised (B,) bool: decoded from the codebook's vectors -> loss ().

        The decoder must do both: its codebook makes the latent robust, and Stage B hands it unquantised latents.
        """
        latent = self.stage_a.encode(images)
        coded, codebook_loss = self.stage_a.quantize(latent)
        chosen = paddle.where(quantised.reshape([-1, 1, 1, 1]), coded, latent)
        return F.mse_loss(self.stage_a.decode(chosen), images) + self.codebook_weight * codebook_loss

    @paddle.no_grad()
    def reconstruct(self, images):
        """Images (B, 3, S, S) -> through the autoencoder and back, unquantised, same shape."""
        return self.stage_a.decode(self.stage_a.encode(images))
