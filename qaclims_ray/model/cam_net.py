"""The class activation map (CAM) network: a backbone and a 1x1 classifier."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.model.resnet import CamBackbone, backbone
from qaclims_ray.model.shapes import Cams, Images

TIMM, IMAGENET = "timm:", "imagenet"


def pool_logits(logits: Cams) -> Float[Tensor, "B C"]:
    """Class logits of whole images: the mean of each logit map.

    Equal to classifying the pooled features, since the classifier is linear and has no bias.
    """
    return logits.mean(dim=(2, 3))


class CamNet(nn.Module):
    """A backbone and a 1x1 classifier without bias, whose logit maps are the CAMs.

    `sigmoid(net(images))` are the CAMs that training uses, `relu(net(images))` those of inference.
    """

    def __init__(self, backbone: CamBackbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Conv2d(backbone.num_features, num_classes, kernel_size=1, bias=False)

    def forward(self, images: Images) -> Cams:
        """Logit maps at the backbone's stride."""
        return self.classifier(self.backbone(images))

    def classify(self, images: Images) -> Float[Tensor, "B C"]:
        """Class logits of whole images."""
        return pool_logits(self(images))

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the backbone (frozen ones among them) and of the head."""
        return list(self.backbone.parameters()), list(self.classifier.parameters())


def build_cam_net(
    backbone_name: str, num_classes: int, backbone_weights: str | Path | None = None
) -> CamNet:
    """A CAM network with a fresh classifier.

    Args:
        backbone_name: a name of `resnet.BACKBONES`, or `timm:` and a name of timm's.
        num_classes: classes, background excluded.
        backbone_weights: a local `.safetensors` or torch file in torchvision's or timm's names;
            or `imagenet` (the published start; for timm's networks timm's own) or a torchvision id
            such as `ResNet50_Weights.IMAGENET1K_V2`, which are downloaded; None: random.

    Raises:
        ValueError: unknown backbone; weights that aren't there or don't fit.
    """
    return CamNet(_backbone(backbone_name, backbone_weights), num_classes)


def _backbone(name: str, weights: str | Path | None) -> CamBackbone:
    if name.startswith(TIMM):
        from qaclims_ray.model.timm_backbone import timm_backbone  # timm costs a process a second

        pretrained = weights == IMAGENET
        net = timm_backbone(name.removeprefix(TIMM), pretrained=pretrained)
        weights = None if pretrained else weights
    else:
        net = backbone(name)
    if weights is not None:
        net.load(weights)
    return net
