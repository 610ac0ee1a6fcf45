"""From measurements to thresholds, checks, verdict and artifacts. Nothing here asks the target."""
