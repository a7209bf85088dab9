"""Segmenters: networks, training, prediction."""
