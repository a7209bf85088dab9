"""Which settings the chosen game, networks, inputs, mask channel and augmentations read; each says so in its entry."""

from __future__ import annotations

from labelgan.config.choices import Choice
from labelgan.config.gan import GanConfig
from labelgan.gan.inputs.augment import AUGMENTATIONS
from labelgan.gan.inputs.inputs import INPUTS
from labelgan.gan.inputs.mask_channel import ENCODINGS
from labelgan.gan.networks.families import family_of
from labelgan.gan.objectives import OPTIMIZERS, TERMS, objective_of


def choices(config: GanConfig) -> list[Choice]:
    """Gives the choices that a configuration makes.

    Raises:
        ConfigError: the family or game is unknown.
    """
    family, game = family_of(config.network), objective_of(config.objective)
    given = INPUTS[family.inputs].settings
    weights = [term.weight for term in (TERMS[name] for name in game.terms) if term.inputs == family.inputs]
    rule = game.optimizer or OPTIMIZERS[config.optimizer.name]
    rates = ("name", "generator_lr", "critic_lr")
    network, mask = f"network.family={config.network.family}", f"mask.encoding={config.mask.encoding}"
    moves = [setting for name in config.augment.policy for setting in AUGMENTATIONS[name].settings]
    return [
        Choice(network, "network", [*_keys("network", "family", *family.settings), *given]),
        Choice(network, "content", given),
        # what weighs a term is read by every game, and asks for inputs that have it
        *(
            Choice(network, f"objective.{term.weight}", [f"objective.{weight}" for weight in weights])
            for term in TERMS.values()
        ),
        Choice(
            f"objective.name={config.objective.name}",
            "objective",
            _keys("objective", "name", "critic_steps", *(term.weight for term in TERMS.values()), *game.settings),
        ),
        Choice(f"optimizer.name={config.optimizer.name}", "optimizer", _keys("optimizer", *rates, *rule.settings)),
        Choice(mask, "mask", _keys("mask", "encoding", *ENCODINGS[config.mask.encoding].settings)),
        Choice(f"augment.policy={','.join(config.augment.policy)}", "augment", _keys("augment", "policy", *moves)),
    ]


def _keys(part: str, *fields: str) -> list[str]:
    return [f"{part}.{field}" for field in fields]
