"""Quality online: predictions joined to labels at maturity, and histograms from which every measure follows.

:mod:`scoring.quality.book` counts, :mod:`scoring.quality.measures` computes; both are pure. The process around them is
:mod:`scoring.quality.runner`.
"""
