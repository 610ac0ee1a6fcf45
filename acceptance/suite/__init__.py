"""What makes a test a case: its mark, its environment, its failure report, its results."""
