"""Operations: probes, metrics, the contract as it is served."""
