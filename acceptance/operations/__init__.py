"""Cases of operating the service: probes, metrics, outages, workers, backup."""
