"""Open arrivals: fleets whose heartbeats come when they come, whatever the server does. It enrols no device: a fleet
is seeded, and what enrolment does is judged elsewhere."""
