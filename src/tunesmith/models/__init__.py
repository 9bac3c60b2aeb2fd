"""Mathematics on arrays that searchers and schedulers share: the space as a cube, surrogate models, acquisition."""
