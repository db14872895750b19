"""How well and how fast a recogniser works: word errors with an interval, and real-time factor."""
