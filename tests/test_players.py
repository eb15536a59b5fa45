"""Discriminators, adversarial losses and penalties: literal values, published layouts, and what each promises of itself."""

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


class Published(nn.Module):
    """Real-ESRGAN's discriminator as its paper draws it, from torch's own spectral norm, with the published names."""

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


def test_published_weights_of_the_unet_load_and_say_the_same() -> None:
    torch.manual_seed(0)
    theirs, ours = Published(4), UNet(width=4)
    theirs(torch.rand(1, 3, 32, 32))
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(2, 3, 40, 56)
    torch.testing.assert_close(ours.eval()(image), theirs.eval()(image))
    assert sum(p.numel() for p in UNet().parameters()) == 4_376_897


def test_spectral_norm_makes_the_largest_singular_value_one() -> None:
    """From the first pass on, and still after the weight has moved; one power iteration a pass follows it."""
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
def test_a_logit_of_patch_sees_as_much_as_it_says(depth: int, seen: int) -> None:
    image = torch.rand(1, 3, 224, 224, requires_grad=True)
    logits = Patch(width=2, depth=depth, norm="none")(image)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    assert image.grad[0].any(0).sum(0).count_nonzero() == seen
    smallest = 3 * 2**depth
    assert Patch(width=2, depth=depth)(torch.rand(2, 3, smallest, smallest)).shape == (2, 1, 1, 1)
    with pytest.raises(UserError, match=rf"depth={depth}: expected images of {smallest}×{smallest} pixels"):
        Patch(width=2, depth=depth)(torch.rand(2, 3, smallest, smallest - 1))


@pytest.mark.parametrize("judge", [VGG, Patch])
def test_only_batch_norm_mixes_images(judge: Any) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 32, 32)
    for norm in ("batch", "spectral", "none"):
        dials = {"dense": 8} if judge is VGG else {}
        judging = judge(width=4, norm=norm, **dials)
        assert any("weight_u" in name for name in judging.state_dict()) == (norm == "spectral")
        for _ in range(30 if norm == "spectral" else 0):
            judging(images)  # until the norms stand still
        alone = judging(images[:2])[0]
        assert torch.allclose(judging(images)[0], alone, atol=1e-4) == (norm != "batch")
    with pytest.raises(UserError, match=r'norm=spectrall: expected .* Did you mean "spectral"'):
        judge(norm="spectrall")


REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.5])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_relativistic_average_by_hand() -> None:
    """ESRGAN, eq. 1 and 2, with E[C(real)] = 1 and E[C(fake)] = 0.25."""
    real_beats, fake_beats = ([sigmoid(x) for x in xs] for xs in ((1.75, -0.25), (-2, 0.5)))
    d = -sum(math.log(p) for p in real_beats) / 2 - sum(math.log(1 - p) for p in fake_beats) / 2
    g = -sum(math.log(1 - p) for p in real_beats) / 2 - sum(math.log(p) for p in fake_beats) / 2
    game, fake = Relativistic(), FAKE.clone().requires_grad_()
    assert game.discriminator(REAL, FAKE).item() == pytest.approx(d, abs=1e-6)
    assert game.generator(fake, REAL).item() == pytest.approx(g, abs=1e-6)
    game.generator(fake, REAL).backward()
    assert (fake.grad < 0).all()
    with pytest.raises(TypeError, match="real images too"):
        game.generator(FAKE)


def test_wasserstein_by_hand() -> None:
    assert WGAN().discriminator(REAL, FAKE).item() == pytest.approx(0.25 - 1)
    assert WGAN().generator(FAKE).item() == pytest.approx(-0.25)


@pytest.mark.parametrize("game", [Relativistic(), WGAN()])
def test_what_is_read_of_a_critic_does_not_depend_on_its_offset(game: nn.Module) -> None:
    readings = []
    for offset in (0.0, 40.0):
        game.discriminator(REAL + offset, FAKE + offset)
        readings.append([game.probability(x + offset).item() for x in (REAL, FAKE)])
    assert readings[0] == pytest.approx(readings[1], abs=1e-5)
    assert readings[0][0] > 0.5 > readings[0][1]
    game.discriminator(REAL, REAL)
    assert game.probability(torch.ones(3)).item() == pytest.approx(0.5)


def test_label_smoothing_is_ds_alone_and_one_sided() -> None:
    """Salimans et al., section 3.4: real is 0.9, fake stays 0, and G plays as before."""
    label = torch.full_like(REAL, 0.9)
    expected = F.binary_cross_entropy_with_logits(REAL, label)
    expected += F.binary_cross_entropy_with_logits(FAKE, torch.zeros_like(FAKE))
    torch.testing.assert_close(Vanilla(label_smoothing=0.1).discriminator(REAL, FAKE), expected)
    squares = 0.5 * (1.1**2 + 0.9**2) / 2 + 0.5 * (1 + 1.5**2) / 2
    assert LSGAN(label_smoothing=0.1).discriminator(REAL, FAKE).item() == pytest.approx(squares)
    for game in (Vanilla, LSGAN):
        assert torch.equal(game(label_smoothing=0.1).generator(FAKE), game().generator(FAKE))
        with pytest.raises(UserError, match=r"model\.adversarial\.label_smoothing=0\.9: expected 0"):
            game(label_smoothing=0.9)


class Linear(nn.Module):
    """D(x) = w · x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-1, 1, 27).view(3, 3, 3))

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.w).sum(dim=(1, 2, 3))[:, None]


class Bowl(nn.Module):
    """D(x) = ½ ‖x‖², whose slope is x; it keeps what it saw."""

    def forward(self, image: Tensor) -> Tensor:
        self.saw = image.detach()
        return 0.5 * image.square()  # a map: its sum counts


def test_penalties_on_a_linear_discriminator_by_hand() -> None:
    """∇D = w everywhere: R1 = ½ ‖w‖² with gradient w; WGAN-GP = (‖w‖ − 1)² with gradient 2 (‖w‖ − 1) w / ‖w‖."""
    real, fake = torch.rand(2, 4, 3, 3, 3).unbind()
    for penalty, value, pull in (
        (R1(), lambda n: 0.5 * n**2, lambda n: 1.0),
        (GradientPenalty(), lambda n: (n - 1) ** 2, lambda n: 2 * (n - 1) / n),
    ):
        judge = Linear()
        norm = judge.w.norm().item()
        result = penalty(judge, real, fake)
        result.backward()
        assert result.item() == pytest.approx(value(norm), rel=1e-5)
        torch.testing.assert_close(judge.w.grad, pull(norm) * judge.w.detach())
        assert not real.requires_grad
        assert real.grad is None


def test_r1_looks_at_real_images_and_at_maps_as_their_sum() -> None:
    real = torch.rand(4, 3, 5, 6)
    expected = 0.5 * real.square().sum(dim=(1, 2, 3)).mean().item()
    assert R1()(Bowl(), real, torch.rand_like(real)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gamma", "settles"), [(1.0, True), (0.0, False)])
def test_r1_lets_the_dirac_gan_settle(gamma: float, settles: bool) -> None:
    """Mescheder et al., section 2: real images are all 0, fakes are all θ, D(x) = ψ · x. Players circle; with R1 they meet."""
    game, penalty, judge = Vanilla(saturating=False), R1(), nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(judge.weight)
    real, fake = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1, requires_grad=True)
    for _ in range(200):
        loss = game.discriminator(judge(real), judge(fake.detach())) + gamma * penalty(judge, real, fake)
        rise = torch.autograd.grad(loss, judge.weight)[0]
        fall = torch.autograd.grad(game.generator(judge(fake)), fake)[0]
        with torch.no_grad():
            judge.weight -= 0.2 * rise
            fake -= 0.2 * fall
    distance = math.hypot(fake.item(), judge.weight.item())
    assert distance < 0.01 if settles else distance > 0.3


def test_gradient_penalty_is_measured_between_real_and_fake() -> None:
    """One share for each image, anew each time, and the same again from the same seed."""
    real, fake, judge, penalty = (
        torch.full((64, 1, 4, 4), 0.9),
        torch.full((64, 1, 4, 4), 0.1),
        Bowl(),
        GradientPenalty(),
    )
    torch.manual_seed(3)
    first = penalty(judge, real, fake)
    places = judge.saw.flatten(1)
    assert torch.equal(places, places[:, :1].expand(-1, 16))
    assert 0.1 <= places.min() < 0.2
    assert 0.8 < places.max() <= 0.9
    assert first.item() == pytest.approx((4 * places[:, 0] - 1).square().mean().item(), rel=1e-5)
    assert penalty(judge, real, fake) != first
    torch.manual_seed(3)
    assert penalty(judge, real, fake) == first


@pytest.mark.parametrize("penalty", [R1(), GradientPenalty()])
def test_penalties_count_in_full_precision_and_stay_finite(penalty: nn.Module) -> None:
    """Also under mixed precision; and where D is constant, and a norm has no derivative."""
    real, fake = torch.rand(2, 2, 3, 32, 32).unbind()
    judge = UNet(width=4).eval()  # its spectral norms stand still
    torch.manual_seed(0)
    exact = penalty(judge, real, fake).item()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        judge(real)  # autocast keeps its half copies of the weights
        assert penalty(judge, real, fake).item() == pytest.approx(exact, rel=1e-5)
    flat = Linear()
    nn.init.zeros_(flat.w)
    penalty(flat, *torch.rand(2, 4, 3, 3, 3).unbind()).backward()
    assert flat.w.grad.isfinite().all()
    with pytest.warns(UserWarning, match=r"model\.discriminator\.norm=spectral"):
        penalty(Patch(width=2, depth=1), real, fake)
