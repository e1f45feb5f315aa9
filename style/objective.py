"""The objective: a picture in, its loss and the gradient by every pixel out, each term reported.

L(x) = Σ_l α_l content_l + Σ_l β_l style_l + γ tv, with the losses in the units of losses.py. The picture is a network
input (1, 3, H, W): grey levels less the average colour, in the network's channel order, on the network's device.
"""

import contextlib
from dataclasses import dataclass, field

from minivgg import Given
from minivgg.backend import get_xp, to_numpy

from . import losses


@dataclass(frozen=True)
class Terms:
    """What the loss is made of: factor of each term, by layer. `tv_beta` is the exponent of tv_loss."""

    content: dict = field(default_factory=dict)  # {layer: α}
    style: dict = field(default_factory=dict)  # {layer: β}
    tv: float = 0.0
    tv_beta: float = 2.0

    @property
    def layers(self):
        return tuple(dict.fromkeys([*self.content, *self.style]))


@dataclass
class Evaluation:
    """Loss and gradient at one picture. The numbers are Python floats, already multiplied with their factors."""

    content: dict  # {layer: α · content loss}
    style: dict  # {layer: β · style loss}
    tv: float
    gradient: object  # (1, 3, H, W), dL/dpicture

    @property
    def loss(self):
        return self.tv + sum(self.content.values()) + sum(self.style.values())

    def totals(self):
        """{"loss", "content", "style", "tv"}: one float each."""
        return {
            "loss": self.loss,
            "content": sum(self.content.values()),
            "style": sum(self.style.values()),
            "tv": self.tv,
        }


def style_targets(net, image, layers):
    """{layer: A / M}: Gram matrix per place, so that pictures of any size can be compared. image (1, 3, H, W)."""
    if not layers:
        return {}
    feats, _ = net.forward(image, layers)
    grams = {}
    for name, feat in feats.items():
        F = losses.features(feat)
        grams[name] = losses.gram_forward(F, matmul=net.kernels.matmul) / F.shape[1]
    return grams


def content_targets(net, image, layers):
    """{layer: activation (1, C, h, w)} of the content picture."""
    if not layers:
        return {}
    # copies, so that the buffers they were computed in are free
    return {name: feat.copy(order="K") for name, feat in net.forward(image, layers, cached=False)[0].items()}


class Evaluating:
    """What objectives share, whole or in tiles; enqueue(image) and net are theirs."""

    def evaluate(self, image):
        """Evaluation at `image` (1, 3, H, W). Raises ValueError when its size is not the content targets'."""
        with self.computing():
            return fetch(*self.enqueue(image))

    def computing(self):
        """A context to hold over many evaluations and what lies between them: VGG.computing."""
        return contextlib.nullcontext() if self.net is None else self.net.computing()  # TV alone needs none


class Objective(Evaluating):
    """Loss and gradient of whole pictures of one size.

    net      minivgg.VGG
    terms    Terms
    content  {layer: activation} from content_targets
    style    {layer: A / M} from style_targets
    """

    def __init__(self, net, terms, content, style):
        self.net, self.terms, self.content, self.style = net, terms, content, style
        self.layers = terms.layers  # those that an evaluation computes

    def enqueue(self, image):
        """evaluate() up to the point where the host must wait: (content, style, tv, gradient), all on the device."""
        terms, layers = self.terms, self.layers
        content, style = {}, {}
        if layers:
            feats, cache = self.net.forward(image, layers)
            dfeats = self._add_up(feats, content, style)
            del feats  # what backward needs lives in the gradients until it has been used
            gradient = self.net.backward(dfeats, cache)
        tv = None
        if terms.tv:
            tv, dtv = losses.tv_loss(image, beta=terms.tv_beta)
            tv = terms.tv * tv
            gradient = gradient + terms.tv * dtv if layers else terms.tv * dtv
        return content, style, tv, gradient

    def _add_up(self, feats, content, style):
        """Put each term's value into `content` or `style`; returns {layer: Given}."""
        dfeats = {}
        for name, feat in feats.items():
            if name in self.terms.content:
                content[name], dfeats[name] = self._content(name, feat)
            if name in self.terms.style:
                style[name], dstyle = self._style(name, feat)
                dfeats[name] = both(dfeats.get(name), dstyle)
        return dfeats

    def _content(self, name, feat):
        """α · content loss at one layer, and its gradient by the activation, a Given."""
        target = self.content[name]
        if target.shape != feat.shape:
            raise ValueError(f"{name}: the picture gives {feat.shape}, the content target has {target.shape}")
        loss, dfeat = losses.content_loss(feat, target)
        factor = self.terms.content[name]
        dfeat *= factor
        return factor * loss, Given.of(dfeat)

    def _style(self, name, feat):
        """β · style loss at one layer, and its gradient, a Given: computed when backward arrives there."""
        F = losses.features(feat)
        M = F.shape[1]
        factor = self.terms.style[name]
        matmul = self.net.kernels.matmul
        loss, dG = losses.style_loss(losses.gram_forward(F, matmul=matmul), self.style[name] * M, M)
        dG *= factor
        return factor * loss, StyleGradient(dG, feat, matmul)


class StyleGradient(Given):
    """Gradient of a style loss by the activation, when it is asked for: whole, or rows of it.

    dG      (C, C)
    feat    (1, C, H, W)
    matmul  Kernels.matmul
    """

    def __init__(self, dG, feat, matmul):
        self.dG, self.feat, self.matmul, self.shape = dG, feat, matmul, feat.shape

    def whole(self):
        dF = losses.gram_backward(self.dG, losses.features(self.feat), matmul=self.matmul)
        return dF.reshape(self.shape)

    def done(self):
        self.feat = None

    def rows(self, n, y0, y1):
        """Rows y0 to y1, channels last: (y1-y0, W, C). The same product as gram_backward, transposed."""
        part = self.feat[n, :, y0:y1].transpose(1, 2, 0)
        F = part.reshape(-1, part.shape[-1])  # (places, C): Fᵀ
        return (F @ (self.dG + self.dG.T)).reshape(part.shape)


def both(first, second):
    """The sum of two Givens, of which the first may not be there (None)."""
    return second if first is None else first + second


def fetch(content, style, tv, gradient):
    """Evaluation of loss values on the device, which go to the host together, in one transfer.

    content, style  {layer: loss}, 0-d values of one type: float64, or complex128 in the complex-step check
    tv              likewise, or None where that term is not there
    """
    values = [*content.values(), *style.values(), *([] if tv is None else [tv])]
    numbers = iter(to_numpy(get_xp(values[0]).stack(values)).tolist() if values else [])
    return Evaluation(
        {name: next(numbers) for name in content},
        {name: next(numbers) for name in style},
        next(numbers, 0.0),
        gradient,
    )
