"""Two real data sets with reference moments of their posteriors; see README.md and LICENSE in this folder."""
