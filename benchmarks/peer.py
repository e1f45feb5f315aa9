"""The measuring peer: the same objective in PyTorch, by its own convolutions and automatic differentiation."""

import numpy as np

from minivgg import layer_names

from .common import CONTENT, STYLE


class TorchObjective:
    """Content loss at relu4_2 and style loss at relu1_1 … relu5_1, Gatys' weights; evaluate(image) -> (loss, gradient).

    params  {"conv1_1": (w, b), …} NumPy arrays
    layout  "nchw", "channels_last", or "compiled" (torch.compile over channels last)
    style_weight  factor of the style loss, in the units of style/MATH.md
    """

    def __init__(self, params, content, style, *, layout="nchw", device="cpu", dtype="float32", style_weight=1000):
        import torch  # an optional extra; nothing outside benchmarks/ imports it

        self.torch = torch
        self.dtype, self.device, self.style_weight = getattr(torch, dtype), device, style_weight
        self.format = torch.contiguous_format if layout == "nchw" else torch.channels_last
        self.params = {
            k: (self.tensor(w).to(memory_format=self.format), self.tensor(b)) for k, (w, b) in params.items()
        }
        # VGG-19's layers down to conv5_1, as in our network: the deepest that the losses ask for
        names = layer_names("vgg19")
        self.names = names[: names.index("relu5_1") + 1]
        with torch.no_grad():
            self.target = self._features(self._picture(content))[CONTENT]
            feats = self._features(self._picture(style))
            self.grams = {n: self._gram(feats[n]) for n in STYLE}
        self._loss = torch.compile(self.loss) if layout == "compiled" else self.loss

    def tensor(self, a):
        return self.torch.tensor(np.ascontiguousarray(a), dtype=self.dtype, device=self.device)

    def _picture(self, image):
        return self.tensor(image).to(memory_format=self.format)

    def _features(self, x):
        f = self.torch.nn.functional
        feats = {}
        for name in self.names:
            if name.startswith("conv"):
                x = f.conv2d(x, *self.params[name], padding=1)
            elif name.startswith("relu"):
                x = f.relu(x)
                feats[name] = x
            else:
                x = f.max_pool2d(x, 2)
        return {n: v for n, v in feats.items() if n in STYLE or n == CONTENT}

    def _gram(self, feat):
        flat = feat.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    def loss(self, x):
        """Scalar tensor."""
        f = self.torch.nn.functional
        feats = self._features(x)
        total = f.mse_loss(feats[CONTENT], self.target)
        for n in STYLE:
            total = total + self.style_weight / feats[n].shape[1] ** 2 * f.mse_loss(self._gram(feats[n]), self.grams[n])
        return total

    def evaluate(self, image):
        """(loss, gradient (1, 3, H, W)) at a NumPy image or a tensor."""
        x = (image if self.torch.is_tensor(image) else self._picture(image)).detach().requires_grad_()
        loss = self._loss(x)
        (gradient,) = self.torch.autograd.grad(loss, x)
        return loss.item(), gradient
