"""The kill -9 campaign: real processes, killed at seeded instants; nothing acknowledged may be lost."""
