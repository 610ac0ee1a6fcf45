"""Cases of HTTP itself: errors, pages, limits, connections."""
