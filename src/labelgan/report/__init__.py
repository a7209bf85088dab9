"""Pages that show results: one file each, readable offline."""
