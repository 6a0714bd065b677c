"""U-Net on any encoder that has pretrained weights."""

from __future__ import annotations

from torch import Tensor

from eaves.models.encoders import make_encoder
from eaves.models.network import SegmentationNetwork

DECODER_CHANNELS = (256, 128, 64, 32, 16)


class UNet(SegmentationNetwork):
    """The U-Net of segmentation-models-pytorch: an encoder by name, a decoder of nearest upsampling.

    Source: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        encoder: Name of the encoder; see :func:`eaves.models.encoders.make_encoder`. Deep ones look further than
            ``halo_px``, faintly.
        stride_in_1x1: See :func:`eaves.models.encoders.make_encoder`.

    Raises:
        SettingsError: The encoder does not exist.
    """

    stride = 32
    halo_px = 128

    def __init__(
        self, in_channels: int, classes: int, *, encoder: str = "mobilenet_v2", stride_in_1x1: bool = False
    ) -> None:
        super().__init__(in_channels, classes)
        from segmentation_models_pytorch.base import SegmentationHead
        from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        self.encoder_name = encoder
        self.encoder, widths = make_encoder(encoder, in_channels, stride_in_1x1=stride_in_1x1)
        self.decoder = UnetDecoder(
            widths,
            DECODER_CHANNELS,
            n_blocks=len(DECODER_CHANNELS),
            add_center_block=encoder.startswith("vgg"),
        )
        self.head = SegmentationHead(DECODER_CHANNELS[-1], self.out_channels, kernel_size=3)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    def logits(self, image: Tensor) -> Tensor:
        """See :meth:`SegmentationNetwork.logits`."""
        return self.head(self.decoder(self.encoder(image)))
