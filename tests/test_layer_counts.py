"""Counts of layers: torchvision's published figures, closed forms, brute force, real passes, and a model left alone."""

from __future__ import annotations

import copy
import itertools
import math
import re
import time
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models import get_model, get_model_weights, list_models

from lib.inception import NaiveInceptionModule, ReducedInceptionModule, SmallInception
from lib.layer_counts import count_layers, count_saved_bytes, totals

CLASSIFIERS = list_models(module=torchvision.models)
# what the constructor must be told for the model that the published figures belong to
REMARKS = {
    "googlenet": {"aux_logits": False, "init_weights": False},  # num_params counts no auxiliary heads
    "inception_v3": {"aux_logits": True, "init_weights": False},  # num_params counts the auxiliary head, _ops does not
}
QUANTITIES = ["activations", "weights", "biases", "macs"]


class EmptyTensorsOnMeta(TorchFunctionMode):
    """Build models without memory for their weights. (On the meta device altogether, RegNet cannot find its widths.)"""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        device = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **device})


def on_meta(name: str, **arguments) -> nn.Module:
    with EmptyTensorsOnMeta():
        return get_model(name, **arguments)


class Apply(nn.Module):
    """A function as the forward pass of a module that has a linear layer."""

    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x))


# published figures


def test_there_are_80_classification_models_and_all_have_published_figures():
    assert len(CLASSIFIERS) == 80
    assert all(len(get_model_weights(name)) for name in CLASSIFIERS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_counts_equal_the_published_figures_of_torchvision(name):
    counted = {}
    for weights in get_model_weights(name):
        size = weights.transforms.keywords["crop_size"]
        if size not in counted:
            image_size = {"image_size": size} if name.startswith("vit") else {}
            counts = count_layers(on_meta(name, **REMARKS.get(name, {}), **image_size), (3, size, size))
            counted[size] = totals(counts)
        assert counted[size]["parameters"] == weights.meta["num_params"], weights
        assert round(counted[size]["macs"] / 1e9, 3) == weights.meta["_ops"], weights


def test_auxiliary_heads_are_rows_that_are_never_called():
    for name, parameters in (("googlenet", 13_004_888), ("inception_v3", 27_161_264)):
        counts = count_layers(on_meta(name, aux_logits=True, init_weights=False), (3, 299, 299))
        assert totals(counts)["parameters"] == parameters
        heads = counts[counts["layer"].str.match("(?i)aux")]
        assert len(heads) > 0
        assert heads["output_shape"].isna().all()
        assert heads[["activations", "macs"]].to_numpy().sum() == 0
        assert counts.drop(heads.index)["output_shape"].notna().all()


def test_vgg19_is_the_table_of_the_assignment():
    rows, channels, size = [((3, 224, 224), 150_528, 0, 0)], 3, 224
    for width, repeats in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(repeats):
            rows.append(((width, size, size), size * size * width, 3 * 3 * channels * width, width))
            channels = width
        size //= 2
        rows.append(((width, size, size), size * size * width, 0, 0))
    rows += [((n,), n, m * n, n) for m, n in ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000))]
    counts = count_layers(on_meta("vgg19"), (3, 224, 224))
    assert list(counts[["output_shape", "activations", "weights", "biases"]].itertuples(index=False, name=None)) == rows
    assert counts["kind"].value_counts().to_dict() == {"Input": 1, "Conv2d": 16, "MaxPool2d": 5, "Linear": 3}
    by_kind = counts.groupby("kind")["activations"].sum()
    assert by_kind.to_dict() == {"Input": 150_528, "Conv2d": 14_852_096, "MaxPool2d": 1_530_368, "Linear": 9_192}
    assert totals(counts).to_dict() == {
        "activations": 16_542_184,
        "weights": 143_652_544,
        "biases": 14_696,
        "parameters": 143_667_240,
        "macs": 19_632_062_464,
    }


@pytest.mark.parametrize(
    ("module", "shape", "parameters", "macs", "widths"),
    [
        (NaiveInceptionModule, (256, 32, 32), 1_089_536, 1_115_684_864, [256, 128, 192, 96, 256]),
        (ReducedInceptionModule, (256, 32, 32), 388_096, 397_410_304, [256, 128, 128, 192, 32, 96, 256, 64]),
        (SmallInception, (1, 28, 28), 1_649_386, 202_864_928, None),
    ],
)
def test_inception_modules_and_network_as_published(module, shape, parameters, macs, widths):
    found = totals(count_layers(module(), shape))
    assert (found["parameters"], found["macs"]) == (parameters, macs)
    if widths:  # of the input and of what each branch writes, at 1,024 positions
        assert (found["biases"], found["activations"]) == (0, 1024 * sum(widths))
        assert found["macs"] == 1024 * found["weights"]


# closed forms and brute force


@given(
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    bias=st.booleans(),
)
@settings(max_examples=60)
def test_convolution_counts_one_mac_for_each_product(channels, groups, kernel, stride, padding, dilation, size, bias):
    inputs, outputs = (groups * c for c in channels)
    module = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias)
    x = torch.zeros(1, inputs, *size)
    # im2col writes down every factor that a kernel meets, padding zeros included
    columns = F.unfold(x, kernel, dilation, padding, stride)
    products = columns.numel() * (outputs // groups)
    row = count_layers(module, (inputs, *size)).iloc[1]
    assert row["macs"] == products
    assert row["output_shape"] == tuple(module(x).shape[1:])
    assert row["activations"] == module(x).numel()
    assert (row["weights"], row["biases"]) == (module.weight.numel(), outputs if bias else 0)


def test_convolution_by_counting_multiplications_one_by_one():
    module, x = nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.randn(2, 5, 5)
    padded, result, products = F.pad(x, (1, 1, 1, 1)), torch.zeros(3, 5, 5), 0
    for o, i, r, c, u, v in itertools.product(range(3), range(2), range(5), range(5), range(3), range(3)):
        result[o, r, c] += module.weight[o, i, u, v].detach() * padded[i, r + u, c + v]
        products += 1
    torch.testing.assert_close(result, module(x[None])[0].detach())
    assert totals(count_layers(module, (2, 5, 5)))["macs"] == products


CLOSED_FORMS = [  # layer, shape, type; output without the batch; activations, weights, biases, multiply-accumulates
    (nn.ConvTranspose2d(5, 6, 3, stride=2), (5, 8, 8), None, (6, 17, 17), [6 * 17**2, 270, 6, 8 * 8 * 270]),
    (nn.Conv1d(5, 6, 3), (5, 8), None, (6, 6), [36, 90, 6, 6 * 90]),
    (nn.Conv3d(4, 6, 3, groups=2), (4, 8, 8, 8), None, (6, 6, 6, 6), [6**4, 324, 6, 6**3 * 324]),
    (nn.RNN(16, 32, batch_first=True), (10, 16), None, (10, 32), [2 * 10 * 32, 1536, 64, 10 * 1536]),
    (nn.GRU(16, 32, batch_first=True), (10, 16), None, (10, 32), [6 * 10 * 32, 4608, 192, 10 * 4608]),
    (nn.LSTM(16, 32, batch_first=True), (10, 16), None, (10, 32), [8 * 10 * 32, 6144, 256, 10 * 6144]),
    (nn.Embedding(100, 16), (12,), torch.long, (12, 16), [12 * 16, 1600, 0, 0]),
    (nn.Bilinear(5, 6, 7), [(5,), (6,)], None, (7,), [7, 210, 7, 210]),
    (nn.Conv2d(1, 4, 3), (1, 8, 8), None, (4, 6, 6), [144, 36, 4, 36 * 36]),  # one channel is no batch axis
]


@pytest.mark.parametrize(("layer", "shape", "dtype", "output", "counts"), CLOSED_FORMS)
def test_layers_count_as_in_closed_form(layer, shape, dtype, output, counts):
    row = count_layers(layer, shape, dtype=dtype).iloc[-1]
    assert row["output_shape"] == output
    assert row[QUANTITIES].tolist() == counts


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_has_four_projections_and_two_products(need_weights):
    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=need_weights)[0]

    counts = count_layers(SelfAttention(), (10, 64))
    row = counts.iloc[1]
    assert len(counts) == 2  # the weights of the output projection are where they are used
    assert row[["layer", "kind", "output_shape"]].tolist() == ["attention", "MultiheadAttention", (10, 64)]
    assert row["macs"] == 4 * 10 * 64 * 64 + 2 * 10 * 10 * 64
    assert (row["weights"], row["biases"]) == (4 * 64 * 64, 4 * 64)
    assert row["activations"] == 5 * 10 * 64 + 4 * 10 * 10  # four projections, the result of the heads, their scores


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: x @ torch.ones(4, 7), 28),
        (lambda x: x @ torch.ones(4), 4),  # aten.mv
        (lambda x: torch.dot(x[0], x[0]), 4),
        (lambda x: torch.vdot(x[0], x[0]), 4),
        (lambda x: torch.addmv(torch.ones(1), x, torch.ones(4)), 4),
        (lambda x: torch.addbmm(torch.ones(4, 5), torch.ones(2, 4, 3), torch.ones(2, 3, 5)), 2 * 4 * 3 * 5),
        (lambda x: torch.einsum("bi,bj,kij->bk", x, x, torch.ones(3, 4, 4)), None),  # some order, but not none
        (lambda x: F.bilinear(x, x, torch.ones(3, 4, 4)), 3 * 4 * 4),
        (lambda x: F.linear(x, torch.ones(9, 4), torch.ones(9)), 36),
        (lambda x: F.conv1d(x[None], torch.ones(3, 1, 2)), 3 * 3 * 2),
        (lambda x: F.scaled_dot_product_attention(*3 * [x.reshape(1, 2, 2)]), 2 * 2 * 2 * 2),
        (lambda x: x * x + x, 0),
    ],
)
def test_products_outside_of_modules_count_in_the_module_that_calls_them(function, macs):
    counts = count_layers(Apply(function), (4,)).set_index("layer")
    assert counts.loc["layer", "macs"] == 16
    found = counts["macs"].get("(model)", 0)
    assert found == macs or (macs is None and found > 0)


# layouts: PyTorch's attention and recurrent layers look for the batch in the second axis unless told otherwise

STEPS, WIDTH, HIDDEN, HEADS = 30, 16, 32, 4  # a sequence is much longer than a batch of one


def macs_of_attention(steps: int, keys: int, width: int = WIDTH) -> int:
    """Projections of queries and output, of keys and values, and the two products of the heads."""
    return 2 * steps * width**2 + 2 * keys * width**2 + 2 * steps * keys * width


def macs_of_encoder_layer(steps: int) -> int:
    return macs_of_attention(steps, steps) + 2 * steps * WIDTH * HIDDEN


class ImageToSequence(nn.Module):
    """Reads images, batch first, and gives attention what it wants: steps, batch, width."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN)

    def forward(self, x):
        return self.encoder(self.patches(x).flatten(2).permute(2, 0, 1))


def transformer(batch_first: bool) -> nn.Module:
    says = nullcontext() if batch_first else pytest.warns(UserWarning, match="self_attn.batch_first was not True")
    with says:  # PyTorch's advice on speed
        return nn.Transformer(WIDTH, HEADS, 1, 1, HIDDEN, batch_first=batch_first)


LAYOUTS = [
    (lambda b: nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=b), 1, macs_of_encoder_layer(STEPS)),
    (lambda b: nn.MultiheadAttention(WIDTH, HEADS, batch_first=b), 3, macs_of_attention(STEPS, STEPS)),
    (
        lambda b: nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, batch_first=b),
        2,
        2 * macs_of_attention(STEPS, STEPS) + 2 * STEPS * WIDTH * HIDDEN,
    ),
    (
        transformer,
        2,
        3 * macs_of_attention(STEPS, STEPS) + 4 * STEPS * WIDTH * HIDDEN,
    ),
    (lambda b: nn.RNN(WIDTH, HIDDEN, batch_first=b), 1, STEPS * HIDDEN * (WIDTH + HIDDEN)),
    (lambda b: nn.GRU(WIDTH, HIDDEN, batch_first=b), 1, 3 * STEPS * HIDDEN * (WIDTH + HIDDEN)),
    (lambda b: nn.LSTM(WIDTH, HIDDEN, batch_first=b), 1, 4 * STEPS * HIDDEN * (WIDTH + HIDDEN)),
    (
        lambda b: nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=b), nn.Flatten(0, 1)
        ),
        1,
        STEPS * WIDTH**2 + macs_of_encoder_layer(STEPS),
    ),
]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("build", "n_inputs", "macs"), LAYOUTS)
def test_layers_count_the_same_wherever_they_look_for_the_batch(build, n_inputs, macs, batch_first):
    counts = count_layers(build(batch_first), [(STEPS, WIDTH)] * n_inputs)
    assert totals(counts)["macs"] == macs
    assert totals(counts).equals(totals(count_layers(build(True), [(STEPS, WIDTH)] * n_inputs)))
    assert (
        counts["output_shape"].tolist()
        == count_layers(build(True), [(STEPS, WIDTH)] * n_inputs)["output_shape"].tolist()
    )


def test_the_reported_transformer_with_the_batch_in_the_second_axis():
    counts = totals(count_layers(nn.TransformerEncoderLayer(16, 4, 32), (1000, 16)))
    assert counts["macs"] == 34_048_000  # not 2,080,000, as for a thousand sequences of length 1
    assert counts["activations"] == 1000 * (16 + 5 * 16 + 32 + 16) + 4 * 1000**2


@pytest.mark.parametrize("batch_first", [True, False])
def test_saved_bytes_of_attention_are_those_of_a_real_pass_in_both_layouts(batch_first):
    model = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=batch_first)
    x = torch.randn(3, STEPS, WIDTH)
    real = bytes_saved_by_a_real_pass(model, x if batch_first else x.transpose(0, 1).contiguous())
    assert count_saved_bytes(model, (STEPS, WIDTH), batch_size=3)["saved_bytes"].sum() == real


def test_tokens_of_a_model_with_the_batch_in_the_second_axis():
    model = nn.Sequential(nn.Embedding(50, WIDTH), nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN))
    assert totals(count_layers(model, (STEPS,), dtype=torch.long))["macs"] == macs_of_encoder_layer(STEPS)


def test_a_model_that_transposes_for_its_attention_gets_the_batch_first():
    counts = count_layers(ImageToSequence(), (3, 32, 32)).set_index("layer")
    assert counts["macs"].sum() == 3 * 32 * 32 * WIDTH + macs_of_encoder_layer(64)
    assert counts.loc["encoder.linear1", "output_shape"] == (64, HIDDEN)


@pytest.mark.parametrize(
    "sequence",
    [
        lambda x: x.flatten(2).transpose(1, 2),
        lambda x: x.flatten(2).transpose(1, 2).reshape(-1, 16, WIDTH),  # windows of 16 positions
        lambda x: x.mean((2, 3)),  # unbatched for attention, so that the batch is a sequence
    ],
)
def test_attention_that_gets_the_batch_where_it_does_not_look_is_refused_by_name(sequence):
    class Misled(ImageToSequence):
        def forward(self, x):
            return self.encoder(sequence(self.patches(x)))

    with pytest.raises(ValueError, match=r"layer encoder.self_attn \(MultiheadAttention\) .*batch_first=True"):
        count_layers(Misled(), (3, 32, 32))


# complex numbers: the product of two is one multiply-accumulate


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda t: nn.Linear(6, 4, dtype=t), (6,)),
        (lambda t: nn.Conv1d(2, 4, 3, padding="same", padding_mode="circular", dtype=t), (2, 8)),
        (lambda t: nn.Conv2d(2, 4, 3, dtype=t), (2, 8, 8)),
        (lambda t: nn.Conv3d(2, 4, 3, groups=2, bias=False, dtype=t), (2, 5, 5, 5)),
        (lambda t: nn.ConvTranspose2d(2, 4, 3, stride=2, dtype=t), (2, 8, 8)),
        (lambda t: nn.Bilinear(5, 6, 7, dtype=t), [(5,), (6,)]),
        (lambda t: nn.Sequential(nn.Conv2d(2, 4, 3, dtype=t), nn.Flatten(), nn.Linear(144, 3, dtype=t)), (2, 8, 8)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_layers_count_like_real_ones(build, shape, dtype):
    assert count_layers(build(dtype), shape).equals(count_layers(build(torch.float32), shape))


# operations without a formula are named


class Holds(nn.Module):
    """A function of the input and of a weight."""

    def __init__(self, function, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.function = function

    def forward(self, x):
        return self.function(x, self.weight)


@pytest.mark.parametrize(
    ("layer", "shapes", "macs", "activations"),
    [
        (torchvision.ops.DeformConv2d(3, 4, 3), [(3, 8, 8), (18, 6, 6)], 6 * 6 * 4 * 27, 4 * 36),
        (torchvision.ops.DeformConv2d(4, 6, 3, groups=2), [(4, 8, 8), (18, 6, 6), (9, 6, 6)], 36 * 6 * 18, 6 * 36),
        (Holds(lambda x, w: torch.addr(w, x[0], x[0]), 4, 4), (4,), 16, 16),
        (Holds(lambda x, w: torch.conv_tbc(x.transpose(0, 1), w, w[0, 0]), 3, 4, 5), (7, 4), 5 * 5 * 12, 25),
    ],
)
def test_products_that_pytorch_has_no_formula_for_have_one(layer, shapes, macs, activations):
    counts = count_layers(layer, shapes)
    given = sum(math.prod(shape) for shape in shapes) if isinstance(shapes, list) else math.prod(shapes)
    assert totals(counts)[["macs", "activations"]].tolist() == [macs, given + activations]


@torch.library.custom_op("lib_tests::scale", mutates_args=())
def scale(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * weight


@scale.register_fake
def _(x, weight):
    return torch.empty_like(x)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x, w: scale(x, w), "lib_tests.scale"),
        (lambda x, w: torch.fft.rfft(x) @ (w + 0j)[:, :3].T, "aten._fft_r2c"),
        (lambda x, w: torch.linalg.inv_ex(w)[0] * x, "aten.linalg_inv_ex"),
        (lambda x, w: x @ torch.linalg.matrix_exp(w), "aten.linalg_matrix_exp"),
        (
            lambda x, w: x * torchvision.ops.roi_align(w[None, None], torch.zeros(1, 5), 4)[0, 0],
            "torchvision.roi_align",
        ),
        (lambda x, w: torch.stft(x.repeat(1, 8), 8, window=w.flatten()[:8], return_complex=True), "aten._fft_r2c"),
    ],
)
def test_an_operation_without_a_formula_is_named_with_its_layer(function, operation):
    shape = () if operation == "lib_tests.scale" else (4, 4)
    model = nn.Sequential(nn.Linear(4, 4), Holds(function, *shape))
    says = rf"torch.ops.{operation} has no formula.*\(layer 1( and parameter 1.weight)?\).*register_flop_formula"
    with pytest.warns(UserWarning, match=says):
        count_layers(model, (4,))


def test_an_operation_of_a_later_pytorch_is_named_with_the_parameter_that_it_reads():
    library = torch.library.Library("aten", "FRAGMENT")
    for name in ("lib_tests_mix", "lib_tests_scatter"):
        library.define(f"{name}(Tensor x, Tensor weight) -> Tensor")
        library.impl(name, lambda x, weight: torch.empty_like(x), "Meta")
    model = nn.Sequential(nn.Linear(4, 4), Holds(lambda x, w: torch.ops.aten.lib_tests_mix(x, w.T), 4, 4))
    says = r"torch.ops.aten.lib_tests_mix has no formula, .* count 0 \(layer 1 and parameter 1.weight\)"
    with pytest.warns(UserWarning, match=says):
        counts = totals(count_layers(model, (4,)))
    assert counts["macs"] == 16
    for harmless in (lambda x, w: torch.ops.aten.lib_tests_mix(x, x), torch.ops.aten.lib_tests_scatter):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no parameter in it, or a name of those that only move numbers
            count_layers(Holds(harmless, 4, 4), (4,))


# matrix products and distances that are written by broadcasting


def attention(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    past = torch.ones(5, 5, 1, dtype=torch.bool)
    scores = (x[:, :, None] * x[:, None] / 2).masked_fill(past, 0).sum(-1)
    return torch.where(past, scores.softmax(-1)[..., None] * x[:, None], 0).sum(2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("function", "weight", "shape", "macs", "written"),
    [
        (lambda x, w: (x[:, None] * w).sum(-1), (3, 4), (4,), 12, 3),
        (lambda x, w: (x.unsqueeze(-2) * w).sum(dim=-1, keepdim=True), (3, 4), (4,), 12, 3),
        (lambda x, w: torch.sum(torch.mul(w.T, x[:, :, None]), 1), (3, 4), (4,), 12, 3),
        (lambda x, w: (x[:, None].expand(-1, 3, -1).clone().mul_(w)).sum(-1), (3, 4), (4,), 12, 3),
        (lambda x, w: (x[:, None] * w).permute(0, 2, 1).sum(1), (3, 4), (4,), 12, 3),
        (lambda x, w: (x[:, None] * w).flatten(0, 1).sum(-1), (3, 4), (4,), 12, 3),
        (lambda x, w: (x[:, None] * w.view(3, 4)).mean(-1), (12,), (4,), 12, 3),
        (lambda x, w: (x[:, None] * w + w).double().nansum(-1), (3, 4), (4,), 12, 3),
        (lambda x, w: torch.addcmul(w, x[:, None], w).sum(-1), (3, 4), (4,), 12, 3),
        (lambda x, w: (x * w).sum(-1), (4,), (4,), 4, 1),
        (lambda x, w: (x * w).mean(-1), (4,), (4,), 4, 1),
        (lambda x, w: torch.linalg.vecdot(x, w), (4,), (5, 4), 20, 5),
        (lambda x, w: (x.unfold(-1, 3, 1) * w).sum(-1), (3,), (8,), 18, 6),  # a convolution
        (lambda x, w: (x * (x @ w).softmax(1)[..., None]).sum(1), (8,), (5, 8), 40 + 40, 5 + 8),  # attention pooling
        (attention, (1,), (5, 8), 2 * 25 * 8, 25 + 40),
        (lambda x, w: torch.zeros(1, 3).index_add(1, torch.arange(4) % 3, x * w), (4,), (4,), 4, 3),
        (lambda x, w: F.cosine_similarity(x, w), (3, 4), (4,), 12, 3),
        (lambda x, w: nn.CosineSimilarity(-1)(x[:, None], w), (3, 4), (4,), 12, 3),
        (lambda x, w: F.pairwise_distance(x, w), (3, 4), (4,), 12, 3),
        (lambda x, w: F.pairwise_distance(x, w, p=1), (3, 4), (4,), 0, 0),
        (lambda x, w: torch.cdist(x, w), (3, 4), (5, 4), 60, 15),
        (lambda x, w: torch.cdist(x, w), (70, 4), (50, 4), 14_000, 3500),  # another kernel
        (lambda x, w: torch.cdist(x, w, p=1), (3, 4), (5, 4), 0, 0),
        (lambda x, w: torch.pdist(w), (5, 8), (1,), 80, 10),
        (lambda x, w: torch.dist(x, w), (8,), (8,), 8, 1),
        (lambda x, w: ((x.unsqueeze(2) - w) ** 2).sum(-1).argmin(-1), (7, 8), (5, 8), 280, 35),
        (lambda x, w: (-(x[:, None] - w).square().mean(-1)).exp(), (7, 8), (8,), 56, 7),
        (lambda x, w: (lambda d: (d * d).sum(-1))(x[:, None] - w), (7, 8), (8,), 56, 7),
        (lambda x, w: torch.linalg.norm(x[:, None] - w, dim=-1), (7, 8), (8,), 56, 7),
        (lambda x, w: torch.linalg.vector_norm(x[:, None] - w, ord=1, dim=-1), (7, 8), (8,), 0, 0),
        (lambda x, w: (x[:, None] - w).abs().sum(-1), (7, 8), (8,), 0, 0),
    ],
)
def test_products_written_by_broadcasting_count_like_matrix_products(function, weight, shape, macs, written):
    counts = totals(count_layers(Holds(function, *weight), shape))
    assert counts[["macs", "activations"]].tolist() == [macs, math.prod(shape) + written]


@pytest.mark.parametrize("classes", [1, 3])
def test_a_layer_written_by_broadcasting_counts_like_its_twin(classes):
    by_product = Holds(lambda x, w: x @ w.T, classes, 4)
    for function in (lambda x, w: (x[:, None] * w).sum(-1), lambda x, w: torch.einsum("bi,oi->bo", x, w)):
        assert count_layers(Holds(function, classes, 4), (4,)).equals(count_layers(by_product, (4,)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: (x * w[:, None, None]).mean((2, 3)),  # a scale of each channel, then pooling
        lambda x, w: (x * x.mean((2, 3), keepdim=True).sigmoid()).sum((2, 3)),  # squeeze and excitation
        lambda x, w: (x * torch.sigmoid(x)).mean((2, 3)),  # an activation function, then pooling
        lambda x, w: x * torch.rsqrt((x * x).mean(-1, keepdim=True)) * w[:, None, None],  # normalisations
        lambda x, w: F.normalize(x + w[:, None, None], dim=1),
        lambda x, w: ((x - x.mean(1, keepdim=True)) ** 2).mean(1),
        lambda x, w: (x[:, None] * w[:, None, None, None]).sum(1),  # the weights might have been summed before
        lambda x, w: (x * w[:, None, None]).relu_().sum(1),
        lambda x, w: (x[:, None] + w[:, None, None]).logsumexp(1),
        lambda x, w: 2 ** (x - w[:, None, None]),
        lambda x, w: ((x - w[:, None, None]) ** 3).sum(1),
    ],
)
def test_scales_gates_and_normalisations_have_no_products(function):
    counts = totals(count_layers(Holds(function, 4), (4, 5, 5)))
    assert counts[["macs", "activations"]].tolist() == [0, 100]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4),
        nn.LayerNorm(4),
        nn.RMSNorm(4),
        nn.GroupNorm(2, 4),
        nn.PReLU(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.DataParallel(nn.Linear(4, 4)),
        Holds(lambda x, w: torch.cat([w.expand(len(x), 4), x * w.softmax(-1).sum()]).mean(0), 1, 4),
        Holds(lambda x, w: x + F.interpolate(w[None, None], (8, 8), mode="bicubic").sum(), 4, 4),
        Holds(lambda x, w: x + F.grid_sample(w[None, None], torch.zeros(1, 4, 4, 2), align_corners=True).sum(), 4, 4),
        Holds(lambda x, w: x + F.unfold(w.flip(0)[None, None], 2).prod(), 4, 4),
        Holds(lambda x, w: F.mse_loss(x.expand(4, 4), w.topk(4)[0]), 4, 4),
    ],
)
def test_layers_that_have_no_products_are_not_named(layer):
    count_layers(layer, (4,))


# inputs of different types


class TokensAndImage(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.patches = nn.Embedding(10, 4), nn.Conv2d(3, 4, 3)

    def forward(self, tokens, image):
        return self.words(tokens).sum(1) + self.patches(image).sum((2, 3))


def test_each_input_may_have_its_type():
    for dtypes in ([torch.long, None], (torch.int32, torch.float32)):
        counts = count_layers(TokensAndImage(), [(5,), (3, 8, 8)], dtype=dtypes).set_index("layer")
        assert counts["macs"].sum() == 4 * 36 * 27
        assert counts.loc["words", "activations"] == 5 * 4
    saved = count_saved_bytes(TokensAndImage(), [(5,), (3, 8, 8)], dtype=[torch.long, None], batch_size=2)
    assert saved["saved_bytes"].tolist() == [2 * 5 * 8, 2 * 3 * 64 * 4]


@pytest.mark.parametrize("dtype", [None, torch.long])
def test_one_type_for_tokens_and_an_image_is_refused_with_the_way_out(dtype):
    with pytest.raises(ValueError, match="one dtype for each shape if they differ"):
        count_layers(TokensAndImage(), [(5,), (3, 8, 8)], dtype=dtype)


@pytest.mark.parametrize("dtype", [[torch.long], [torch.long, "float"]])
def test_what_is_no_type_for_each_input_is_refused(dtype):
    with pytest.raises(ValueError, match=r"dtype must be a torch.dtype, or one for each of the input shapes, got"):
        count_layers(TokensAndImage(), [(5,), (3, 8, 8)], dtype=dtype)


# laws


def block(functional: bool) -> nn.Module:
    """The same network with modules or with functions for all that has no parameters."""
    convolution, linear = nn.Conv2d(3, 8, 3), nn.Linear(8 * 4, 5)
    if not functional:
        return nn.Sequential(
            convolution,
            nn.ReLU(),
            nn.LocalResponseNorm(2),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2),
            nn.Dropout(),
            nn.Flatten(),
            linear,
            nn.Softmax(-1),
        )

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.linear = convolution, linear

        def forward(self, x):
            x = F.local_response_norm(F.relu(self.convolution(x)), 2)
            x = F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 2)
            return self.linear(F.dropout(x, training=self.training).flatten(1)).softmax(-1)

    return Functional()


def test_functions_count_like_modules():
    with_modules, with_functions = (totals(count_layers(block(functional), (3, 12, 12))) for functional in (0, 1))
    assert with_modules.to_dict() == with_functions.to_dict()
    assert with_modules["activations"] == 3 * 144 + 8 * 100 + 8 * 25 + 8 * 4 + 5


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.BatchNorm2d(4, affine=False),
        nn.GroupNorm(2, 4, affine=False),
        nn.RMSNorm(6, elementwise_affine=False),
        nn.LocalResponseNorm(2),
        nn.Softmax(1),
        nn.Identity(),
        nn.Flatten(),
        nn.ZeroPad2d(1),
        nn.AdaptiveAvgPool2d(6),
        nn.AdaptiveMaxPool2d((6, None)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_work_in_place_or_hand_on_have_no_row(layer):
    counts = count_layers(nn.Sequential(nn.Conv2d(3, 4, 1), layer), (3, 6, 6))
    assert counts["kind"].tolist() == ["Input", "Conv2d"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.MaxPool2d(3, stride=1, padding=1), (4, 6, 6)),
        (nn.AvgPool2d(2), (4, 3, 3)),
        (nn.LPPool2d(2, 3), (4, 2, 2)),
        (nn.FractionalMaxPool2d(2, output_size=3), (4, 3, 3)),
        (nn.AdaptiveAvgPool2d(1), (4, 1, 1)),
        (nn.AdaptiveMaxPool2d(2, return_indices=True), (4, 2, 2)),
        (nn.MaxPool2d(2, return_indices=True), (4, 3, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_poolings_count_what_they_write(layer, shape):
    row = count_layers(layer, (4, 6, 6)).iloc[1]
    assert row.tolist() == ["(model)", type(layer).__name__, shape, math.prod(shape), 0, 0, 0]


@given(widths=st.lists(st.integers(1, 20), min_size=2, max_size=6), bias=st.booleans())
@settings(max_examples=30)
def test_totals_of_a_chain_of_linear_layers(widths, bias):
    layers = [nn.Linear(m, n, bias) for m, n in itertools.pairwise(widths)]
    found = totals(count_layers(nn.Sequential(*layers), (widths[0],)))
    assert found["weights"] == found["macs"] == sum(m * n for m, n in itertools.pairwise(widths))
    assert found["biases"] == bias * sum(widths[1:])
    assert found["activations"] == sum(widths)
    assert found["parameters"] == sum(p.numel() for layer in layers for p in layer.parameters())


def test_counts_of_a_sequence_are_the_sums_of_its_parts():
    first, second = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 4, 1))
    whole = totals(count_layers(nn.Sequential(first, second), (3, 12, 12)))
    parts = totals(count_layers(first, (3, 12, 12))) + totals(count_layers(second, (8, 10, 10)))
    parts["activations"] -= 8 * 10 * 10  # the input of the second is the output of the first
    assert whole.to_dict() == parts.to_dict()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_0", "densenet121", "googlenet"])
def test_layers_and_shapes_are_those_of_a_real_pass(name):
    model = get_model(name, **REMARKS.get(name, {})).eval()
    seen = []
    for layer, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda _, __, output, layer=layer: seen.append((layer, tuple(output.shape[1:])))
            )
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    counts = count_layers(model, (3, 64, 64))
    rows = counts[counts["kind"].isin(["Conv2d", "Linear"])]
    assert list(zip(rows["layer"], rows["output_shape"], strict=True)) == seen


def test_shared_module_counts_its_parameters_once_and_its_work_each_time():
    linear = nn.Linear(8, 8)
    counts = count_layers(nn.Sequential(linear, nn.ReLU(), linear, linear), (8,))
    assert counts["layer"].tolist() == ["input", "0", "0", "0"]
    assert counts[QUANTITIES].iloc[1:].to_numpy().tolist() == [[8, 64, 8, 64], [8, 0, 0, 64], [8, 0, 0, 64]]


def test_shared_parameter_counts_once_with_the_layer_that_runs_first():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.decode = nn.Linear(16, 100, bias=False)
            self.encode = nn.Embedding(100, 16)
            self.encode.weight = self.decode.weight

        def forward(self, x):
            return self.decode(self.encode(x))

    counts = count_layers(Tied(), (12,), dtype=torch.long).set_index("layer")
    assert counts["weights"].to_dict() == {"input": 0, "encode": 1600, "decode": 0}
    assert counts.loc["decode", "macs"] == 12 * 1600


def test_parameters_of_modules_that_are_no_leaves_and_of_modules_that_are_never_called():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6))
            self.output_bias = nn.Parameter(torch.zeros(1))
            self.factors = nn.ParameterList([nn.Parameter(torch.ones(4, 6))])
            self.unused = nn.Linear(3, 3)

        def forward(self, x):
            return x @ self.factors[0] @ self.scale + self.output_bias

    counts = count_layers(Model(), (4,)).set_index("layer")
    assert counts.loc["(model)", QUANTITIES].tolist() == [6 + 1, 24 + 6, 1, 24 + 6]
    assert counts.loc["unused", QUANTITIES].tolist() == [0, 9, 3, 0]
    assert counts.loc["unused", "output_shape"] is None
    assert counts.index.tolist() == ["input", "(model)", "unused"]


def test_class_token_and_positions_of_a_vision_transformer_have_rows():
    counts = count_layers(on_meta("vit_b_16"), (3, 224, 224)).set_index("layer")
    assert counts.loc["(model)", "weights"] == 768
    assert counts.loc["encoder", "weights"] == 197 * 768
    layers = 12
    attention = counts[counts["kind"] == "MultiheadAttention"]
    assert attention["macs"].tolist() == layers * [4 * 197 * 768**2 + 2 * 197**2 * 768]


def test_biases_are_recognised_by_name():
    counts = count_layers(nn.MultiheadAttention(8, 2, add_bias_kv=True), [(5, 8)] * 3)
    assert counts["biases"].sum() == 3 * 8 + 8 + 2 * 8  # in_proj_bias, out_proj.bias, bias_k and bias_v
    tables = count_layers(on_meta("swin_t"), (3, 224, 224))
    block_0 = tables[tables["layer"] == "features.1.0.attn"].iloc[0]
    assert (block_0["weights"], block_0["biases"]) == (4 * 96**2 + 13**2 * 3, 4 * 96)  # a table is no bias vector


@pytest.mark.parametrize(
    ("norm", "says"),
    [
        (nn.utils.weight_norm, pytest.warns(FutureWarning, match="weight_norm")),
        (nn.utils.parametrizations.weight_norm, nullcontext()),
        (nn.utils.parametrizations.spectral_norm, nullcontext()),
    ],
    ids=["weight norm by hook", "weight norm", "spectral norm"],
)
def test_weights_that_are_computed_count_as_they_are_stored(norm, says):
    with says:
        model = nn.Sequential(norm(nn.Conv2d(3, 4, 3)))
    counts = count_layers(model, (3, 8, 8))
    assert totals(counts)["parameters"] == sum(p.numel() for p in model.parameters())
    assert counts.set_index("layer").loc["0", "macs"] == 4 * 36 * 27


def test_several_inputs():
    encoder_and_decoder = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    counts = count_layers(encoder_and_decoder, [(10, 16), (7, 16)])
    assert counts["activations"].tolist()[:2] == [160, 112]
    assert totals(counts)["parameters"] == sum(p.numel() for p in encoder_and_decoder.parameters())


def test_columns_and_types():
    counts = count_layers(nn.Linear(3, 2), (3,))
    assert counts.columns.tolist() == ["layer", "kind", "output_shape", *QUANTITIES]
    assert all(counts[column].dtype == np.int64 for column in QUANTITIES)
    assert counts.to_numpy().tolist() == [
        ["input", "Input", (3,), 3, 0, 0, 0],
        ["(model)", "Linear", (2,), 2, 6, 2, 6],
    ]


@pytest.mark.parametrize("shape", [[3, 8, 8], torch.Size([3, 8, 8]), tuple(np.array([3, 8, 8]))])
def test_shapes_of_any_kind_of_sequence(shape):
    assert count_layers(nn.Conv2d(3, 4, 3), shape).iloc[0]["output_shape"] == (3, 8, 8)


@pytest.mark.parametrize("change", [torch.float16, torch.bfloat16, torch.float64, "meta"])
def test_any_precision_and_device_gives_the_same_counts(change):
    model = block(functional=False)
    assert count_layers(copy.deepcopy(model).to(change), (3, 12, 12)).equals(count_layers(model, (3, 12, 12)))


def test_model_that_creates_tensors_runs():
    model = Apply(lambda x: x + torch.arange(4) + torch.tensor([1.0, 2, 3, 4]) + torch.rand(4))
    assert totals(count_layers(model, (4,)))["macs"] == 16


def test_lazy_layers_count_as_what_they_become_and_stay_lazy():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))
    counts = count_layers(model, (3, 8, 8))
    assert counts["kind"].tolist() == ["Input", "Conv2d", "BatchNorm2d", "Linear"]
    assert counts["weights"].tolist() == [0, 108, 4, 720]
    saved = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    assert count_saved_bytes(model, (3, 8, 8)).equals(count_saved_bytes(saved, (3, 8, 8)))
    assert all(nn.parameter.is_lazy(p) for p in model.parameters())


def test_wrapped_models_count_like_what_they_wrap():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    expected = totals(count_layers(model, (3, 8, 8))).to_dict()
    for wrapped in (nn.DataParallel(model), torch.compile(model), torch.fx.symbolic_trace(model)):
        assert totals(count_layers(wrapped, (3, 8, 8))).to_dict() == expected
    assert count_layers(torch.compile(model), (3, 8, 8)).equals(count_layers(model, (3, 8, 8)))  # and the same names


def test_counting_works_within_other_modes():
    expected = count_layers(SmallInception(), (1, 28, 28))
    saved = count_saved_bytes(SmallInception(), (1, 28, 28))
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            assert count_layers(SmallInception(), (1, 28, 28)).equals(expected)
            assert count_saved_bytes(SmallInception(), (1, 28, 28)).equals(saved)
    with torch.device("meta"), torch.autocast("cpu"):
        assert count_layers(SmallInception(), (1, 28, 28)).equals(expected)

    class InInferenceMode(SmallInception):  # where PyTorch does not take operations apart
        forward = torch.inference_mode()(SmallInception.forward)

    assert totals(count_layers(InInferenceMode(), (1, 28, 28))).equals(totals(expected))


# the caller's model is left alone


class Restless(nn.Module):
    """A model that changes itself and draws random numbers whenever it runs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.register_buffer("steps", torch.zeros(()))
        self.unregistered = [torch.ones(4, 1, 1)]
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.steps += 1
        noise = torch.rand(1) * F.dropout(torch.ones(1)) * torch.rand((), device="cpu")
        self.last = self.layers(x) * self.unregistered[0] * noise
        self.unregistered.append(self.last)
        return self.last


def state(model: nn.Module) -> list:
    tensors = dict(itertools.chain(model.named_parameters(), model.named_buffers()))
    return [
        [
            (name, id(x), x.data_ptr(), x._version, str(x.device), x.requires_grad, x.grad)
            for name, x in tensors.items()
        ],
        [(name, module.training, dict(module._forward_hooks)) for name, module in model.named_modules()],
        {name: value.tolist() for name, value in model.state_dict().items()},
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("count", [count_layers, count_saved_bytes])
@pytest.mark.parametrize("shape", [(3, 8, 8), (5, 8, 8)])  # the second is refused
def test_model_is_left_as_it_was(count, shape):
    model, heard = Restless(), []
    model.layers[1].eval()  # a mixture of modes
    model.layers[0].weight.requires_grad_(False)
    model.layers[0].register_forward_hook(lambda *_: heard.append("hook"))
    model.register_forward_pre_hook(lambda *_: heard.append("pre-hook"))
    model.layers[0].register_full_backward_hook(lambda *_: heard.append("backward hook"))
    before, attributes = state(model), set(vars(model))
    if shape[0] == 3:
        count(model, shape)
    else:
        with pytest.raises(ValueError, match="refuses input_shape"):
            count(model, shape)
    assert state(model) == before
    assert set(vars(model)) == attributes
    assert (model.calls, len(model.unregistered), heard) == (0, 1, [])


def test_no_tensor_is_made_outside_of_the_meta_device():
    made = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            made.extend((str(func), x) for x in tree_leaves(output) if isinstance(x, torch.Tensor))
            return output

    model = torchvision.models.resnet18()
    weights = {x.untyped_storage().data_ptr() for x in itertools.chain(model.parameters(), model.buffers())}
    with Watch():
        count_layers(model, (3, 224, 224))
        count_saved_bytes(model, (3, 224, 224))
    assert len(made) > 500
    real = [(func, x) for func, x in made if x.device.type != "meta" and x.untyped_storage().data_ptr() not in weights]
    assert all(x.numel() < 10_000 for _, x in real), real  # the state of the random generator


@pytest.mark.parametrize(("name", "parameters"), [("vgg19", 143_667_240), ("vit_h_14", 632_045_800)])
def test_large_models_take_less_than_two_seconds(name, parameters):
    model = on_meta(name)
    seconds = []  # of processor time, which other processes do not lengthen
    for _ in range(2):
        begin = time.process_time()
        assert totals(count_layers(model, (3, 224, 224)))["parameters"] == parameters
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 2


# memory of training


def bytes_saved_by_a_real_pass(model: nn.Module, x: torch.Tensor) -> int:
    owned = {p.untyped_storage().data_ptr() for p in itertools.chain(model.parameters(), model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def save(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model.train()(x)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: block(functional=False), (3, 12, 12)),
        (lambda: block(functional=True), (3, 12, 12)),
        (SmallInception, (1, 28, 28)),
        (NaiveInceptionModule, (256, 16, 16)),
        (ReducedInceptionModule, (256, 16, 16)),
        (torchvision.models.alexnet, (3, 64, 64)),
        (torchvision.models.resnet18, (3, 64, 64)),
        (torchvision.models.densenet121, (3, 32, 32)),
        (torchvision.models.convnext_tiny, (3, 32, 32)),
        (lambda: nn.Linear(4, 3), (4,)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_saved_bytes_are_those_of_a_real_pass(build, shape):
    torch.manual_seed(0)
    model = build()
    real = bytes_saved_by_a_real_pass(model, torch.randn(2, *shape))
    assert count_saved_bytes(model, shape, batch_size=2)["saved_bytes"].sum() == real > 0


def test_saved_bytes_of_vgg19_in_closed_form():
    counts = count_layers(on_meta("vgg19"), (3, 224, 224)).groupby("kind")["activations"].sum()
    last_pool, hidden = 512 * 7 * 7, 2 * 4096
    # 4 bytes for each number: the input, outputs of convolutions (after ReLU in place) and poolings, the copy that the
    # adaptive pooling makes; in the hidden layers ReLU's output, dropout's mask and its output; 8 for a pooling's index
    numbers = counts["Input"] + counts["Conv2d"] + counts["MaxPool2d"] + last_pool + 3 * hidden
    expected = 4 * numbers + 8 * counts["MaxPool2d"]
    for batch_size in (1, 7):
        saved = count_saved_bytes(on_meta("vgg19"), (3, 224, 224), batch_size=batch_size)
        assert saved["saved_bytes"].sum() == batch_size * expected == batch_size * 78_573_568


def test_saved_bytes_are_those_of_training_mode_whatever_the_mode():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout())
    training = count_saved_bytes(model.train(), (6,), batch_size=2)
    assert training.equals(count_saved_bytes(model.eval(), (6,), batch_size=2))
    assert "Dropout" in set(training["kind"])


class InMixedPrecision(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = self.wide(x)
        with torch.autocast("cpu", torch.bfloat16):
            return self.narrow(x)


def test_autocast_which_does_not_show_without_data_is_named_with_its_layers():
    real = bytes_saved_by_a_real_pass(InMixedPrecision(), torch.randn(3, 8))
    assert real == 3 * 8 * (4 + 2) + 8 * 8 * 2  # two inputs, and a narrower copy of the weights
    with pytest.warns(UserWarning, match="autocast changes nothing without data, so that layer narrow is counted"):
        saved = count_saved_bytes(InMixedPrecision(), (8,), batch_size=3)
    assert saved["saved_bytes"].tolist() == [3 * 8 * 4] * 2
    with torch.autocast("cpu", torch.bfloat16), pytest.warns(UserWarning, match=r"layer \(model\) is counted"):
        count_saved_bytes(nn.Linear(8, 8), (8,))


def test_backward_hooks_do_not_matter():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True))
    expected = count_saved_bytes(model, (6,))
    model[0].register_full_backward_hook(lambda *_: None)  # PyTorch then refuses the ReLU in place
    assert count_saved_bytes(model, (6,)).equals(expected)


def test_frozen_layers_save_less():
    model = nn.Sequential(nn.Linear(50, 40), nn.Linear(40, 30))
    assert count_saved_bytes(model, (50,))["saved_bytes"].tolist() == [200, 160]
    model[0].requires_grad_(False)
    assert count_saved_bytes(model, (50,)).to_numpy().tolist() == [["1", "Linear", 160]]


# bad input


NO_SHAPES = [(3, -1, 8), (3, 0, 8), (3, 8.0, 8), (True, 8, 8), "388", (3, "8", 8), (), [], None, 3, {3, 8}]
REFUSED = [  # what is handed in, and what the error says
    *(
        ({"model": model}, "model must be a torch.nn.Module.*call it")
        for model in (torchvision.models.vgg19, nn.Linear)
    ),
    *(({"model": model}, "model must be a torch.nn.Module.*give a module") for model in (None, "vgg19")),
    *(
        ({"input_shape": shape}, "input_shape must be whole numbers of at least 1, got .* without the batch axis")
        for shape in (*NO_SHAPES, [(3, 8, 8), ()], [[]])
    ),
    *(
        ({"dtype": dtype}, "dtype must be a torch.dtype, or one for each of the input shapes, got")
        for dtype in ("long", [None, torch.long], [3], int, np.float32)
    ),
]


@pytest.mark.parametrize("count", [count_layers, count_saved_bytes])
@pytest.mark.parametrize(
    ("given", "says"),
    REFUSED,
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value))[:50],  # no address: every process of a run has its own
)
def test_what_makes_no_sense_is_refused(count, given, says):
    for error in (ValueError, TypeError):
        with pytest.raises(error, match=f"(?s){says}"):
            count(**{"model": nn.Conv2d(3, 4, 3), "input_shape": (3, 8, 8), **given})


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2", None])
def test_senseless_batch_sizes_are_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got"):
        count_saved_bytes(nn.Linear(3, 3), (3,), batch_size=batch_size)


@pytest.mark.parametrize(
    ("model", "shape", "layer"),
    [
        (lambda: on_meta("vgg11"), (1, 224, 224), r"features.0 \(Conv2d\)"),
        (lambda: on_meta("vgg11"), (8, 3, 224, 224), r"features.0 \(Conv2d\)"),
        (lambda: on_meta("vgg11"), (1, 3, 224, 224), r"features.0 \(Conv2d\)"),  # a batch axis is no part of it
        (lambda: on_meta("vgg11"), (3, 16, 16), r"features.20 \(MaxPool2d\)"),
        (lambda: on_meta("vit_b_16"), (3, 225, 225), r"\(model\) \(VisionTransformer\)"),
        (lambda: SmallInception(), (3, 28, 28), r"\(model\) \(SmallInception\)"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(10, 3)), (3, 3), r"1 \(Linear\)"),
        (lambda: nn.Embedding(10, 3), (4,), r"\(model\) \(Embedding\)"),
        (lambda: nn.Bilinear(5, 6, 7), (5,), r"\(model\) \(Bilinear\)"),
    ],
)
def test_a_shape_that_the_model_refuses_is_named_with_the_layer_and_the_reason(model, shape, layer):
    with pytest.raises(
        ValueError, match=f"(?s)refuses input_shape .* in layer {layer}: .*without the batch axis"
    ) as raised:
        count_layers(model(), shape)
    assert repr(shape) in str(raised.value)
    assert str(raised.value.__cause__) in str(raised.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: torch.from_numpy(x.numpy()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.to("cpu"),
        lambda x: x + torch.zeros(4, device="cpu"),
    ],
)
def test_model_that_needs_numbers_is_refused_with_the_reason(function):
    with pytest.raises(
        ValueError, match=r"(?s)model Apply cannot run on the meta device in layer \(model\).*\.item\(\)"
    ):
        count_layers(Apply(function), (4,))


def test_errors_within_a_model_are_passed_on_in_full():
    with pytest.raises(ValueError, match="KeyError: 'missing'") as raised:
        count_layers(Apply(lambda x: {}["missing"]), (4,))
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "script",
    [
        torch.jit.script,
        lambda layer: torch.jit.trace(layer, torch.zeros(1, 3)),
        lambda layer: torch.jit.freeze(torch.jit.script(layer.eval())),
    ],
    ids=["scripted", "traced", "frozen"],
)
def test_torchscript_is_refused_by_name(script):
    with pytest.warns(FutureWarning, match=r"`torch\.jit\.\w+` is deprecated"):
        scripted = script(nn.Linear(3, 3))
    for model, name in (
        (scripted, "model"),
        (nn.Sequential(nn.ReLU(), scripted), "layer 1"),
        (nn.ModuleDict({"a": nn.Sequential(scripted)}), "layer a.0"),
    ):
        for count in (count_layers, count_saved_bytes):
            with pytest.raises(ValueError, match=rf"^{name} is a TorchScript module, which hides its layers: [^\n]*$"):
                count(model, (3,))


def test_models_that_cannot_be_copied_are_refused():
    model = nn.Linear(3, 3)
    model.generator = (x for x in "abc")
    with pytest.raises(ValueError, match=r"model Linear cannot be copied: TypeError.*generator"):
        count_layers(model, (3,))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x lacks its metadata"),
        KeyError("meta"),
        RuntimeError("metaclass conflict"),
        TypeError("no meta information"),
        NotImplementedError("not yet"),
        RuntimeError("meta-learning rate must be positive"),
    ],
    ids=repr,
)
def test_an_error_of_the_model_itself_is_not_taken_for_one_of_the_meta_device(error):
    def fail(x):
        raise error

    with pytest.raises(ValueError, match="model Apply refuses input_shape") as raised:
        count_layers(Apply(fail), (4,))
    assert raised.value.__cause__ is error


def test_hooks_on_all_modules_do_not_run_and_stay():
    heard, registries = [], nn.modules.module
    handles = [
        registries.register_module_forward_pre_hook(lambda *_: heard.append("before")),
        registries.register_module_forward_hook(lambda *_: heard.append("after")),
        registries.register_module_full_backward_pre_hook(lambda *_: heard.append("backward before")),
        registries.register_module_full_backward_hook(lambda *_: heard.append("backward")),
    ]
    try:
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        count_layers(model, (3,))
        count_saved_bytes(model, (3,))
        with pytest.raises(ValueError, match="refuses"):
            count_layers(model, (4,))
        assert heard == []
        model(torch.ones(1, 3)).sum().backward()
        assert set(heard) == {"before", "after", "backward before", "backward"}
    finally:
        for handle in handles:
            handle.remove()
