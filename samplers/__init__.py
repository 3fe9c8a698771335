"""Samplers: kernels that share one protocol, and the means to compose and run them."""

if __name__ != "ergodica.samplers":
    raise ImportError("write `import ergodica.samplers`: this folder is a part of the package `ergodica`")
