"""The way in: a vendor's request becomes a committed receipt with its events, and only then is answered."""
