"""A run on one page: HTML with inline pictures, without scripts and without requests to anywhere."""
