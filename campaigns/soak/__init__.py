"""Does anything grow with the number of trials? See __main__.py."""
