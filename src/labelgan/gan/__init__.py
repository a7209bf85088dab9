"""The adversarial games, the joint image-and-label generators, their training and sampling."""
