"""Discriminators, adversarial losses and penalties: literal values, published layouts, documented properties."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.adversarial.lsgan import LSGAN
from sr.adversarial.relativistic import Relativistic
from sr.adversarial.vanilla import Vanilla
from sr.adversarial.wgan import WGAN
from sr.discriminator.patch import Patch
from sr.discriminator.spectral import SpectralConv
from sr.discriminator.unet import UNet
from sr.discriminator.vgg import VGG
from sr.penalty.gradient import GradientPenalty
from sr.penalty.r1 import R1
from sr.runtime.error import UserError


class PublishedUNet(nn.Module):
    """Real-ESRGAN's discriminator as in its paper, with PyTorch's own spectral norm and the published names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = [width, 2 * width, 4 * width, 8 * width, 4 * width, 2 * width, width, width, width]
        self.conv0 = nn.Conv2d(3, width, 3, padding=1)
        for k in range(1, 9):
            shape: dict[str, int] = {"kernel_size": 4, "stride": 2} if k < 4 else {"kernel_size": 3}
            conv = nn.Conv2d(wide[k - 1], wide[k], padding=1, bias=False, **shape)
            self.add_module(f"conv{k}", nn.utils.spectral_norm(conv))
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        def up(x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2, mode="bilinear")

        def act(k: int, x: Tensor) -> Tensor:
            return F.leaky_relu(self.get_submodule(f"conv{k}")(x), 0.2)

        x0 = act(0, image)
        x1 = act(1, x0)
        x2 = act(2, x1)
        x4 = act(4, up(act(3, x2))) + x2
        x5 = act(5, up(x4)) + x1
        x6 = act(6, up(x5)) + x0
        return self.conv9(act(8, act(7, x6)))


def test_published_weights_of_the_unet_load_and_give_equal_outputs() -> None:
    torch.manual_seed(0)
    published, unet = PublishedUNet(4), UNet(width=4)
    published(torch.rand(1, 3, 32, 32))
    unet.load_state_dict(published.state_dict())
    image = torch.rand(2, 3, 40, 56)
    torch.testing.assert_close(unet.eval()(image), published.eval()(image))
    assert sum(p.numel() for p in UNet().parameters()) == 4_376_897


def test_spectral_norm_makes_the_largest_singular_value_one() -> None:
    """It is 1 from the first pass on; after the weight has changed, one power iteration per pass is enough."""
    torch.manual_seed(0)
    conv, x = SpectralConv(8, 16, 3, padding=1), torch.rand(1, 8, 6, 6)

    def largest() -> float:
        kernel = torch.eye(72).view(72, 8, 3, 3)  # the response to each unit input is a column of the matrix
        return torch.linalg.matrix_norm(F.conv2d(kernel, conv._normalized_weight()).flatten(1), 2).item()

    assert largest() == pytest.approx(1, abs=0.03)
    with torch.no_grad():
        conv.weight_orig.mul_(3).add_(0.2 * torch.randn(16, 8, 3, 3))
    for _ in range(20):
        (conv(x).sum() + conv(-x).sum()).backward()  # real and fake, one backward pass
    assert largest() == pytest.approx(1, abs=0.01)
    assert torch.equal(copy.deepcopy(conv).eval()(x), conv.eval()(x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(conv(x).float(), conv(x.float()).float())
        assert conv._normalized_weight().dtype == torch.float32


@pytest.mark.parametrize(("depth", "seen"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_the_receptive_field_of_patch_is_as_documented(depth: int, seen: int) -> None:
    image = torch.rand(1, 3, 224, 224, requires_grad=True)
    logits = Patch(width=2, depth=depth, norm="none")(image)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    assert image.grad[0].any(0).sum(0).count_nonzero() == seen
    smallest = 3 * 2**depth
    assert Patch(width=2, depth=depth)(torch.rand(2, 3, smallest, smallest)).shape == (2, 1, 1, 1)
    with pytest.raises(UserError, match=rf"depth={depth}: expected images of {smallest}×{smallest} pixels"):
        Patch(width=2, depth=depth)(torch.rand(2, 3, smallest, smallest - 1))


@pytest.mark.parametrize("discriminator", [VGG, Patch])
def test_only_batch_norm_mixes_images(discriminator: Any) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 32, 32)
    for norm in ("batch", "spectral", "none"):
        options = {"dense": 8} if discriminator is VGG else {}
        network = discriminator(width=4, norm=norm, **options)
        assert any("weight_u" in name for name in network.state_dict()) == (norm == "spectral")
        for _ in range(30 if norm == "spectral" else 0):
            network(images)  # until the norms have converged
        alone = network(images[:2])[0]
        assert torch.allclose(network(images)[0], alone, atol=1e-4) == (norm != "batch")
    with pytest.raises(UserError, match=r'norm=spectrall: expected .* Did you mean "spectral"'):
        discriminator(norm="spectrall")


REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.5])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_relativistic_average_by_hand() -> None:
    """ESRGAN, eq. 1 and 2, with E[C(real)] = 1 and E[C(fake)] = 0.25."""
    real_beats, fake_beats = ([sigmoid(x) for x in xs] for xs in ((1.75, -0.25), (-2, 0.5)))
    d = -sum(math.log(p) for p in real_beats) / 2 - sum(math.log(1 - p) for p in fake_beats) / 2
    g = -sum(math.log(1 - p) for p in real_beats) / 2 - sum(math.log(p) for p in fake_beats) / 2
    adversarial, fake = Relativistic(), FAKE.clone().requires_grad_()
    assert adversarial.discriminator(REAL, FAKE).item() == pytest.approx(d, abs=1e-6)
    assert adversarial.generator(fake, REAL).item() == pytest.approx(g, abs=1e-6)
    adversarial.generator(fake, REAL).backward()
    assert (fake.grad < 0).all()
    with pytest.raises(TypeError, match="real images too"):
        adversarial.generator(FAKE)


def test_wasserstein_by_hand() -> None:
    assert WGAN().discriminator(REAL, FAKE).item() == pytest.approx(0.25 - 1)
    assert WGAN().generator(FAKE).item() == pytest.approx(-0.25)


@pytest.mark.parametrize("adversarial", [Relativistic(), WGAN()])
def test_probabilities_of_a_critic_do_not_depend_on_its_offset(adversarial: nn.Module) -> None:
    probabilities = []
    for offset in (0.0, 40.0):
        adversarial.discriminator(REAL + offset, FAKE + offset)
        probabilities.append([adversarial.probability(x + offset).item() for x in (REAL, FAKE)])
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)
    assert probabilities[0][0] > 0.5 > probabilities[0][1]
    adversarial.discriminator(REAL, REAL)
    assert adversarial.probability(torch.ones(3)).item() == pytest.approx(0.5)


def test_label_smoothing_is_one_sided_and_for_d_alone() -> None:
    """Salimans et al., section 3.4: the label of real is 0.9, that of fake stays 0, and G's loss does not change."""
    label = torch.full_like(REAL, 0.9)
    expected = F.binary_cross_entropy_with_logits(REAL, label)
    expected += F.binary_cross_entropy_with_logits(FAKE, torch.zeros_like(FAKE))
    torch.testing.assert_close(Vanilla(label_smoothing=0.1).discriminator(REAL, FAKE), expected)
    squares = 0.5 * (1.1**2 + 0.9**2) / 2 + 0.5 * (1 + 1.5**2) / 2
    assert LSGAN(label_smoothing=0.1).discriminator(REAL, FAKE).item() == pytest.approx(squares)
    for adversarial in (Vanilla, LSGAN):
        assert torch.equal(adversarial(label_smoothing=0.1).generator(FAKE), adversarial().generator(FAKE))


class Linear(nn.Module):
    """D(x) = w · x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-1, 1, 27).view(3, 3, 3))

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.w).sum(dim=(1, 2, 3))[:, None]


class Bowl(nn.Module):
    """D(x) = ½ ‖x‖², whose gradient is x; stores its input."""

    def forward(self, image: Tensor) -> Tensor:
        self.input = image.detach()
        return 0.5 * image.square()  # a map: its sum counts


def test_penalties_on_a_linear_discriminator_by_hand() -> None:
    """∇D = w everywhere: R1 = ½ ‖w‖² with gradient w; WGAN-GP = (‖w‖ − 1)² with gradient 2 (‖w‖ − 1) w / ‖w‖."""
    real, fake = torch.rand(2, 4, 3, 3, 3).unbind()
    for penalty, value, pull in (
        (R1(), lambda n: 0.5 * n**2, lambda n: 1.0),
        (GradientPenalty(), lambda n: (n - 1) ** 2, lambda n: 2 * (n - 1) / n),
    ):
        discriminator = Linear()
        norm = discriminator.w.norm().item()
        result = penalty(discriminator, real, fake)
        result.backward()
        assert result.item() == pytest.approx(value(norm), rel=1e-5)
        torch.testing.assert_close(discriminator.w.grad, pull(norm) * discriminator.w.detach())
        assert not real.requires_grad
        assert real.grad is None


def test_r1_is_at_real_images_and_of_the_sum_of_a_map() -> None:
    real = torch.rand(4, 3, 5, 6)
    expected = 0.5 * real.square().sum(dim=(1, 2, 3)).mean().item()
    assert R1()(Bowl(), real, torch.rand_like(real)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gamma", "converges"), [(1.0, True), (0.0, False)])
def test_r1_lets_the_dirac_gan_converge(gamma: float, converges: bool) -> None:
    """Mescheder et al., section 2: real images are all 0, fakes are all θ, D(x) = ψ · x. G and D
    circle around the optimum; with R1 they converge."""
    adversarial, penalty, discriminator = Vanilla(saturating=False), R1(), nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(discriminator.weight)
    real, fake = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1, requires_grad=True)
    for _ in range(200):
        loss = adversarial.discriminator(discriminator(real), discriminator(fake.detach())) + gamma * penalty(
            discriminator, real, fake
        )
        rise = torch.autograd.grad(loss, discriminator.weight)[0]
        fall = torch.autograd.grad(adversarial.generator(discriminator(fake)), fake)[0]
        with torch.no_grad():
            discriminator.weight -= 0.2 * rise
            fake -= 0.2 * fall
    distance = math.hypot(fake.item(), discriminator.weight.item())
    assert distance < 0.01 if converges else distance > 0.3


def test_gradient_penalty_is_between_real_and_fake() -> None:
    """One random position for each image, a new one at each call, and the same for the same seed."""
    real, fake, discriminator, penalty = (
        torch.full((64, 1, 4, 4), 0.9),
        torch.full((64, 1, 4, 4), 0.1),
        Bowl(),
        GradientPenalty(),
    )
    torch.manual_seed(3)
    first = penalty(discriminator, real, fake)
    places = discriminator.input.flatten(1)
    assert torch.equal(places, places[:, :1].expand(-1, 16))
    assert 0.1 <= places.min() < 0.2
    assert 0.8 < places.max() <= 0.9
    assert first.item() == pytest.approx((4 * places[:, 0] - 1).square().mean().item(), rel=1e-5)
    assert penalty(discriminator, real, fake) != first
    torch.manual_seed(3)
    assert penalty(discriminator, real, fake) == first


@pytest.mark.parametrize("penalty", [R1(), GradientPenalty()])
def test_penalties_are_finite_and_in_full_precision(penalty: nn.Module) -> None:
    """Their value is the same under mixed precision; where D is constant, a norm has no derivative."""
    real, fake = torch.rand(2, 2, 3, 32, 32).unbind()
    discriminator = UNet(width=4).eval()  # its spectral norms are constant
    torch.manual_seed(0)
    exact = penalty(discriminator, real, fake).item()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        discriminator(real)  # autocast caches its half precision copies of the weights
        assert penalty(discriminator, real, fake).item() == pytest.approx(exact, rel=1e-5)
    flat = Linear()
    nn.init.zeros_(flat.w)
    penalty(flat, *torch.rand(2, 4, 3, 3, 3).unbind()).backward()
    assert flat.w.grad.isfinite().all()
    with pytest.warns(UserWarning, match=r"model\.discriminator\.norm=spectral"):
        penalty(Patch(width=2, depth=1), real, fake)
