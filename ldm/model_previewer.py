"""ModelPreviewer: the previewer as it is trained, to show what the prior's latents mean; alone or with the encoder."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm.batch_norms import variance
from ldm.frozen import Frozen
from ldm.precision import float32_region
from ldm.release import Release, network_config
from ldm.sizes import TRAINING_FACTOR
from ldm.squares import cut_squares
from ldm.stage import EncoderOwner

UPSCALING = 8  # pixels of a preview per cell of a latent


class ModelPreviewer(EncoderOwner, nn.Layer):
    """The previewer of a release folder behind its encoder; the state dict holds it as `previewer.*`.

    With `train_encoder` the two are a small plain autoencoder: the quickest way to latents that mean something.

    noise: standard deviation of what is added to the latents, in units of each channel's own in the batch: latents of a
    prior, which errs, are shown as well, and the encoder learns a code in which small errors are small in the picture.
    That unit is differentiated too: taken for a constant it makes larger latents look better, and they grow without end.
    """

    def __init__(self, weights_path, noise: float = 0.0):
        super().__init__()
        release = Release(weights_path)
        self.frozen, self.noise = Frozen(release), noise
        self.network_config = network_config(release.file("previewer"), "previewer")
        self.previewer = release.load("previewer")

    def encode(self, images):
        """Images (B, 3, S, S) in [0, 1] -> latents (B, 16, S / 32, S / 32)."""
        with float32_region():
            return self.encoder.encode(images)

    def forward(self, images, latent_noise, corners=None):
        """images (B, 3, S, S) in [0, 1], latent_noise (B, 16, S / 32, S / 32) standard normal -> loss ().

        corners (B, 2): train on the squares with these top left corners, in pixels, that latent_noise is for.
        """
        if corners is not None:
            images = cut_squares(images, corners, TRAINING_FACTOR * latent_noise.shape[2])
        latents = self.encode(images)
        target = F.interpolate(images, size=[UPSCALING * side for side in latents.shape[2:]], mode="area")
        deviation = (variance(latents, keepdim=True) + 1e-8).sqrt()  # its slope is finite at 0
        return F.mse_loss(self.previewer(latents + self.noise * deviation * latent_noise), target)

    @paddle.no_grad()
    def preview(self, images):
        """Images (B, 3, S, S) -> previews of their latents (B, 3, S / 4, S / 4)."""
        return self.previewer(self.encode(images))
