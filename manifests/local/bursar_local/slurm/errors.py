"""What can go wrong with the throw-away Slurm, each with what to do about it."""


class SlurmUnavailable(Exception):
    """The throw-away Slurm can't be installed, started or used here; the text names the part, its last lines and the remedy."""
