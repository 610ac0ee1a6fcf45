"""What continuous integration and the noxfile need: environments, the skip rule, the run's summary.

It deliberately contains no check of the product.
"""
