"""Audits: can synthetic slices be trusted, and can they be shared?"""
