"""What the exit status says; docs/cli.md has the same table, which a test compares with this file."""

OK = 0
FAILED = 1  #: trials failed, or the experiment could not go on
USAGE = 2  #: wrong arguments, an unknown experiment, a file that is no store
OWNED = 3  #: another process runs the experiment
NOTHING = 4  #: there is nothing to answer with, such as no result yet
STOP = 10  #: `tunesmith report`: stored, and the trial is to end now
NO_DRIVER = 75  #: `tunesmith report`: nobody listens any more
INTERRUPTED = 130
