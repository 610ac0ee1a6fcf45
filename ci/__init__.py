"""What continuous integration and the noxfile need: environments, the skip rule, the run's summary.

It contains no check of the product.
"""
