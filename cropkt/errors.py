"""Errors made for the person who can mend them: what is wrong, where, and what to do."""


class InputError(ValueError):
    """Something the user gave is wrong. Scripts print the message alone, without a traceback, and exit with 2."""


class StudyError(InputError):
    """A study's labels, splits or features are not what its study.yaml promises."""


class ConfigError(InputError):
    """A setting is unknown, out of range, or does not go with another one."""


class CheckpointError(InputError):
    """A model file is missing, is damaged, or belongs to another architecture, encoder or cohort."""
