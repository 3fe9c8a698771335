"""Tuners: how warm-up sets the parameters of a kernel, and which tuner a kernel gets.

Tuning never lives inside a step. A tuner watches the chains during warm-up and hands back the same kernel with other
leaves: same structure, same shapes, same dtypes, so that nothing is compiled again and a vector stays a vector. After
warm-up the kernel is frozen, and what the kernel claims holds for every value that the tuner may have left.

A kernel names its tuner by a method ``tuner() -> Tuner``. For one that does not, :func:`~.choice.choose_tuner` goes by the names
of its fields:

===================================================  =====================================================
the kernel has                                       it gets
===================================================  =====================================================
``width``, and its state a ``radius``                :class:`~.slice_width.SliceWidth` of the radius
``width`` and ``scale``                              :class:`~.slice_width.SliceWidth` along the line
``width``                                            :class:`~.slice_width.SliceWidth` of each coordinate
``step_size``, and its info an ``acceptance_rate``   :class:`~.step_size.StepSize`
``scale``, and its info an ``acceptance_rate``       :class:`~.proposal_scale.ProposalScale`
``weights`` and ``parts``, each with its own block   :class:`~.scan_weights.ScanWeights`
``parts`` or ``inner``                               the tuners of its parts
===================================================  =====================================================
"""
