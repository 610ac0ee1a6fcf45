"""The benchmark: every target of the design as a ratio or a time, measured in one run on one machine.

It judges no behaviour: that is what the suites are for.
"""
