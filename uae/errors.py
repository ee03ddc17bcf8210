"""Errors that a person reads: what was wrong, the value, what to do."""


class UaeError(Exception):
    """A fault in what the user gave us. The command line prints it without a traceback."""


class RecipeError(UaeError):
    """A recipe with an unknown key, a wrong value or parts that contradict each other."""


class DataError(UaeError):
    """A data set that cannot be read or that breaks its expectations."""


class ModelError(UaeError):
    """A model folder that is missing, incomplete or of another architecture."""


class StoreError(UaeError):
    """An object store that refuses, is gone, or holds something else than expected."""


class TrainingError(UaeError):
    """A training invariant that does not hold, such as a first ratio that is not 1."""


class EvaluationError(UaeError):
    """A benchmark that cannot be scored honestly: a missing image, bad prompts, a weak judge."""


class RunError(UaeError):
    """A run that failed, does not exist, or is held by another process."""


class ResourcesError(UaeError):
    """What steps get on a cluster: an unknown key, a wrong value, or a launch that contradicts."""


class ClusterError(UaeError):
    """A cluster that refuses, is gone, or lost a job. Trying again may help."""


class SubmitError(UaeError):
    """What is asked of a cluster: an unknown parameter, a wrong value, a schedule that is wrong."""
