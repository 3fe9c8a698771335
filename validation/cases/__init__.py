"""The rows of the catalogue, a file for each family of samplers."""
