"""Theory: the numbers and bounds that samplers have to meet."""

if __name__ != "ergodica.theory":
    raise ImportError("write `import ergodica.theory`: this folder is a part of the package `ergodica`")
