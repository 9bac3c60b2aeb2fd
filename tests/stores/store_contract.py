"""The suite itself is `tunesmith.testing.StoreContract`; these are the records it is made of."""

from tunesmith.testing.store import EVERY_KIND, SPEC

__all__ = ["EVERY_KIND", "SPEC"]
