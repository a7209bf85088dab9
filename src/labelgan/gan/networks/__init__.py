"""Generator families: one module a family, one dict of them."""

from labelgan.gan.networks.families import NETWORKS, Family, family_of

__all__ = ["NETWORKS", "Family", "family_of"]
