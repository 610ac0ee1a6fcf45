"""Tests of the suite's own pieces: each must fail where it should; no case of the product is here."""
