"""Asks every searcher about spaces and histories of any kind: none may raise, or leave the space."""
