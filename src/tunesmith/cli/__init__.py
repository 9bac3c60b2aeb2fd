"""The command line. `main` is the entry point; each command is a module, imported when it is called."""
