"""Validation: machine-checked evidence that samplers are right."""

if __name__ != "ergodica.validation":
    raise ImportError("write `import ergodica.validation`: this folder is a part of the package `ergodica`")
