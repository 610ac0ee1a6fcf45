"""An open-loop load generator, of any requests; what they are for is known by who makes them."""
