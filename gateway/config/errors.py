"""What is wrong with the configuration, in one line."""


class ConfigError(Exception):
    """The configuration cannot be used. `str()` is one line: where, which key, what is wrong, what to do.

    The command line prints it and exits with status 2; nothing has been opened by then.
    """

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        """Compose the line.

        Args:
            where: The file and key, the environment variable, or the command-line option.
            problem: What is wrong there. Never holds a value that could be a secret.
            remedy: What the operator does about it.
        """
        self.where = where
        self.problem = problem
        self.remedy = remedy
        line = f"{where}: {problem}" + (f" ({remedy})" if remedy else "")
        super().__init__(" ".join(line.split()))
