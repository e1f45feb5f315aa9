"""MatConvNet files made up for the tests: VGG's topology with a few channels, in each layout in circulation."""

import numpy as np
import scipy.io
from cases import MEAN, WIDTHS

from minivgg.gradcheck import rows


def random_params(arch="vgg19", widths=WIDTHS, seed=0):
    """{"conv1_1": (filters (3,3,in,out), biases (out,)), ...} of all convolutions, as float32."""
    last = {"vgg16": "conv5_3", "vgg19": "conv5_4"}[arch]
    params = rows.random_params(np.random.default_rng(seed), arch, widths, last=last, bias=1.0, dtype=np.float32)
    return {name: (w.transpose(2, 3, 1, 0), b) for name, (w, b) in params.items()}


def struct(**fields):
    """A MATLAB struct whose fields stand in this order."""
    record = np.empty((1, 1), dtype=[(name, object) for name in fields])
    for name, value in fields.items():
        record[name][0, 0] = value
    return record


def cell(*values):
    """A MATLAB 1 x n cell."""
    out = np.empty((1, len(values)), dtype=object)
    for i, value in enumerate(values):
        out[0, i] = value
    return out


def conv(name, w, b, layout):
    """One convolution as each layout has it."""
    ones = np.ones((1, 4))
    if layout == "meta":
        weights = cell(w, b.reshape(-1, 1))
        return struct(name=name, type="conv", weights=weights, pad=ones, stride=np.ones((1, 2)))
    if layout == "normalization":  # beta16: the weights first
        return struct(weights=cell(w, b.reshape(1, -1)), pad=1.0, type="conv", name=name, stride=1.0)
    return struct(type="conv", filters=w, biases=b.reshape(1, -1), stride=1.0, pad=1.0, name=name)


def layers_of(params, layout="meta", *, classifier=True, pool5=True):
    """The `layers` entries, conv/relu/pool in order, then a small fully connected part."""
    layers, previous = [], "1"
    for name, (w, b) in params.items():
        if name[4] != previous:
            layers.append(pool(f"pool{previous}"))
            previous = name[4]
        layers += [conv(name, w, b, layout), struct(name=name.replace("conv", "relu"), type="relu")]
    if pool5:
        layers.append(pool("pool5"))
    if classifier:
        width = b.size
        layers.append(conv("fc6", np.ones((7, 7, width, 2), "f4"), np.zeros(2, "f4"), layout))
        layers += [struct(type="relu", name="relu6"), struct(type="dropout", name="dropout6", rate=0.5)]
        layers.append(conv("fc7", np.ones((1, 1, 2, 2), "f4"), np.zeros(2, "f4"), layout))
        layers.append(struct(type="softmax", name="prob"))
    return layers


def pool(name):
    """A 2x2 pool."""
    sizes = {"pool": np.array([[2.0, 2.0]]), "stride": np.array([[2.0, 2.0]]), "pad": np.zeros((1, 4))}
    return struct(name=name, type="pool", method="max", **sizes)


def write_mat(path, layers, layout="meta", average=MEAN, **options):
    """A .mat file with these layers; the average as 3 values (newer) or as a picture (older)."""
    average = np.asarray(average, dtype="f4").reshape(1, 1, -1)
    variables = {"layers": cell(*layers)}
    if layout == "meta":
        normalization = struct(imageSize=np.array([[224.0, 224, 3]]), averageImage=average, keepAspect=1)
        variables["meta"] = struct(inputs=np.zeros((0, 0)), normalization=normalization)
    else:
        picture = np.broadcast_to(average, (224, 224, average.shape[2]))
        variables["normalization"] = struct(averageImage=picture, keepAspect=1, border=np.zeros((1, 2)))
        variables["classes"] = struct(name="cat")
    scipy.io.savemat(path, variables, **options)
    return path


def vgg_mat(path, arch="vgg19", layout="meta", *, widths=WIDTHS, seed=0, **options):
    """A whole small VGG file; returns its path."""
    classifier, pool5 = options.pop("classifier", True), options.pop("pool5", True)
    layers = layers_of(random_params(arch, widths, seed), layout, classifier=classifier, pool5=pool5)
    return write_mat(path, layers, layout, **options)
