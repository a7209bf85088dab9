"""Agreement of masks with their images: contrast of lesions, their rims, sizes and places."""
