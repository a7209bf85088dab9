"""The other side of ``keras_speed.py``: the same networks and games in Keras 3, each step one function compiled by XLA.

Runs in an environment of its own, which has keras and jax or tensorflow, and not LabelGAN. Reads from its input the
step's number, a line each, makes that step on fixed tensors, and answers with its seconds of the processor.

Run: ``KERAS_BACKEND=jax python -m bench.speed.keras_rival.steps '{"network": "refiner", ...}'``; see
`keras_speed.task_of`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from unet import build_unet  # pyright: ignore[reportMissingImports] -- a script of another environment

Step = Callable[[int], float]
Built = tuple[Step, list[int]]  # and the number of weights of each network
SLOPE = 0.2


def refiner(task: dict[str, Any]) -> tuple[Any, Any]:
    """`labelgan.gan.networks.refiner`, channels last: generator of slices, noise and z, and critic."""
    from keras import Input, Model, layers, ops  # pyright: ignore[reportMissingImports]

    side, channels, width = task["side"], task["channels"], task["width"]

    def conv(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
        return layers.Conv2D(filters, kernel, strides, padding="same")(x)

    def bent(x: Any) -> Any:
        return layers.LeakyReLU(SLOPE)(x)

    def residual(x: Any, filters: int) -> Any:
        return x + 0.5 * conv(bent(conv(bent(x), filters)), filters)

    slices, noise = Input((side, side, channels)), Input((side, side, task["noise_maps"]))
    z = Input((task["latent_dim"],))
    fine = conv(layers.Concatenate()([slices, noise]), width)
    style = layers.Reshape((1, 1, 2 * width))(layers.Dense(2 * width)(z))
    coarse = conv(bent(fine), 2 * width, 4, 2) + style
    for _ in range(task["blocks"]):
        coarse = residual(coarse, 2 * width)
    back = conv(layers.UpSampling2D(2)(bent(coarse)), width)
    change = conv(bent(residual(fine + back, width)), channels - 1)
    images = ops.clip(slices[..., :-1] + change, -1.0, 1.0)
    generator = Model([slices, noise, z], layers.Concatenate()([images, slices[..., -1:]]))

    seen = x = Input((side, side, channels))
    x = bent(conv(x, task["critic_width"]))
    for factor in (2, 4, 4):
        x = bent(conv(x, factor * task["critic_width"], 4, 2))
    return generator, Model(seen, layers.GlobalAveragePooling2D()(conv(x, 1)))


def dcgan(task: dict[str, Any]) -> tuple[Any, Any]:
    """`labelgan.gan.networks.classic`, the generator with batch norm and the critic without, channels last."""
    from keras import Input, Model, layers  # pyright: ignore[reportMissingImports]

    side, channels, widths = task["side"], task["channels"], task["widths"]
    coarse = side // 2 ** len(widths)

    def normalised(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))

    z = Input((task["latent_dim"],))
    x = layers.Reshape((coarse, coarse, widths[0]))(layers.Dense(widths[0] * coarse**2, use_bias=False)(z))
    x = normalised(x)
    for width in widths[1:]:
        x = normalised(layers.Conv2DTranspose(width, 5, 2, padding="same", use_bias=False)(x))
    generator = Model(z, layers.Conv2DTranspose(channels, 5, 2, padding="same", activation="tanh")(x))

    seen = x = Input((side, side, channels))
    for width in reversed(widths):
        x = layers.LeakyReLU(SLOPE)(layers.Conv2D(width, 5, 2, padding="same")(x))
    return generator, Model(seen, layers.Dense(1)(layers.Flatten()(x)))


def soft_dice(truth: Any, probability: Any) -> Any:
    """1 - (2 Σ p t + 1) / (Σ p + Σ t + 1) over the batch."""
    from keras import ops  # pyright: ignore[reportMissingImports]

    overlap, found, there = ops.sum(truth * probability), ops.sum(probability), ops.sum(truth)
    return 1 - (2 * overlap + 1) / (found + there + 1)


def values_of(model: Any) -> tuple[list[Any], list[Any]]:
    """Trained and other variables' values."""
    return [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]


def weights_of(model: Any) -> int:
    """Number of trained values."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def adam_of(model: Any, rate: float, betas: list[float]) -> tuple[Any, list[Any]]:
    """Adam and its variables' values."""
    from keras import optimizers  # pyright: ignore[reportMissingImports]

    adam = optimizers.Adam(rate, beta_1=betas[0], beta_2=betas[1], epsilon=1e-8)
    adam.build(model.trainable_variables)
    return adam, [v.value for v in adam.variables]


def segmenter_step(task: dict[str, Any], random: np.random.Generator) -> Built:
    """A step of the U-Net."""
    import jax  # pyright: ignore[reportMissingImports]

    shape = (task["batch_size"], task["side"], task["side"])
    model = build_unet(task["channels"], task["width"], shape[1:], normalised=task["normalised"])
    adam, moments = adam_of(model, task["rate"], task["betas"])
    images = jax.numpy.asarray(random.standard_normal((*shape, task["channels"])), np.float32)
    truth = jax.numpy.asarray(random.random((*shape, 1)) < 0.02, np.float32)

    def loss(trained: Any, other: Any) -> Any:
        probability, other = model.stateless_call(trained, other, images, training=True)
        return soft_dice(truth, probability), other

    def step(state: Any) -> Any:
        trained, other, moments = state
        (value, other), gradients = jax.value_and_grad(loss, has_aux=True)(trained, other)
        trained, moments = adam.stateless_apply(moments, gradients, trained)
        return value, (trained, other, moments)

    return repeated([jax.jit(step, donate_argnums=0)], (*values_of(model), moments)), [weights_of(model)]


def game_step(task: dict[str, Any], random: np.random.Generator) -> Built:
    """A round of a game: the critic's turns, then the generator's; a lazy penalty has a compiled round of its own."""
    import jax  # pyright: ignore[reportMissingImports]

    generator, critic = refiner(task) if task["network"] == "refiner" else dcgan(task)
    g_adam, g_moments = adam_of(generator, task["rate"], task["betas"])
    c_adam, c_moments = adam_of(critic, task["rate"], task["betas"])
    count, side = task["batch_size"], task["side"]
    plane = (count, side, side)

    def drawn(*shape: int) -> Any:
        return jax.numpy.asarray(random.standard_normal(shape), np.float32)

    real, mix = jax.numpy.tanh(drawn(*plane, task["channels"])), jax.numpy.asarray(random.random(count), np.float32)
    z = drawn(count, task["latent_dim"])
    given = z
    if task["network"] == "refiner":
        given = [jax.numpy.tanh(drawn(*plane, task["channels"])), drawn(*plane, task["noise_maps"]), z]
    softplus = jax.nn.softplus

    def judge(trained: Any, other: Any, images: Any) -> Any:
        return critic.stateless_call(trained, other, images, training=True)[0][:, 0]

    def squares(trained: Any, other: Any, images: Any) -> Any:
        gradient = jax.grad(lambda seen: judge(trained, other, seen).sum())(images)
        return (gradient**2).sum(axis=(1, 2, 3))

    def critic_loss(trained: Any, other: Any, fake: Any, penalised: bool) -> Any:
        scores, fakes = judge(trained, other, real), judge(trained, other, fake)
        if task["objective"] == "wgan-gp":
            between = mix[:, None, None, None] * real + (1 - mix[:, None, None, None]) * fake
            lengths = jax.numpy.sqrt(squares(trained, other, between) + 1e-12)
            return fakes.mean() - scores.mean() + task["penalty"] * ((lengths - 1) ** 2).mean()
        loss = softplus(fakes - scores).mean()
        if penalised:
            r1, r2 = (squares(trained, other, images).mean() for images in (real, fake))
            loss = loss + task["penalty_every"] * task["penalty"] / 2 * (r1 + r2)
        return loss

    def generator_loss(trained: Any, other: Any, c_trained: Any, c_other: Any) -> Any:
        fake, other = generator.stateless_call(trained, other, given, training=True)
        scores = judge(c_trained, c_other, fake)
        if task["objective"] == "wgan-gp":
            return -scores.mean(), other
        loss = softplus(judge(c_trained, c_other, real) - scores).mean()
        if task["keep"]:
            loss = loss + task["keep"] * jax.numpy.abs(fake - given[0])[..., :-1].mean()
        return loss, other

    def round_with(penalised: bool) -> Any:
        def play(state: Any) -> Any:
            (g_trained, g_other, g_moments), (c_trained, c_other, c_moments) = state
            for _ in range(task["critic_steps"]):
                fake, g_other = generator.stateless_call(g_trained, g_other, given, training=True)
                gradients = jax.grad(critic_loss)(c_trained, c_other, fake, penalised)
                c_trained, c_moments = c_adam.stateless_apply(c_moments, gradients, c_trained)
            (value, g_other), gradients = jax.value_and_grad(generator_loss, has_aux=True)(
                g_trained, g_other, c_trained, c_other
            )
            g_trained, g_moments = g_adam.stateless_apply(g_moments, gradients, g_trained)
            return value, ((g_trained, g_other, g_moments), (c_trained, c_other, c_moments))

        return jax.jit(play, donate_argnums=0)

    rounds = [round_with(index == 0) for index in range(min(2, task["penalty_every"]))]
    every = [rounds[0], *(rounds[-1:] * (task["penalty_every"] - 1))]
    state = (*values_of(generator), g_moments), (*values_of(critic), c_moments)
    return repeated(every, state), [weights_of(generator), weights_of(critic)]


def repeated(compiled: list[Any], state: Any) -> Step:
    """Calls the compiled steps in turn, each on the state that the last one left."""

    def step(index: int) -> float:
        nonlocal state
        value, state = compiled[index % len(compiled)](state)
        import jax  # pyright: ignore[reportMissingImports]

        return float(jax.block_until_ready((value, state))[0])

    return step


def main() -> None:
    """Says what it is, then makes a step for every line of its input."""
    task = json.loads(sys.argv[1])
    import keras  # pyright: ignore[reportMissingImports]

    keras.utils.set_random_seed(0)
    random = np.random.Generator(np.random.PCG64(0))
    step, weights = (segmenter_step if task["network"] == "li2018" else game_step)(task, random)
    told = {"keras": keras.__version__, "backend": keras.backend.backend(), "weights": weights}
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        started = time.process_time()
        loss = step(int(line))
        print(json.dumps({"seconds": time.process_time() - started, "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
