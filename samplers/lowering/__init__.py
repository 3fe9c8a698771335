"""The compiled host: programs traced by JAX, lowered to one function that Numba compiles.

XLA's CPU client runs the small loops and branches of a chain one dispatch at a time. Here a traced program becomes one
compiled function: scalars live in registers, neighbouring elementwise equations share a loop, and loops and branches
cost what they cost in C.

The parts, in the order in which a program goes through them:

==========================  ==========================================================================================
:mod:`~.program`            trace, inline nested calls, drop dead equations: a flat list of equations
:mod:`~.rules`              the table of rules: how each primitive is lowered; start here to add one
:mod:`~.schedule`           the order of the equations, and which of them share a loop
:mod:`~.values`             what a value is at run time: a scalar, a broadcast scalar, an iota, or memory
:mod:`~.emitter`            writes LLVM instructions: loops, branches, memory, calls
:mod:`~.elementwise` ...    the rules, one file for each group of primitives: ``rules.RULE_FILES``
:mod:`~.vector_math`        exponential, logarithm and tanh without branches, for loops
:mod:`~.lower`              ``lower(function, *arguments)``
:mod:`~.run`                ``compile_run(kernel, state)``: the steps of a chain as one compiled loop
==========================  ==========================================================================================

To add a primitive, write one function in the file of its group:

* a primitive of scalars, such as ``log1p``: :func:`~.rules.elementwise`. The function gets one LLVM value for each
  operand and returns one for the result; loops and broadcasting are done for it.
* a primitive that JAX can write in terms of others, such as ``igamma``: :func:`~.rules.expand`. The function is traced
  in its place.
* anything else: :func:`~.rules.general`. The function gets the emitter, the equation and the operands, and returns
  values.

``tests/samplers/lowering`` compares every rule with XLA: add a line to its table. A new file of rules goes into
``rules.RULE_FILES``. To see what a program becomes, print ``lower(f, x).program.equations``.

Results equal those of XLA on a CPU: integers, comparisons, random bits, NaN, infinities, indices out of range and
denormal numbers (which count as zero) exactly, other numbers up to rounding, because sums are taken in another order and
because the C library's functions are more accurate than XLA's. Complex numbers and half precision, convolutions, Fourier
transforms, callbacks and programs for several devices are not lowered: :class:`~.errors.CannotLower` says so and names
the primitive and the place in the user's code.
"""
